//! What the audit trail costs, and how fast it is verified: `cargo bench --bench trail`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use holdfast::audit::{self, AuditLog, Record, Sinks, Trail, TrailParts};
use holdfast::clock::SystemClock;
use holdfast::config::{AuditLimits, WhenFull};
use holdfast::domain::kms::Uuid;
use holdfast::metrics::Metrics;

fn main() {
    divan::main();
}

/// A record of an Encrypt, as long as they are.
fn audit_record() -> Record {
    let event_id = Uuid::of(&[7; 16]);
    let json = format!(
        r#"{{"eventVersion":"1.11","eventTime":"2026-11-22T00:00:00Z","eventName":"Encrypt","eventID":"{event_id}","userAgent":"{}"}}"#,
        "a".repeat(1000)
    );
    Record { event_id, json: json.into_bytes() }
}

fn open_trail(dir: &Path) -> Trail {
    let limits = AuditLimits {
        sync_interval: Duration::from_secs(1),
        free_bytes_min: 0,
        buffer_bytes_max: 1 << 30,
        when_full: WhenFull::Refuse,
        file_bytes_max: 64 << 20,
        keep_days: 0,
        keep_files: 2,
    };
    let parts = TrailParts {
        dir: dir.to_owned(),
        limits,
        sinks: Sinks::default(),
        key: None,
        expected: None,
        clock: Arc::new(SystemClock),
        metrics: Metrics::new().unwrap().audit,
    };
    Trail::open(parts, "a bench").unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What a record costs the request that it is of.
#[divan::bench]
fn append_to_the_trail(bencher: Bencher) {
    let dir = tempfile::tempdir().unwrap();
    let trail = open_trail(dir.path());
    bencher.with_inputs(audit_record).bench_values(|record| trail.append(record));
    trail.end(Duration::from_secs(60));
}

/// What a thousand records cost the thread that numbers, hashes and writes them.
#[divan::bench]
fn write_1000_records_of_the_trail(bencher: Bencher) {
    let dir = tempfile::tempdir().unwrap();
    let trail = open_trail(dir.path());
    bencher.with_inputs(|| vec![audit_record(); 1000]).bench_values(|records| {
        records.into_iter().for_each(|record| trail.append(record));
        wait(trail.settle()).unwrap();
    });
    trail.end(Duration::from_secs(60));
}

/// Ten thousand records, some 13 MB.
#[divan::bench]
fn verify_10000_records_of_the_trail(bencher: Bencher) {
    let dir = tempfile::tempdir().unwrap();
    let trail = open_trail(dir.path());
    (0..10_000).for_each(|_| trail.append(audit_record()));
    trail.end(Duration::from_secs(60));
    let bytes: u64 =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    bencher
        .counter(divan::counter::BytesCount::new(bytes))
        .bench(|| assert!(audit::verify(dir.path(), None, None).unwrap().is_whole()));
}
