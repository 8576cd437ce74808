//! The circuit breaker of an HSM: when it gets no requests, and when it is tried again. Pure: time is told.

use std::time::{Duration, Instant};

/// So many requests in a row that the HSM failed open it.
const FAILURES_IN_A_ROW: u32 = 3;
/// Or so many, and this share of all answers, within the window.
const FAILURES_IN_WINDOW: u32 = 5;
const FAILURE_SHARE_PERCENT: u64 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// After a trial that failed, and after a relapse, probes count again only then. The longest pause is below the two
/// seconds in which an HSM that is back shall serve again.
const BACK_OFF_MIN: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// An HSM that has been well for so long starts anew.
const CALM: Duration = Duration::from_secs(10);
/// Corruption is worse than silence, and a self-test that passes proves little about an HSM that corrupts now and then.
const QUARANTINE_MIN: Duration = Duration::from_secs(10);
const QUARANTINE_MAX: Duration = Duration::from_secs(600);
const QUARANTINE_MEMORY: Duration = Duration::from_secs(3600);
/// One probe after the other must find that the HSM decrypts what it encrypts. With fewer, a fault in every second
/// call would pass soon; more would keep an HSM without a substitute out for longer than a second or so.
const SELF_TESTS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerState {
    Closed,
    /// A few requests at a time find out whether it is well.
    HalfOpen,
    Open,
    /// It returned what was wrong.
    Quarantined,
}

impl BreakerState {
    /// As the metric has them.
    pub(super) const ALL: [Self; 4] = [Self::Closed, Self::HalfOpen, Self::Open, Self::Quarantined];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Which requests an HSM gets, the first first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Admission {
    /// A few at a time, before all others: else an HSM that is not needed would never prove itself.
    OnTrial,
    Freely,
    /// It is slow, or some of its sessions hang.
    Behind,
    /// If no other HSM can be asked.
    LastResort,
    Never,
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    /// When the present state began.
    since: Instant,
    /// Why it is not closed.
    reason: String,
    /// The number of the last answer that was a failure, and how many there were without another answer between them.
    last_failure: u64,
    failures_in_a_row: u32,
    window: Window,
    /// How long the next opening lasts at least, and until when the present one does.
    back_off: Duration,
    retry_at: Instant,
    quarantine: Quarantine,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// Answers before it.
    answers_before: u64,
    failures: u32,
}

#[derive(Debug)]
struct Quarantine {
    until: Instant,
    length: Duration,
    last: Option<Instant>,
    self_tests: u32,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: BreakerState::Closed,
            since: now,
            reason: String::new(),
            last_failure: 0,
            failures_in_a_row: 0,
            window: Window { began: now, answers_before: 0, failures: 0 },
            back_off: Duration::ZERO,
            retry_at: now,
            quarantine: Quarantine { until: now, length: QUARANTINE_MIN, last: None, self_tests: 0 },
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn admission(&self) -> Admission {
        match self.state {
            BreakerState::Closed => Admission::Freely,
            BreakerState::HalfOpen => Admission::OnTrial,
            BreakerState::Open => Admission::LastResort,
            BreakerState::Quarantined if self.quarantine.self_tests >= SELF_TESTS => Admission::LastResort,
            BreakerState::Quarantined => Admission::Never,
        }
    }

    /// The HSM failed a request, which was its answer of this number.
    pub(super) fn failed(&mut self, answer: u64, reason: &str, now: Instant) {
        match self.state {
            BreakerState::Closed => {
                if self.is_failing(answer, now) {
                    self.open(reason, now);
                }
            }
            BreakerState::HalfOpen => self.open(reason, now),
            BreakerState::Open | BreakerState::Quarantined => {}
        }
    }

    fn is_failing(&mut self, answer: u64, now: Instant) -> bool {
        let follows = self.failures_in_a_row > 0 && answer == self.last_failure + 1;
        self.failures_in_a_row = if follows { self.failures_in_a_row + 1 } else { 1 };
        self.last_failure = answer;
        let window = &mut self.window;
        if now.saturating_duration_since(window.began) > WINDOW {
            *window = Window { began: now, answers_before: answer.saturating_sub(1), failures: 0 };
        }
        window.failures += 1;
        let answers = answer.saturating_sub(window.answers_before).max(1);
        let percent = u64::from(window.failures) * 100 / answers;
        self.failures_in_a_row >= FAILURES_IN_A_ROW
            || (window.failures >= FAILURES_IN_WINDOW && percent >= FAILURE_SHARE_PERCENT)
    }

    /// What came in at `asked` was not answered for too long. What was asked before a trial says nothing against it.
    pub(super) fn fell_silent(&mut self, reason: &str, (asked, now): (Instant, Instant)) {
        match self.state {
            BreakerState::HalfOpen if asked < self.since => {}
            BreakerState::Closed | BreakerState::HalfOpen => self.open(reason, now),
            BreakerState::Open | BreakerState::Quarantined => {}
        }
    }

    /// A request that came in at `asked` was answered well. What was asked before the trial proves nothing.
    pub(super) fn succeeded(&mut self, asked: Instant, now: Instant) {
        if self.state == BreakerState::HalfOpen && asked >= self.since {
            self.turn(BreakerState::Closed, "", now);
        }
    }

    pub(super) fn probe_passed(&mut self, now: Instant) {
        match self.state {
            BreakerState::Open if now >= self.retry_at => {
                self.turn(BreakerState::HalfOpen, "on trial after it was taken out", now);
            }
            BreakerState::Quarantined => {
                self.quarantine.self_tests = self.quarantine.self_tests.saturating_add(1);
                if self.quarantine.self_tests >= SELF_TESTS && now >= self.quarantine.until {
                    self.turn(BreakerState::HalfOpen, "on trial after its quarantine", now);
                }
            }
            BreakerState::Closed | BreakerState::HalfOpen | BreakerState::Open => {}
        }
    }

    pub(super) fn probe_failed(&mut self, reason: &str, now: Instant) {
        match self.state {
            BreakerState::Closed | BreakerState::HalfOpen => self.open(reason, now),
            BreakerState::Open => reason.clone_into(&mut self.reason),
            BreakerState::Quarantined => self.quarantine.self_tests = 0,
        }
    }

    /// It returned something wrong, whatever state it was in.
    pub(super) fn corrupted(&mut self, reason: &str, now: Instant) {
        let quarantine = &mut self.quarantine;
        let is_forgotten =
            |last: Instant| now.saturating_duration_since(last) > quarantine.length + QUARANTINE_MEMORY;
        quarantine.length = match quarantine.last {
            Some(last) if !is_forgotten(last) => match self.state {
                // Another request of the same moment.
                BreakerState::Quarantined if quarantine.self_tests < SELF_TESTS => quarantine.length,
                BreakerState::Closed
                | BreakerState::HalfOpen
                | BreakerState::Open
                | BreakerState::Quarantined => (quarantine.length * 2).min(QUARANTINE_MAX),
            },
            Some(_) | None => QUARANTINE_MIN,
        };
        quarantine.last = Some(now);
        quarantine.self_tests = 0;
        quarantine.until = now + quarantine.length;
        self.turn(BreakerState::Quarantined, reason, now);
    }

    fn open(&mut self, reason: &str, now: Instant) {
        if self.state == BreakerState::Closed && now.saturating_duration_since(self.since) >= CALM {
            self.back_off = Duration::ZERO;
        }
        self.retry_at = now + self.back_off;
        self.back_off = (self.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
        self.turn(BreakerState::Open, reason, now);
    }

    fn turn(&mut self, state: BreakerState, reason: &str, now: Instant) {
        self.state = state;
        self.since = now;
        self.failures_in_a_row = 0;
        self.window.failures = 0;
        reason.clone_into(&mut self.reason);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{
        Admission, BACK_OFF_MAX, Breaker, BreakerState, CALM, QUARANTINE_MAX, QUARANTINE_MIN, SELF_TESTS,
    };
    use crate::clock::{Clock, SystemClock};

    const MS: Duration = Duration::from_millis(1);

    fn breaker() -> (Breaker, Instant) {
        let now = SystemClock.instant();
        (Breaker::new(now), now)
    }

    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = breaker();
        breaker.fell_silent("silent", (now, now));
        (breaker, now)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_a_good_answer_between_them_does_not_let_them_count() {
        let (mut breaker, now) = breaker();
        for answer in [1, 2, 4, 5, 7] {
            breaker.failed(answer, "fault", now);
            assert_eq!(breaker.state(), BreakerState::Closed, "answer {answer}");
            // Else the rate would open it.
            breaker.window.failures = 0;
        }
        breaker.failed(8, "fault", now);
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.failed(9, "fault", now);
        assert_eq!((breaker.state(), breaker.reason()), (BreakerState::Open, "fault"));
        assert_eq!(breaker.admission(), Admission::LastResort);
    }

    #[test]
    fn a_fifth_of_the_answers_of_a_second_opens_it_and_a_few_of_many_do_not() {
        let (mut breaker, now) = breaker();
        for answer in [5, 10, 15, 20] {
            breaker.failed(answer, "fault", now);
            assert_eq!(breaker.state(), BreakerState::Closed, "answer {answer}");
        }
        breaker.failed(25, "fault", now);
        assert_eq!(breaker.state(), BreakerState::Open);

        let (mut breaker, mut now) = self::breaker();
        for answer in (10..200).step_by(10) {
            breaker.failed(answer, "fault", now);
            now += 10 * MS;
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        // In the next second as well.
        breaker.failed(1000, "fault", now + 1001 * MS);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_passes_puts_it_on_trial_and_a_request_of_the_trial_closes_it() {
        let (mut breaker, now) = opened();
        breaker.succeeded(now, now + MS);
        assert_eq!(breaker.state(), BreakerState::Open, "requests alone do not close it");
        breaker.probe_passed(now + 2 * MS);
        assert_eq!(breaker.admission(), Admission::OnTrial);
        breaker.succeeded(now + MS, now + 3 * MS);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "asked before the trial");
        breaker.succeeded(now + 2 * MS, now + 3 * MS);
        assert_eq!((breaker.admission(), breaker.reason()), (Admission::Freely, ""));
    }

    #[test]
    fn trials_that_fail_are_repeated_after_a_pause_that_grows_to_its_bound() {
        let (mut breaker, mut now) = opened();
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let began = now;
            breaker.probe_passed(now);
            while breaker.state() == BreakerState::Open {
                now += MS;
                breaker.probe_passed(now);
            }
            pauses.push((now - began).as_millis());
            breaker.failed(1, "fault", now);
            assert_eq!(breaker.state(), BreakerState::Open);
        }
        assert_eq!(pauses, [0, 250, 500, 1000, 1000]);
        assert!(BACK_OFF_MAX < Duration::from_secs(2));
    }

    #[test]
    fn a_relapse_waits_and_an_hsm_that_was_calm_does_not() {
        let (mut breaker, now) = opened();
        let trials = [(5, MS, BreakerState::Open), (10, CALM, BreakerState::HalfOpen)];
        for (after, calm, state) in trials {
            let closed = now + Duration::from_secs(after);
            breaker.probe_passed(closed);
            breaker.succeeded(closed, closed);
            assert_eq!(breaker.state(), BreakerState::Closed);
            breaker.probe_failed("gone", closed + calm);
            breaker.probe_passed(closed + calm);
            assert_eq!(breaker.state(), state);
        }
    }

    #[test]
    fn quarantine_ends_after_its_time_and_self_tests_and_a_last_resort_needs_the_self_tests_alone() {
        let (mut breaker, now) = breaker();
        breaker.corrupted("wrong", now);
        assert_eq!(breaker.admission(), Admission::Never);
        for _ in 0..SELF_TESTS - 1 {
            breaker.probe_passed(now + MS);
        }
        breaker.probe_failed("gone", now + MS);
        for _ in 0..SELF_TESTS {
            assert_eq!(breaker.admission(), Admission::Never);
            breaker.probe_passed(now + MS);
        }
        assert_eq!(
            (breaker.admission(), breaker.state()),
            (Admission::LastResort, BreakerState::Quarantined)
        );
        breaker.succeeded(now + MS, now + MS);
        breaker.failed(1, "fault", now + MS);
        breaker.probe_passed(now + QUARANTINE_MIN - MS);
        assert_eq!((breaker.state(), breaker.reason()), (BreakerState::Quarantined, "wrong"));
        breaker.probe_passed(now + QUARANTINE_MIN);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn each_quarantine_is_twice_as_long_up_to_its_bound_and_is_forgotten_after_an_hour() {
        let (mut breaker, mut now) = breaker();
        let mut lengths = Vec::new();
        for _ in 0..8 {
            breaker.corrupted("wrong", now);
            // Of the same moment: no longer quarantine.
            breaker.corrupted("wrong", now);
            let began = now;
            while breaker.state() == BreakerState::Quarantined {
                now += Duration::from_secs(1);
                breaker.probe_passed(now);
            }
            lengths.push((now - began).as_secs());
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(QUARANTINE_MAX.as_secs(), 600);
        now += Duration::from_secs(3 * 3600);
        breaker.corrupted("wrong", now);
        assert_eq!(breaker.quarantine.length, QUARANTINE_MIN);
    }
}
