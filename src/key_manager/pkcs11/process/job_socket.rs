//! The socket that jobs and answers cross: a message is a job, and every idle worker waits at the same socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use zeroize::Zeroize;

use crate::key_manager::HsmError;
use crate::key_manager::backing_key::RootKeys;
use crate::key_manager::pkcs11::engine::Shared;
use crate::key_manager::pkcs11::process::codec::{Malformed, Reader, Wire, Writer};
use crate::key_manager::pkcs11::process::job_codec::{Asked, put_task};
use crate::key_manager::pkcs11::process::message::{Moment, Moments};
use crate::key_manager::pkcs11::reply::JobReply;
use crate::key_manager::pkcs11::vault::Vault;
use crate::key_manager::pkcs11::worker::{Completed, Job, JobSource, Lane, Output, Task};

/// Longer than any request or answer of either API.
pub(super) const MESSAGE_BYTES_MAX: usize = 160 * 1024;

/// Two sockets that are connected, and closed when another program is started.
pub(super) fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// A job on its way to the worker process.
pub(super) fn job_message(
    id: u64,
    deadline: Moment,
    root_keys: Option<RootKeys>,
    task: &Task,
) -> Result<Writer, HsmError> {
    let mut message = Writer::new();
    id.put(&mut message);
    deadline.put(&mut message);
    root_keys.put(&mut message);
    put_task(task, &mut message);
    if message.as_bytes().len() > MESSAGE_BYTES_MAX { Err(HsmError::TooLong) } else { Ok(message) }
}

/// What a worker process says of a job.
pub(super) struct AnswerMessage {
    pub(super) id: u64,
    pub(super) hsm_time: Duration,
    pub(super) result: Result<Output, HsmError>,
}

impl AnswerMessage {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let answer = Self {
            id: Wire::take(&mut reader)?,
            hsm_time: Wire::take(&mut reader)?,
            result: Wire::take(&mut reader)?,
        };
        reader.end()?;
        Ok(answer)
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// Others wait to be read.
    Full,
    TooLong,
    /// There is nobody at the other end.
    Broken,
}

/// Without waiting.
pub(super) fn send_now(socket: &OwnedFd, message: &Writer) -> Sent {
    match send(socket, message.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(_) => Sent::Yes,
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Sent::Full,
        Err(Errno::MSGSIZE) => Sent::TooLong,
        Err(_) => Sent::Broken,
    }
}

/// Messages as they come in, in one buffer that is wiped after each.
pub(super) struct Inbox(Vec<u8>);

impl Inbox {
    pub(super) fn new() -> Self {
        Self(vec![0; MESSAGE_BYTES_MAX])
    }

    /// Gives the next message to `read`; nothing if there will be none. Without `flags` it waits for it.
    pub(super) fn receive<T>(
        &mut self,
        socket: impl AsFd,
        flags: RecvFlags,
        read: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<Option<T>> {
        let bytes = loop {
            match recv(&socket, self.0.as_mut_slice(), flags | RecvFlags::TRUNC) {
                Ok((_, bytes)) => break bytes,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if bytes == 0 {
            return Ok(None);
        }
        let Some(message) = self.0.get_mut(..bytes) else {
            self.0.zeroize();
            self.0.resize(MESSAGE_BYTES_MAX, 0);
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        let result = read(message);
        message.zeroize();
        Ok(Some(result))
    }
}

/// The end of the socket in the worker process.
pub(super) struct JobSocket {
    shared: Arc<Shared>,
    socket: OwnedFd,
    moments: Moments,
    /// One worker at a time puts more than fits to the socket.
    sending: Mutex<()>,
}

impl JobSocket {
    pub(super) fn new(shared: Arc<Shared>, socket: OwnedFd, moments: Moments) -> Self {
        Self { shared, socket, moments, sending: Mutex::new(()) }
    }

    fn send(&self, id: u64, completed: Completed) {
        let Completed { result, hsm_time, .. } = completed;
        let mut message = answer_message(id, hsm_time, &result);
        if message.as_bytes().len() > MESSAGE_BYTES_MAX {
            let reason = "the answer of the HSM is too long for the daemon".to_owned();
            message = answer_message(id, hsm_time, &Err(HsmError::Device(reason)));
        }
        // The daemon reads them as they come. Without a daemon there is nobody to tell.
        match send_now(&self.socket, &message) {
            Sent::Full => self.send_in_turn(&message),
            Sent::TooLong => {
                let reason = "the system does not let so long an answer through".to_owned();
                self.send_in_turn(&answer_message(id, hsm_time, &Err(HsmError::Device(reason))));
            }
            Sent::Yes | Sent::Broken => {}
        }
    }

    fn send_in_turn(&self, message: &Writer) {
        let _one_at_a_time = self.sending.lock();
        while let Err(Errno::INTR | Errno::NOBUFS) =
            send(&self.socket, message.as_bytes(), SendFlags::NOSIGNAL)
        {}
    }
}

fn answer_message(id: u64, hsm_time: Duration, result: &Result<Output, HsmError>) -> Writer {
    let mut message = Writer::new();
    id.put(&mut message);
    hsm_time.put(&mut message);
    result.put(&mut message);
    message
}

/// Whoever waits for the answer is in the daemon, and holds a place for the job until it comes.
pub(in crate::key_manager::pkcs11) struct SocketReply {
    id: u64,
    socket: Arc<JobSocket>,
    is_sent: bool,
}

impl SocketReply {
    fn new(id: u64, socket: &Arc<JobSocket>) -> Self {
        Self { id, socket: Arc::clone(socket), is_sent: false }
    }

    pub(in crate::key_manager::pkcs11) fn send(mut self, completed: Completed) {
        self.is_sent = true;
        self.socket.send(self.id, completed);
    }
}

impl Drop for SocketReply {
    /// A job that was left undone, because its time was over.
    fn drop(&mut self) {
        if !self.is_sent {
            let (queue_wait, hsm_time) = (Duration::ZERO, Duration::ZERO);
            let result = Err(HsmError::DeadlineExceeded);
            self.socket.send(self.id, Completed { result, queue_wait, hsm_time });
        }
    }
}

impl JobSource for Arc<JobSocket> {
    fn lane(&self, vault: &Arc<Vault>) -> Box<dyn Lane> {
        Box::new(SocketLane { socket: Self::clone(self), vault: Arc::clone(vault), inbox: Inbox::new() })
    }
}

/// One worker's place at the socket.
struct SocketLane {
    socket: Arc<JobSocket>,
    vault: Arc<Vault>,
    inbox: Inbox,
}

struct JobMessage {
    id: u64,
    deadline: Moment,
    root_keys: Option<RootKeys>,
    asked: Asked,
}

impl JobMessage {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let message = Self {
            id: Wire::take(&mut reader)?,
            deadline: Wire::take(&mut reader)?,
            root_keys: Wire::take(&mut reader)?,
            asked: Asked::take(&mut reader)?,
        };
        reader.end()?;
        Ok(message)
    }
}

impl Lane for SocketLane {
    fn next(&mut self) -> Option<Job> {
        loop {
            let socket = &self.socket;
            let received = self.inbox.receive(&socket.socket, RecvFlags::empty(), JobMessage::read);
            // The daemon is gone, or is another program than this.
            let Ok(Some(Ok(JobMessage { id, deadline, root_keys, asked }))) = received else { return None };
            let enqueued = socket.shared.clock.instant();
            let reply = SocketReply::new(id, socket);
            // With the job, since what is said elsewhere may come later.
            if let Some(root_keys) = root_keys {
                self.vault.ensure_wanted(root_keys);
            }
            let inventory = socket.shared.inventory.load();
            match asked.into_task(|name| inventory.find_named(name)) {
                Some(task) => return Some(job(task, enqueued, socket.moments.instant(deadline), reply)),
                None => {
                    socket.shared.alarm.raise_for_keys();
                    reply.send(unknown_key());
                }
            }
        }
    }
}

fn job(task: Task, enqueued: Instant, deadline: Instant, reply: SocketReply) -> Job {
    Job { task, enqueued, deadline, reply: JobReply::Daemon(reply) }
}

/// The daemon knew it from a worker process that was there before.
fn unknown_key() -> Completed {
    let reason = "the keys of the token have not been read yet".to_owned();
    Completed {
        result: Err(HsmError::Unavailable(reason)),
        queue_wait: Duration::ZERO,
        hsm_time: Duration::ZERO,
    }
}
