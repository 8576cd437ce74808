//! More requests than the HSMs can do, and two key stores of which one asks for that.
//!
//! Slow HSMs are the bottleneck, as they are in practice: the machine has time left to refuse.

use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::record::{Outcome, Record, Summary, due_in};
use crate::load::xks::Cdiv;
use crate::load::{Load, Pace, Work};
use crate::site::{Setup, Site};
use crate::stage::{
    Bench, CONTROL_CONNECTIONS, CONTROL_RATE, DOCUMENTED, KMS_TIMEOUT, NOISE_FACTOR, REFUSALS, SESSIONS,
    Verdict,
};
use crate::table::Row;

/// Of each call that encrypts or decrypts; an encryption with an integrity value makes two.
const CALL: Duration = Duration::from_millis(20);
const JOB_MAX: Duration = Duration::from_millis(40);
const MEMBERS: usize = 2;
const CONNECTIONS: usize = 256;
const GOODPUT_MIN: f64 = 0.9;
const REFUSAL_P99_MAX: Duration = Duration::from_millis(100);
/// Until it is known how slow the HSMs are.
const RAMP: Duration = Duration::from_secs(1);

struct Slow<'b> {
    bench: &'b Bench,
    site: Site,
    origin: Instant,
    /// Requests that no HSM is asked for, for as long as it lasts.
    control: Option<Load>,
    failures: Vec<String>,
    rows: Vec<Row>,
}

/// Twice the capacity that was measured a moment before.
pub fn twice_the_capacity(bench: &Bench) -> Verdict {
    let mut slow = Slow::start(bench);
    let peak = slow.peak();
    let load = slow.load("one", Pace::PerSecond(2 * peak), CONNECTIONS);
    thread::sleep(RAMP);
    let from = slow.origin.elapsed();
    thread::sleep(slow.part(3));
    let window = from..slow.origin.elapsed();
    let records = load.stop();
    let goodput = goodput(&records, &window);
    let refusals = Summary::waits(due_in(&records, window.clone()).filter(|record| !record.is_good()));
    let p99 = refusals.percentile(990);
    let noise = slow.noise();
    let least = GOODPUT_MIN * peak as f64;
    slow.require(goodput >= least, format!("goodput {goodput:.0} a second, less than {least:.0}"));
    slow.require(p99 < REFUSAL_P99_MAX + noise, format!("p99 of refusals: {p99:.1?}"));
    slow.require_documented(&records);
    slow.require_in_time(&records, &window, noise);
    let name = format!("twice the capacity: {goodput:.0} of {peak} a second done, p99 of refusals {p99:.1?}");
    slow.row(name, &records, &window);
    slow.verdict("overload")
}

/// One key store is asked for twice the capacity, the other for a tenth of it.
pub fn one_store_floods(bench: &Bench) -> Verdict {
    let mut slow = Slow::start(bench);
    let peak = slow.peak();
    let modest = Pace::PerSecond((peak / 10).max(1));
    let from = slow.origin.elapsed();
    let alone = slow.load("other", modest, CONNECTIONS / 4);
    thread::sleep(slow.part(1));
    let window = from..slow.origin.elapsed();
    let alone = alone.stop();
    slow.row("one store alone".to_owned(), &alone, &window);
    let flood = slow.load("one", Pace::PerSecond(2 * peak), CONNECTIONS);
    thread::sleep(RAMP);
    let from = slow.origin.elapsed();
    let other = slow.load("other", modest, CONNECTIONS / 4);
    thread::sleep(slow.part(2));
    let window = from..slow.origin.elapsed();
    let (other, flood) = (other.stop(), flood.stop());
    slow.row("it, while another floods".to_owned(), &other, &window);
    slow.row("the flood".to_owned(), &flood, &window);
    let errors = Summary::of(&other).errors_text();
    slow.require(errors == "none", format!("the store that does not flood: {errors}"));
    let (before, now) = (Summary::of(&alone).percentile(990), Summary::of(&other).percentile(990));
    // It may have to wait for a session to finish what it does, and for one more request of the other store.
    let limit = before + 2 * JOB_MAX + slow.noise();
    slow.require(now <= limit, format!("its p99: {before:.1?} alone, {now:.1?} beside the flood"));
    slow.require_documented(&flood);
    slow.verdict("fairness")
}

impl<'b> Slow<'b> {
    fn start(bench: &'b Bench) -> Self {
        let site = bench.template.start(&Setup {
            isolation: bench.isolation,
            check_encryptions: false,
            logs_requests: true,
        });
        let delay = CALL.as_millis();
        for member in [&site.first, &site.second] {
            member.inject(&format!("C_Encrypt delay_ms={delay}\nC_Decrypt delay_ms={delay}"));
        }
        let origin = Instant::now();
        let pace = Pace::PerSecond(CONTROL_RATE);
        let control = Some(Load::start(site.control("other"), pace, CONTROL_CONNECTIONS, origin));
        Self { bench, site, origin, control, failures: Vec::new(), rows: Vec::new() }
    }

    /// So many fifths of the time that there is.
    fn part(&self, fifths: u32) -> Duration {
        fifths * Duration::from_secs(self.bench.seconds) / 5
    }

    fn load(&self, key_store: &str, pace: Pace, connections: usize) -> Load {
        let work: Arc<dyn Work> = self.site.xks(key_store, Cdiv::Some);
        Load::start(work, pace, connections, self.origin)
    }

    /// Requests a second, with as many at once as keep every session busy.
    fn peak(&mut self) -> u64 {
        let load = self.load("one", Pace::Closed, 2 * MEMBERS * SESSIONS);
        thread::sleep(RAMP);
        let from = self.origin.elapsed();
        thread::sleep(self.part(1));
        let window = from..self.origin.elapsed();
        let records = load.stop();
        self.row("capacity".to_owned(), &records, &window);
        goodput(&records, &window) as u64
    }

    /// What the machine adds to the latency of a request: known at the end.
    fn noise(&mut self) -> Duration {
        let control = self.control.take().map(Load::stop).unwrap_or_default();
        self.row("needs no HSM".to_owned(), &control, &(Duration::ZERO..Duration::MAX));
        let p99 = Summary::of(&control).percentile(990);
        if self.bench.is_strict { Duration::ZERO } else { NOISE_FACTOR * p99 }
    }

    fn require(&mut self, condition: bool, claim: String) {
        if !condition {
            self.failures.push(claim);
        }
    }

    fn require_documented(&mut self, records: &[Record]) {
        let errors = Summary::of(records);
        let is_documented =
            |text: &String| DOCUMENTED.contains(&text.as_str()) || REFUSALS.contains(&text.as_str());
        let text = errors.errors_text();
        self.require(errors.errors.keys().all(is_documented), format!("errors: {text}"));
    }

    fn require_in_time(&mut self, records: &[Record], window: &Range<Duration>, noise: Duration) {
        let limit = KMS_TIMEOUT + noise;
        let late = due_in(records, window.clone()).filter(|record| record.latency() > limit).count();
        self.require(late == 0, format!("{late} answers came later than {limit:?}"));
    }

    fn row(&mut self, scenario: String, records: &[Record], window: &Range<Duration>) {
        self.rows.push(Row {
            scenario,
            isolation: self.bench.isolation,
            api: "XKS",
            summary: Summary::of(due_in(records, window.clone())),
            back: String::new(),
            resources: None,
            is_good: true,
        });
    }

    fn verdict(mut self, name: &str) -> Verdict {
        self.rows.iter_mut().for_each(|row| row.is_good = self.failures.is_empty());
        if !self.failures.is_empty() {
            eprintln!("{name}: kept in {}", self.site.keep().display());
        }
        Verdict { rows: self.rows, failures: self.failures }
    }
}

/// Good answers a second that came before AWS KMS gave up.
fn goodput(records: &[Record], window: &Range<Duration>) -> f64 {
    let is_done = |record: &&Record| {
        window.contains(&record.done) && record.outcome == Outcome::Good && record.latency() <= KMS_TIMEOUT
    };
    records.iter().filter(is_done).count() as f64 / (window.end - window.start).as_secs_f64()
}
