//! Where a scenario is played: a site under load, something that goes wrong, and what is known afterwards.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::wait_for;
use crate::daemon::{Daemon, Resources};
use crate::evidence::Evidence;
use crate::load::xks::Cdiv;
use crate::load::{Load, Pace, Work};
use crate::site::{CHECK_ENCRYPTIONS, Isolation, Setup, Site, Template};
use crate::table::{self, Row};

/// What everything is played on.
pub struct Bench {
    pub template: Template,
    pub isolation: Isolation,
    /// Of each scenario.
    pub seconds: u64,
    /// Requests a second to the key store, and to the KMS API.
    pub xks_rate: u64,
    pub kms_rate: u64,
    /// The bounds are as they stand, whatever else the machine does.
    pub is_strict: bool,
}

/// What a scenario needs, does, and promises.
pub struct Plan {
    pub name: &'static str,
    pub needs: Needs,
    pub cdiv: Cdiv,
    pub with_kms: bool,
    pub act: fn(&mut Stage<'_>),
    pub judge: fn(&mut Evidence),
}

/// What a scenario came to: lines of the table, and what did not hold.
pub struct Verdict {
    pub rows: Vec<Row>,
    pub failures: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// A crash ends the process that the library is in.
    Workers,
    CheckedEncryptions,
}

pub struct Stage<'a> {
    pub site: &'a Site,
    /// How long something is wrong.
    pub trouble: Duration,
    origin: Instant,
    /// When something went wrong; when all was right again; when the member was seen to serve.
    faults: Vec<Duration>,
    healed: Option<Duration>,
    back: Option<Duration>,
    marked: Option<bool>,
}

/// Threads of the load client that talk to the key store, and to the KMS API.
pub const XKS_CONNECTIONS: usize = 128;
pub const KMS_CONNECTIONS: usize = 32;
/// Of requests that no HSM is asked for, a second.
pub const CONTROL_RATE: u64 = 50;
pub const CONTROL_CONNECTIONS: usize = 8;
/// A bound that is not strict is farther by so many times what such requests take, or all take while all is right.
pub const NOISE_FACTOR: u32 = 3;
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
pub const BACK_LIMIT: Duration = Duration::from_secs(10);
/// A member's calls that can be under way when its library ends: those of its sessions.
pub const SESSIONS: usize = 4;
/// Documented: what AWS KMS is told when no HSM answers, and what clients of the KMS API are.
pub const DOCUMENTED: [&str; 4] = [
    "500 InternalException",
    "503 DependencyTimeoutException",
    "500 KMSInternalException",
    "503 DependencyTimeout",
];
/// The same, when more is asked than can be done.
pub const REFUSALS: [&str; 2] = ["429 ThrottlingException", "400 ThrottlingException"];
/// AWS KMS waits no longer.
pub const KMS_TIMEOUT: Duration = Duration::from_millis(250);
/// The runtime keeps threads for blocking work for some seconds; more than that is a leak, which the soak test finds.
pub const THREADS_SLACK: u64 = 2;

impl Plan {
    pub fn can_be_played(&self, bench: &Bench) -> bool {
        match self.needs {
            Needs::Nothing => true,
            Needs::Workers => bench.isolation == Isolation::Process,
            Needs::CheckedEncryptions => bench.template.can(CHECK_ENCRYPTIONS),
        }
    }

    pub fn play(&self, bench: &Bench) -> Verdict {
        let setup = Setup {
            isolation: bench.isolation,
            check_encryptions: self.needs == Needs::CheckedEncryptions,
            logs_requests: true,
        };
        let site = bench.template.start(&setup);
        let (undisturbed, trouble, after) = phases(bench.seconds);
        warm_up(&site, undisturbed);
        let before = settled(&site.daemon);
        let origin = Instant::now();
        let running = self.loads(bench, &site, origin);
        let mut stage =
            Stage { site: &site, trouble, origin, faults: vec![], healed: None, back: None, marked: None };
        thread::sleep(undisturbed);
        (self.act)(&mut stage);
        let Stage { faults, healed, back, marked, .. } = stage;
        let healed = healed.unwrap_or_else(|| origin.elapsed());
        thread::sleep(after);
        let mut records = running.into_iter().map(Load::stop);
        let mut evidence = Evidence {
            name: self.name,
            isolation: bench.isolation,
            xks: records.next().unwrap_or_default(),
            control: records.next().unwrap_or_default(),
            kms: records.next().unwrap_or_default(),
            faults,
            healed,
            back,
            marked,
            before,
            after: back_to(&site.daemon, before),
            noise: Duration::ZERO,
            failures: Vec::new(),
        };
        if !bench.is_strict {
            evidence.noise = NOISE_FACTOR * evidence.undisturbed_p99();
        }
        evidence.require_nothing_wrong_and_nothing_left();
        (self.judge)(&mut evidence);
        if !evidence.failures.is_empty() {
            eprintln!("{}: kept in {}", self.name, site.keep().display());
        }
        Verdict { rows: table::rows(&evidence), failures: evidence.failures }
    }

    fn loads(&self, bench: &Bench, site: &Site, origin: Instant) -> Vec<Load> {
        let start = |work: Arc<dyn Work>, rate, connections| {
            Load::start(work, Pace::PerSecond(rate), connections, origin)
        };
        let mut loads = vec![
            start(site.xks("one", self.cdiv), bench.xks_rate, XKS_CONNECTIONS),
            start(site.control("one"), CONTROL_RATE, CONTROL_CONNECTIONS),
        ];
        if self.with_kms {
            loads.push(start(site.kms(), bench.kms_rate, KMS_CONNECTIONS));
        }
        loads
    }
}

/// Has every connection at work at once: what that takes is no leak.
fn warm_up(site: &Site, duration: Duration) {
    let works: [(Arc<dyn Work>, _); 2] =
        [(site.xks("one", Cdiv::Some), XKS_CONNECTIONS), (site.kms(), KMS_CONNECTIONS)];
    let start = |(work, connections)| Load::start(work, Pace::Closed, connections, Instant::now());
    let loads = works.map(start);
    thread::sleep(duration);
    loads.into_iter().for_each(|load| drop(load.stop()));
}

/// How long all is right, something is wrong, and all is right again.
fn phases(seconds: u64) -> (Duration, Duration, Duration) {
    let fifth = Duration::from_secs(seconds) / 5;
    (fifth, 3 * fifth, fifth)
}

/// What the processes hold when nobody asks them for anything.
pub fn settled(daemon: &Daemon) -> Resources {
    let mut last = daemon.resources();
    wait_for(SETTLE_LIMIT, || {
        thread::sleep(Duration::from_millis(150));
        let now = daemon.resources();
        let is_settled =
            (now.threads, now.files, now.processes) == (last.threads, last.files, last.processes);
        last = now;
        is_settled
    });
    last
}

/// The same, as soon as they hold no more than before.
fn back_to(daemon: &Daemon, before: Resources) -> Resources {
    wait_for(SETTLE_LIMIT, || {
        let now = daemon.resources();
        now.threads <= before.threads + THREADS_SLACK
            && now.files <= before.files
            && now.processes == before.processes
    });
    daemon.resources()
}

impl Stage<'_> {
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Something goes wrong now.
    pub fn fault(&mut self) {
        self.faults.push(self.now());
    }

    /// From now on everything is right.
    pub fn healed(&mut self) {
        self.healed = Some(self.now());
    }

    pub fn pause(&self, duration: Duration) {
        thread::sleep(duration);
    }

    /// Waits until the second member does work again, whose operations were so many when it was healed.
    pub fn wait_until_second_serves(&mut self) {
        let site = self.site;
        let done = site.second.operations(&site.daemon);
        let healed = self.healed.unwrap_or_else(|| self.now());
        if wait_for(BACK_LIMIT, || {
            site.second.is_active(&site.daemon) && site.second.operations(&site.daemon) > done
        }) {
            self.back = Some(self.now() - healed);
        }
    }

    /// Waits until the second member is shown as not well.
    pub fn wait_until_second_is_marked(&mut self) {
        let (site, limit) = (self.site, self.trouble);
        self.marked = Some(wait_for(limit, || !site.second.is_active(&site.daemon)));
    }
}
