//! Tests: what a broken worker process sends ends it, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rustix::net::{SendFlags, SocketType, send};

use crate::clock::SystemClock;
use crate::config::{self, Isolation, IvMode};
use crate::key_manager::pkcs11::engine::Shared;
use crate::key_manager::pkcs11::process::codec::{Reader, Wire, Writer};
use crate::key_manager::pkcs11::process::job_socket::{AnswerMessage, pair};
use crate::key_manager::pkcs11::process::live::{Ended, Live};
use crate::key_manager::pkcs11::process::message::{Answer, FromWorker, KeysMessage, Start, ToWorker};
use crate::key_manager::pkcs11::process::mirror::Mirror;
use crate::metrics::Metrics;

fn config() -> config::Hsm {
    config::Hsm {
        name: "broken".to_owned(),
        module: PathBuf::new(),
        token_label: String::new(),
        token_serial: None,
        pin_file: None,
        refused_pin_file: None,
        initialize_parameters: None,
        sessions: 2,
        queue_length_max: 10,
        cached_keys_max: 1,
        session_copies: false,
        iv_mode: IvMode::Host,
        check_encryptions: false,
        health_key: String::new(),
        environment: BTreeMap::new(),
        isolation: Isolation::Process,
        worker_memory_max_bytes: u64::MAX,
    }
}

/// How a process ends that sends these bytes on its two sockets.
fn ending(control: &[u8], jobs: &[u8]) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let metrics = Metrics::new().unwrap();
        let metrics = (metrics.hsm("broken"), Arc::new(SystemClock) as Arc<dyn crate::clock::Clock>);
        let mirror = Arc::new(Mirror::new(Shared::new(config(), metrics, HashMap::new())));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (our_jobs, their_jobs) = pair(SocketType::SEQPACKET).unwrap();
        ours.set_nonblocking(true).unwrap();
        rustix::io::ioctl_fionbio(&our_jobs, true).unwrap();
        let start = Start {
            config: config(),
            log_filter: String::new(),
            daemon_pid: 1,
            pin: None,
            is_pin_rejected: false,
            root_keys: None,
        };
        let sockets = (tokio::net::UnixStream::from_std(ours).unwrap(), our_jobs);
        let (live, ends) = Live::new(mirror, sockets, 1, Arc::new(|_| {}), &start).unwrap();
        if !control.is_empty() {
            send(&theirs, control, SendFlags::NOSIGNAL).unwrap();
        }
        if !jobs.is_empty() {
            send(&their_jobs, jobs, SendFlags::NOSIGNAL).unwrap();
        }
        let theirs = (OwnedFd::from(theirs), their_jobs);
        let ended = tokio::time::timeout(Duration::from_secs(20), Arc::new(live).serve(ends)).await;
        drop(theirs);
        ended.unwrap()
    })
}

fn framed(message: &FromWorker) -> Vec<u8> {
    let message = Writer::of(message);
    let length = u32::try_from(message.as_bytes().len()).unwrap();
    [&length.to_le_bytes(), message.as_bytes()].concat()
}

#[test]
fn what_cannot_be_read_ends_it() {
    for garbage in [&[0xff; 64][..], &[0, 0, 0, 2, 1], &[3, 0, 0, 0, 9, 9, 9]] {
        assert_eq!(ending(garbage, &[]), Ended::Protocol("a message cannot be read"), "{garbage:?}");
    }
    assert_eq!(ending(&[], &[0xff; 40]), Ended::Protocol("an answer cannot be read"));
}

#[test]
fn an_answer_to_what_was_not_asked_ends_it() {
    let answer = FromWorker::Answer { id: 7, answer: Answer::Read(Ok(true)) };
    assert_eq!(ending(&framed(&answer), &[]), Ended::Protocol("it answered what it was not asked"));
    let mut job = Writer::new();
    (9_u64, Duration::ZERO).put(&mut job);
    true.put(&mut job);
    // Output::Swept
    14_u8.put(&mut job);
    let ended = ending(&[], job.as_bytes());
    assert_eq!(ended, Ended::Protocol("it answered a job that it does not have"));
}

#[test]
fn one_that_says_why_it_cannot_work_is_quoted() {
    let ended = ending(&framed(&FromWorker::Failed("no library".to_owned())), &[]);
    assert_eq!(ended, Ended::Failed("no library".to_owned()));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Reader::message::<FromWorker>(&bytes);
        let _ = Reader::message::<ToWorker>(&bytes);
        let _ = Reader::message::<Start>(&bytes);
        let _ = Reader::message::<KeysMessage>(&bytes);
        let _ = AnswerMessage::read(&bytes);
    }
}
