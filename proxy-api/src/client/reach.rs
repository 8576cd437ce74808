//! What is known of whether a proxy can be reached, from how others fared.

use std::time::Duration;

use tokio::time::Instant;

/// When the proxy was last connected to, and when it last gave a sign of life.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// TCP that came about, or an answer.
    heard_of_at: Option<Instant>,
    /// The start of TCP.
    tried_at: Option<Instant>,
}

impl Reach {
    pub(super) const fn note_try(&mut self, now: Instant) {
        self.tried_at = Some(now);
    }

    pub(super) const fn note_sign_of_life(&mut self, now: Instant) {
        self.heard_of_at = Some(now);
    }

    /// Whether TCP was tried, and nothing was heard of the proxy for `silence`. That connections are being opened
    /// says nothing: under load some always are.
    pub(super) fn is_missing(&self, now: Instant, silence: Duration) -> bool {
        let is_silent = self.heard_of_at.is_none_or(|at| now.saturating_duration_since(at) > silence);
        is_silent && self.tried_at > self.heard_of_at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Reach;

    const SILENCE: Duration = Duration::from_millis(250);

    #[test]
    fn only_who_was_sought_and_silent_for_long_enough_is_missing() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut reach = Reach::default();
        assert!(!reach.is_missing(at(0), SILENCE), "nobody looked for it");
        reach.note_try(at(0));
        assert!(reach.is_missing(at(1), SILENCE), "it was never there");
        reach.note_sign_of_life(at(10));
        reach.note_try(at(20));
        assert!(!reach.is_missing(at(260), SILENCE), "another connection is being opened");
        assert!(reach.is_missing(at(261), SILENCE));
        reach.note_sign_of_life(at(270));
        assert!(!reach.is_missing(at(10_000), SILENCE), "nobody opens connections, and none was refused");
    }
}
