//! Where a scenario is played: a site under load, something that goes wrong, and what is known afterwards.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::wait_for;
use crate::daemon::{Daemon, Resources};
use crate::load::record::{Record, Summary, due_in};
use crate::load::xks::Cdiv;
use crate::load::{Load, Pace, Work};
use crate::site::{Isolation, Setup, Site, Template};

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

/// What is known of a scenario at its end.
pub struct Evidence {
    pub name: &'static str,
    pub isolation: Isolation,
    pub xks: Vec<Record>,
    pub kms: Vec<Record>,
    pub faults: Vec<Duration>,
    pub healed: Duration,
    pub back: Option<Duration>,
    pub marked: Option<bool>,
    pub before: Resources,
    pub after: Resources,
    /// How much longer something may take than promised, because the machine has other work.
    pub noise: Duration,
    pub failures: Vec<String>,
}

/// Threads of the load client that talk to the key store, and to the KMS API.
pub const XKS_CONNECTIONS: usize = 128;
pub const KMS_CONNECTIONS: usize = 32;
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
const BACK_LIMIT: Duration = Duration::from_secs(10);
/// Until a library that was told to fail has failed.
const FAULT_MARGIN: Duration = Duration::from_millis(60);
/// A member's calls that can be under way when its library ends: those of its sessions.
pub const SESSIONS: usize = 4;
/// Documented: what AWS KMS is told when no HSM answers, and what clients of the KMS API are.
const DOCUMENTED: [&str; 4] = [
    "500 InternalException",
    "503 DependencyTimeoutException",
    "500 KMSInternalException",
    "503 DependencyTimeout",
];
/// The same, when more is asked than can be done.
pub const REFUSALS: [&str; 2] = ["429 ThrottlingException", "400 ThrottlingException"];
/// AWS KMS waits no longer.
const KMS_TIMEOUT: Duration = Duration::from_millis(250);
/// What a process may grow by while it does the same as before, in kB and in percent.
const MEMORY_SLACK_KB: u64 = 8192;
const MEMORY_SLACK_PERCENT: u64 = 10;

impl Plan {
    pub fn can_be_played(&self, bench: &Bench) -> bool {
        match self.needs {
            Needs::Nothing => true,
            Needs::Workers => bench.isolation == Isolation::Process,
            Needs::CheckedEncryptions => bench.template.can("check_encryptions"),
        }
    }

    pub fn play(&self, bench: &Bench) -> Evidence {
        let setup = Setup {
            isolation: bench.isolation,
            check_encryptions: self.needs == Needs::CheckedEncryptions,
            logs_requests: true,
        };
        let site = bench.template.start(&setup);
        let loads = |origin| {
            let xks = (site.xks("one", self.cdiv) as Arc<dyn Work>, bench.xks_rate, XKS_CONNECTIONS);
            let kms = (site.kms() as Arc<dyn Work>, bench.kms_rate, KMS_CONNECTIONS);
            let works = if self.with_kms { vec![xks, kms] } else { vec![xks] };
            works
                .into_iter()
                .map(|(work, rate, lanes)| Load::start(work, Pace::PerSecond(rate), lanes, origin))
                .collect::<Vec<_>>()
        };
        let (undisturbed, trouble, after) = phases(bench.seconds);
        let warming = loads(Instant::now());
        thread::sleep(undisturbed);
        warming.into_iter().for_each(|load| drop(load.stop()));
        let before = settled(&site.daemon);
        let origin = Instant::now();
        let running = loads(origin);
        let mut stage = Stage {
            site: &site,
            trouble,
            origin,
            faults: Vec::new(),
            healed: None,
            back: None,
            marked: None,
        };
        thread::sleep(undisturbed);
        (self.act)(&mut stage);
        let Stage { faults, healed, back, marked, .. } = stage;
        let healed = healed.unwrap_or_else(|| origin.elapsed());
        thread::sleep(after);
        let mut records = running.into_iter().map(Load::stop);
        let (xks, kms) = (records.next().unwrap_or_default(), records.next().unwrap_or_default());
        let after = back_to(&site.daemon, before);
        let undisturbed =
            Summary::of(due_in(&xks, Duration::ZERO..faults.first().copied().unwrap_or(healed)));
        let noise = if bench.is_strict { Duration::ZERO } else { 3 * undisturbed.percentile(990) };
        let failures = Vec::new();
        let (name, isolation) = (self.name, bench.isolation);
        let mut evidence = Evidence {
            name,
            isolation,
            xks,
            kms,
            faults,
            healed,
            back,
            marked,
            before,
            after,
            noise,
            failures,
        };
        evidence.require_nothing_wrong_and_nothing_left();
        (self.judge)(&mut evidence);
        if !evidence.failures.is_empty() {
            eprintln!("{}: kept in {}", self.name, site.keep().display());
        }
        evidence
    }
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
        now.threads <= before.threads && now.files <= before.files && now.processes == before.processes
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

impl Evidence {
    fn require(&mut self, condition: bool, claim: impl FnOnce() -> String) {
        if !condition {
            self.failures.push(claim());
        }
    }

    fn all(&self) -> impl Iterator<Item = &Record> {
        self.xks.iter().chain(&self.kms)
    }

    /// Those of the time in which something was wrong, and after.
    pub fn from_first_fault(&self) -> Duration {
        self.faults.first().copied().unwrap_or(Duration::ZERO)
    }

    fn require_nothing_wrong_and_nothing_left(&mut self) {
        let is_bad = |record: &&Record| {
            let errors = Summary::of([*record]).errors_text();
            errors.contains("WRONG") || errors.contains("lost")
        };
        let bad = Summary::of(self.all().filter(is_bad)).errors_text();
        self.require(bad == "none", || format!("answers that must never be given: {bad}"));
        let (before, after) = (self.before, self.after);
        let memory_max = before.memory_kb * (100 + MEMORY_SLACK_PERCENT) / 100 + MEMORY_SLACK_KB;
        self.require(after.memory_kb <= memory_max, || {
            format!("memory: {} kB before, {} kB after", before.memory_kb, after.memory_kb)
        });
        for (what, before, after) in [
            ("threads", before.threads, after.threads),
            ("file descriptors", before.files, after.files),
            ("processes", before.processes, after.processes),
        ] {
            self.require(after <= before, || format!("{what}: {before} before, {after} after"));
        }
        let undisturbed = Summary::of(self.all().filter(|record| record.done < self.from_first_fault()));
        self.require(undisturbed.errors.is_empty(), || {
            format!("before anything went wrong: {}", undisturbed.errors_text())
        });
    }

    pub fn require_no_errors(&mut self) {
        let errors = Summary::of(self.all()).errors_text();
        self.require(errors == "none", || format!("errors: {errors}"));
    }

    /// What was under way in a library that ended, at most its sessions each time.
    pub fn require_no_errors_but_in_flight(&mut self) {
        let faults = self.faults.clone();
        let is_excused =
            |record: &&Record| faults.iter().any(|fault| record.was_in_flight_at(*fault, FAULT_MARGIN));
        let failed: Vec<_> = self.all().filter(|record| !record.is_good()).collect();
        let (excused, others): (Vec<_>, Vec<_>) = failed.into_iter().partition(is_excused);
        let (count, others) = (excused.len(), Summary::of(others).errors_text());
        self.require(others == "none", || format!("errors of requests that were not in flight: {others}"));
        let most = SESSIONS * faults.len();
        self.require(count <= most, || format!("{count} errors of requests in flight, more than {most}"));
    }

    pub fn require_p99_below(&mut self, limit: Duration) {
        let limit = limit + self.noise;
        let (from, until) = (self.from_first_fault(), self.healed);
        let window = due_in(&self.xks, from..until).chain(due_in(&self.kms, from..until));
        let p99 = Summary::of(window).percentile(990);
        self.require(p99 < limit, || {
            format!("p99 while something was wrong: {p99:.1?}, not below {limit:.1?}")
        });
    }

    pub fn require_back_within(&mut self, limit: Duration) {
        let (back, limit) = (self.back, limit + self.noise);
        self.require(back.is_some_and(|back| back <= limit), || match back {
            Some(back) => format!("the member served {back:.2?} after its return, later than {limit:.2?}"),
            None => format!("the member served nothing within {BACK_LIMIT:?} of its return"),
        });
    }

    /// While nothing can be done: documented errors, in time.
    pub fn require_documented_errors_in_time(&mut self) {
        let limit = KMS_TIMEOUT + self.noise;
        let (from, until) = (self.from_first_fault() + FAULT_MARGIN, self.healed);
        let window: Vec<_> = due_in(&self.xks, from..until).chain(due_in(&self.kms, from..until)).collect();
        let errors = Summary::of(window.iter().copied());
        let is_documented =
            |text: &String| DOCUMENTED.contains(&text.as_str()) || REFUSALS.contains(&text.as_str());
        let all_documented = errors.errors.keys().all(is_documented);
        let text = errors.errors_text();
        self.require(all_documented, || format!("errors that are not the documented ones: {text}"));
        let share = errors.good;
        self.require(share == 0, || format!("{share} requests succeeded with no HSM there"));
        let late = due_in(&self.xks, from..until).filter(|record| record.latency() > limit).count();
        self.require(late == 0, || format!("{late} answers came later than {limit:.0?}"));
    }

    pub fn require_full_service_within(&mut self, limit: Duration) {
        let from = self.healed + limit + self.noise;
        let errors = Summary::of(self.all().filter(|record| record.due > from)).errors_text();
        self.require(errors == "none", || format!("errors later than {limit:?} after the return: {errors}"));
    }

    /// When the last request failed, after everything was right again.
    pub fn service_back(&self) -> Option<Duration> {
        let failed = self.all().filter(|record| !record.is_good() && record.done > self.healed);
        failed.map(|record| record.done - self.healed).max()
    }

    pub fn require_marked(&mut self) {
        self.require(self.marked == Some(true), || "the member was never shown as not well".to_owned());
    }
}
