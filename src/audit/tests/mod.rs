//! A trail in a folder: written, ended, gone on with, tampered with, verified.

mod full;
mod recovery;
mod tampering;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use crate::audit::chain::Link;
use crate::audit::{
    AuditLog, Checkpoint, Expected, Limits, PublicKey, Record, Report, Sinks, Trail, TrailParts, WhenFull,
    event, verify,
};
use crate::clock::{AdvancedClock, Clock, SystemClock};
use crate::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(20);
const REASON: &str = "a test";

fn limits() -> Limits {
    Limits {
        sync_interval: Duration::from_millis(50),
        free_bytes_min: 0,
        buffer_bytes_max: 1 << 20,
        when_full: WhenFull::Refuse,
        file_bytes_max: 1 << 20,
        keep_days: 0,
        keep_files: 0,
    }
}

fn parts(dir: &Path, limits: Limits) -> TrailParts {
    parts_at(dir, limits, &Arc::new(AdvancedClock::default()))
}

fn parts_at(dir: &Path, limits: Limits, clock: &Arc<AdvancedClock>) -> TrailParts {
    TrailParts {
        dir: dir.to_owned(),
        limits,
        sinks: Sinks::default(),
        key: None,
        expected: None,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        metrics: Metrics::new().unwrap().audit,
    }
}

/// A record with this number in its name.
fn record(number: usize) -> Record {
    let event_id = event::random_id();
    let json = format!(
        r#"{{"eventTime":"2026-11-22T00:00:{:02}Z","eventName":"Event{number}","eventID":"{event_id}"}}"#,
        number % 60
    );
    Record { event_id, json: json.into_bytes() }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A key as the HSM has it.
struct Signer {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl Signer {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(
            pair.public_key(),
        )
        .unwrap();
        let public = PublicKey::new("0123".to_owned(), spki.as_ref());
        Self { pair, public }
    }

    /// Signs the last line of a trail.
    fn sign(&self, trail: &Trail) -> Link {
        let last = run(trail.sync()).unwrap();
        let checkpoint =
            Checkpoint::unsigned(last, "2026-11-22T00:00:00.000Z".to_owned(), self.public.key_id.clone());
        let text = checkpoint.text(trail.id());
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        trail.append_checkpoint(&checkpoint.with_signature(signature.as_ref()));
        run(trail.sync()).unwrap()
    }
}

/// What the store would know of the end.
fn expected(trail: &Trail, end: Link) -> Expected {
    Expected { trail_id: trail.id().to_owned(), sequence: end.sequence, hash: end.hash }
}

#[track_caller]
fn assert_whole(dir: &Path) -> Report {
    let report = verify(dir, None, None).unwrap();
    assert!(report.is_whole(), "{report:#?}");
    report
}

/// All lines of all files.
fn text(dir: &Path) -> String {
    let files = crate::audit::disk::files(dir).unwrap();
    let names = files.into_iter().map(crate::audit::disk::file_name);
    names.map(|name| std::fs::read_to_string(dir.join(name)).unwrap()).collect()
}

#[test]
fn what_is_appended_is_a_chain_that_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let trail = Trail::open(parts(dir.path(), limits()), REASON).unwrap();
        (0..10).for_each(|number| trail.append(record(round * 10 + number)));
        run(trail.settle()).unwrap();
        // Whoever settled finds it in the file.
        assert!(text(dir.path()).contains(&format!("Event{}\"", round * 10 + 9)));
        trail.append_end(REASON);
        assert!(trail.end(PATIENCE));
    }
    let report = assert_whole(dir.path());
    // One head, and in each round a start, ten records and an end.
    assert_eq!((report.files, report.lines, report.records), (1, 1 + 3 * 12, 3 * 12));
    assert_eq!((report.first_sequence, report.last_sequence), (1, 37));
    let text = text(dir.path());
    let places: Vec<_> = (0..30).map(|number| text.find(&format!("Event{number}\"")).unwrap()).collect();
    assert!(places.is_sorted());
}

#[test]
fn a_record_is_one_line_however_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(parts(dir.path(), limits()), REASON).unwrap();
    trail.append(Record { event_id: event::random_id(), json: b"{\n\"a\":\n1}".to_vec() });
    assert!(trail.end(PATIENCE));
    assert!(text(dir.path()).contains("{ \"a\": 1,\"chain\":"));
    assert_whole(dir.path());
}

#[test]
fn files_are_of_the_size_that_is_wanted_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let small = Limits { file_bytes_max: 2000, keep_files: 3, ..limits() };
    let trail = Trail::open(parts(dir.path(), small), REASON).unwrap();
    for number in 0..60 {
        trail.append(record(number));
        run(trail.sync()).unwrap();
    }
    assert!(trail.end(PATIENCE));
    let report = assert_whole(dir.path());
    assert_eq!(report.files, 3);
    assert!(report.first_sequence > 1);
    let files = crate::audit::disk::files(dir.path()).unwrap();
    for (place, first) in files.iter().enumerate() {
        let facts = std::fs::metadata(dir.path().join(crate::audit::disk::file_name(*first))).unwrap();
        let is_last = place + 1 == files.len();
        assert!(is_last || (2000..4000).contains(&facts.len()), "{}", facts.len());
        assert_eq!(facts.permissions().readonly(), !is_last);
    }
}

#[test]
fn old_files_go_as_soon_as_fewer_are_to_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let all = Limits { file_bytes_max: 2000, ..limits() };
    let trail = Trail::open(parts(dir.path(), all.clone()), REASON).unwrap();
    for number in 0..40 {
        trail.append(record(number));
        run(trail.sync()).unwrap();
    }
    let files = || crate::audit::disk::files(dir.path()).unwrap().len();
    assert!(files() > 5);
    trail.set_limits(Limits { keep_files: 2, file_bytes_max: 1 << 20, ..all });
    let deadline = SystemClock.instant() + PATIENCE;
    while files() > 2 {
        assert!(SystemClock.instant() < deadline, "{} files", files());
        std::thread::yield_now();
    }
    assert!(trail.end(PATIENCE));
    assert_eq!(assert_whole(dir.path()).files, 2);
}

#[test]
fn a_day_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AdvancedClock::default());
    let trail = Trail::open(parts_at(dir.path(), limits(), &clock), REASON).unwrap();
    run(trail.sync()).unwrap();
    clock.advance(Duration::from_secs(86_400));
    run(trail.rotated());
    trail.append(record(1));
    assert!(trail.end(PATIENCE));
    assert_eq!(assert_whole(dir.path()).files, 2);
}

#[test]
fn checkpoints_are_verified_with_the_key_that_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let trail = Trail::open(parts(dir.path(), limits()), REASON).unwrap();
    trail.set_key(signer.public.clone());
    trail.append(record(1));
    signer.sign(&trail);
    trail.append(record(2));
    let end = signer.sign(&trail);
    trail.append(record(3));
    assert!(trail.end(PATIENCE));
    let known = expected(&trail, end);
    for key in [None, Some(signer.public.public_key.as_str())] {
        let report = verify(dir.path(), key, Some(&known)).unwrap();
        assert!(report.is_whole(), "{report:#?}");
        assert_eq!((report.checkpoints, report.records_behind_last_checkpoint), (2, 1));
    }
    let other = Signer::new();
    let report = verify(dir.path(), Some(&other.public.public_key), None).unwrap();
    // Two signatures, and that there is no other.
    assert_eq!(report.break_count, 3);
    let pem = signer.public.pem();
    assert_eq!(PublicKey::base64_of_pem(&pem), Some(signer.public.public_key));
    assert_eq!(Expected::parse(&known.to_bytes()), Some(known));
}

#[test]
fn a_trail_that_is_switched_off_says_so() {
    let dir = tempfile::tempdir().unwrap();
    Trail::close(parts(dir.path(), limits()), "switched off", PATIENCE).unwrap();
    assert!(text(dir.path()).contains(r#""eventName":"StopLogging""#));
    assert!(text(dir.path()).contains(r#""reason":"switched off""#));
    assert_whole(dir.path());
}
