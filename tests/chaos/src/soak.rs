//! Load for a long time, with trouble now and then: what the processes hold must stay what it is.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::daemon::{Resources, kill};
use crate::load::record::{Record, Summary};
use crate::load::xks::Cdiv;
use crate::load::{Load, Pace, Work};
use crate::site::{Isolation, Setup, Site};
use crate::stage::{Bench, KMS_CONNECTIONS, Verdict, XKS_CONNECTIONS};
use crate::table::Row;

/// Caches and pools fill until then.
const WARM_UP: Duration = Duration::from_secs(20);
/// From one trouble to the next; what is held is looked at just before it.
const ROUND: Duration = Duration::from_secs(20);
const LOOKS: usize = 5;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const TROUBLE: Duration = Duration::from_secs(2);
/// What the median of the last third of looks may be above that of the first.
const MEMORY_SLACK_KB: u64 = 4096;
const MEMORY_SLACK_PERCENT: u64 = 5;
/// The runtime keeps threads for blocking work for some seconds.
const THREADS_SLACK: u64 = 2;
/// A log of an hour of requests would be larger than all else.
const LOGGED_MINUTES_MAX: u64 = 5;

const TROUBLES: [fn(&Site); 4] = [
    |site| harm(site, "* code=CKR_DEVICE_REMOVED"),
    |site| harm(site, "* hang"),
    |site| {
        site.second.switch_off();
        thread::sleep(TROUBLE);
        site.second.switch_on();
    },
    // Where there is no worker, nothing happens.
    |site| {
        let worker = site.daemon.worker_of(&site.second.library());
        worker.into_iter().filter(|pid| *pid != site.daemon.pid()).for_each(|pid| kill(pid, Signal::KILL));
    },
];

fn harm(site: &Site, lines: &str) {
    site.second.inject(lines);
    thread::sleep(TROUBLE);
    site.second.heal();
}

pub fn soak(bench: &Bench, minutes: u64) -> Verdict {
    let setup = Setup {
        isolation: bench.isolation,
        check_encryptions: false,
        logs_requests: minutes <= LOGGED_MINUTES_MAX,
    };
    let site = bench.template.start(&setup);
    let origin = Instant::now();
    let start = |work: Arc<dyn Work>, rate, connections| {
        Load::start(work, Pace::PerSecond(rate), connections, origin)
    };
    let xks = start(site.xks("one", Cdiv::Some), bench.xks_rate, XKS_CONNECTIONS);
    let kms = start(site.kms(), bench.kms_rate, KMS_CONNECTIONS);
    thread::sleep(WARM_UP);
    let mut looks = Vec::new();
    let end = Duration::from_secs(60 * minutes);
    for trouble in TROUBLES.iter().cycle() {
        looks.push(look(&site));
        print_look(origin, looks.last().copied().unwrap_or_default());
        if origin.elapsed() + ROUND > end + ROUND / 4 {
            break;
        }
        let next = origin.elapsed() + ROUND;
        trouble(&site);
        thread::sleep(next.saturating_sub(origin.elapsed()));
    }
    let (xks, kms) = (xks.stop(), kms.stop());
    verdict(bench.isolation, &looks, &xks, &kms, site)
}

/// The least of several, since a request that is being worked on may have a file open.
fn look(site: &Site) -> Resources {
    let least = |one: Resources, other: Resources| Resources {
        memory_kb: one.memory_kb.min(other.memory_kb),
        threads: one.threads.min(other.threads),
        files: one.files.min(other.files),
        processes: one.processes.min(other.processes),
    };
    let looks = (0..LOOKS).map(|_| {
        thread::sleep(LOOK_INTERVAL);
        site.daemon.resources()
    });
    looks.reduce(least).unwrap_or_default()
}

fn print_look(origin: Instant, look: Resources) {
    let Resources { memory_kb, threads, files, processes } = look;
    let seconds = origin.elapsed().as_secs();
    eprintln!("{seconds} s: {memory_kb} kB, {threads} threads, {files} files, {processes} processes");
}

fn verdict(isolation: Isolation, looks: &[Resources], xks: &[Record], kms: &[Record], site: Site) -> Verdict {
    let third = looks.len().div_ceil(3);
    let (first, last) = (&looks[..third], &looks[looks.len() - third..]);
    let mut failures = Vec::new();
    let value = |value: fn(&Resources) -> u64| (median(first, value), median(last, value));
    let (memory, memory_after) = value(|look| look.memory_kb);
    let (threads, threads_after) = value(|look| look.threads);
    let (files, files_after) = value(|look| look.files);
    if memory_after > memory * (100 + MEMORY_SLACK_PERCENT) / 100 + MEMORY_SLACK_KB {
        failures.push(format!("memory grew from {memory} to {memory_after} kB"));
    }
    if threads_after > threads + THREADS_SLACK {
        failures.push(format!("threads grew from {threads} to {threads_after}"));
    }
    if files_after > files {
        failures.push(format!("file descriptors grew from {files} to {files_after}"));
    }
    let errors = Summary::of(xks.iter().chain(kms)).errors_text();
    if errors != "none" {
        failures.push(format!("errors: {errors}"));
    }
    let resources = |memory_kb, threads, files| Resources { memory_kb, threads, files, processes: 0 };
    let row = |api, records: &[Record]| Row {
        scenario: "soak".to_owned(),
        isolation,
        api,
        summary: Summary::of(records),
        back: String::new(),
        resources: Some((
            resources(memory, threads, files),
            resources(memory_after, threads_after, files_after),
        )),
        is_good: failures.is_empty(),
    };
    let rows = vec![row("XKS", xks), row("KMS", kms)];
    if !failures.is_empty() {
        eprintln!("soak: kept in {}", site.keep().display());
    }
    Verdict { rows, failures }
}

fn median(looks: &[Resources], value: fn(&Resources) -> u64) -> u64 {
    let mut values: Vec<_> = looks.iter().map(value).collect();
    values.sort_unstable();
    values[values.len() / 2]
}
