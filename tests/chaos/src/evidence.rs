//! What is known of a scenario at its end, and what can be required of it.

use std::time::Duration;

use crate::daemon::Resources;
use crate::load::record::{Record, Summary, due_in};
use crate::site::Isolation;
use crate::stage::{BACK_LIMIT, DOCUMENTED, KMS_TIMEOUT, REFUSALS, SESSIONS, THREADS_SLACK};

/// Until a library that was told to fail has failed.
const FAULT_MARGIN: Duration = Duration::from_millis(60);
/// What a process may grow by while it does the same as before, in kB and in percent.
const MEMORY_SLACK_KB: u64 = 8192;
const MEMORY_SLACK_PERCENT: u64 = 10;

/// What is known of a scenario at its end.
pub struct Evidence {
    pub name: &'static str,
    pub isolation: Isolation,
    pub xks: Vec<Record>,
    pub control: Vec<Record>,
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
    pub fn first_fault(&self) -> Duration {
        self.faults.first().copied().unwrap_or(Duration::ZERO)
    }

    /// What the machine takes, whatever the HSMs do: the p99 of requests that need none, and of all before anything
    /// went wrong, whichever is longer.
    pub fn undisturbed_p99(&self) -> Duration {
        let until = self.faults.first().copied().unwrap_or(self.healed);
        let before = Summary::of(due_in(&self.xks, Duration::ZERO..until)).percentile(990);
        before.max(Summary::of(&self.control).percentile(990))
    }

    pub fn require_nothing_wrong_and_nothing_left(&mut self) {
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
            ("threads", before.threads + THREADS_SLACK, after.threads),
            ("file descriptors", before.files, after.files),
            ("processes", before.processes, after.processes),
        ] {
            self.require(after <= before, || format!("{what}: {before} before, {after} after"));
        }
        let undisturbed = Summary::of(self.all().filter(|record| record.done < self.first_fault()));
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
        let (from, until) = (self.first_fault(), self.healed);
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
        let (from, until) = (self.first_fault() + FAULT_MARGIN, self.healed);
        let window: Vec<_> = due_in(&self.xks, from..until).chain(due_in(&self.kms, from..until)).collect();
        let errors = Summary::of(window.iter().copied());
        let is_documented =
            |text: &String| DOCUMENTED.contains(&text.as_str()) || REFUSALS.contains(&text.as_str());
        let good = window.iter().filter(|record| record.is_good() && record.done < until).count();
        let all_documented = errors.errors.keys().all(is_documented);
        let text = errors.errors_text();
        self.require(all_documented, || format!("errors that are not the documented ones: {text}"));
        self.require(good == 0, || format!("{good} requests succeeded with no HSM there"));
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
