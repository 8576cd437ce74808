//! What became of requests, and what that adds up to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The right answer, checked.
    Good,
    /// An error of the API: status and name.
    Refused(String),
    /// An answer that must never reach a client, such as another plaintext.
    Wrong(String),
    /// No answer of the API.
    Lost(String),
}

/// One request. Times are counted from the start of the scenario.
#[derive(Clone, Debug)]
pub struct Record {
    pub due: Duration,
    pub sent: Duration,
    pub done: Duration,
    pub outcome: Outcome,
}

impl Record {
    /// From when it was due: who waits for a connection waits too.
    pub fn latency(&self) -> Duration {
        self.done.saturating_sub(self.due)
    }

    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Good
    }

    /// Whether it was under way at this moment, give or take what it takes to cause a fault.
    pub fn was_in_flight_at(&self, moment: Duration, margin: Duration) -> bool {
        self.sent <= moment + margin && moment <= self.done + margin
    }
}

/// Latencies and errors of some requests.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub requests: usize,
    pub good: usize,
    /// By text, with how many.
    pub errors: BTreeMap<String, usize>,
    latencies: Vec<Duration>,
}

impl Summary {
    pub fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut summary = Self::default();
        for record in records {
            summary.requests += 1;
            summary.latencies.push(record.latency());
            match &record.outcome {
                Outcome::Good => summary.good += 1,
                Outcome::Refused(text) => *summary.errors.entry(text.clone()).or_default() += 1,
                Outcome::Wrong(text) => *summary.errors.entry(format!("WRONG: {text}")).or_default() += 1,
                Outcome::Lost(text) => *summary.errors.entry(format!("lost: {text}")).or_default() += 1,
            }
        }
        summary.latencies.sort_unstable();
        summary
    }

    /// With the time from when a request was sent: what the other side alone is responsible for.
    pub fn waits<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut latencies: Vec<_> =
            records.into_iter().map(|record| record.done.saturating_sub(record.sent)).collect();
        latencies.sort_unstable();
        Self { latencies, ..Self::default() }
    }

    /// The latency that so many of a thousand stay at or below.
    pub fn percentile(&self, per_mille: usize) -> Duration {
        let rank = (self.latencies.len() * per_mille).div_ceil(1000).max(1);
        self.latencies.get(rank - 1).copied().unwrap_or_default()
    }

    pub fn max(&self) -> Duration {
        self.latencies.last().copied().unwrap_or_default()
    }

    pub fn errors_text(&self) -> String {
        if self.errors.is_empty() {
            return "none".to_owned();
        }
        let parts: Vec<_> = self.errors.iter().map(|(text, count)| format!("{count} × {text}")).collect();
        parts.join("; ")
    }
}

/// Those that were due in a window.
pub fn due_in(records: &[Record], window: Range<Duration>) -> impl Iterator<Item = &Record> {
    records.iter().filter(move |record| window.contains(&record.due))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, Record, Summary, due_in};

    fn record(due: u64, done: u64, outcome: Outcome) -> Record {
        let [due, done] = [due, done].map(Duration::from_millis);
        Record { due, sent: due, done, outcome }
    }

    #[test]
    fn percentiles_are_of_latencies_from_when_a_request_was_due() {
        let records: Vec<_> = (0..1000).map(|at| record(at, 2 * at + 1, Outcome::Good)).collect();
        let summary = Summary::of(&records);
        assert_eq!(summary.percentile(500), Duration::from_millis(500));
        assert_eq!(summary.percentile(999), Duration::from_millis(999));
        assert_eq!((summary.max(), summary.good), (Duration::from_secs(1), 1000));
        assert_eq!(Summary::of([]).percentile(990), Duration::ZERO);
    }

    #[test]
    fn errors_are_counted_by_what_they_say() {
        let refused = Outcome::Refused("500 InternalException".to_owned());
        let wrong = Outcome::Wrong("another plaintext".to_owned());
        let records = [record(0, 1, refused.clone()), record(1, 2, refused), record(2, 3, wrong)];
        let text = Summary::of(&records).errors_text();
        assert_eq!(text, "2 × 500 InternalException; 1 × WRONG: another plaintext");
        assert_eq!(due_in(&records, Duration::from_millis(1)..Duration::from_millis(2)).count(), 1);
    }

    #[test]
    fn in_flight_means_sent_before_and_answered_after() {
        let (record, margin) = (record(10, 20, Outcome::Good), Duration::from_millis(2));
        for (moment, is_in_flight) in [(7, false), (8, true), (15, true), (22, true), (23, false)] {
            assert_eq!(record.was_in_flight_at(Duration::from_millis(moment), margin), is_in_flight);
        }
    }
}
