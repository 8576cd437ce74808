//! Faults of the HSM, by way of the shim: what goes wrong from now on, and which calls were made.

use std::collections::BTreeMap;

use super::site::{Setup, Site};

/// PKCS#11 calls by function; functions that were not called are absent.
pub type Calls = BTreeMap<String, u64>;

impl Setup {
    /// A site behind the shim, in which nothing calls the HSM but requests: probes are rare.
    pub fn quiet(sessions: usize) -> Self {
        Self {
            shim: true,
            hsm: format!("sessions = {sessions}"),
            health: "probe_interval_seconds = 58".to_owned(),
            ..Self::default()
        }
    }
}

impl Site {
    /// These faults happen from the next call on, and no others. The lines are those of the shim.
    pub fn inject(&self, lines: &str) {
        std::fs::write(self.path("faults.new"), lines).unwrap();
        std::fs::rename(self.path("faults.new"), self.path("faults")).unwrap();
    }

    /// Calls since the daemon started.
    pub fn calls(&self) -> Calls {
        let text = std::fs::read_to_string(self.path("counts")).unwrap_or_default();
        let counts = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    pub fn calls_of(&self, function: &str) -> u64 {
        self.calls().get(function).copied().unwrap_or(0)
    }

    /// The calls made while `act` runs.
    pub fn calls_during(&self, act: impl FnOnce()) -> Calls {
        let before = self.calls();
        act();
        let mut after = self.calls();
        after.retain(|function, count| {
            *count -= before.get(function).copied().unwrap_or(0);
            *count > 0
        });
        after
    }
}

/// Expected calls, as they come out of [`Site::calls_during`].
pub fn calls<const N: usize>(calls: [(&str, u64); N]) -> Calls {
    calls.into_iter().map(|(function, count)| (function.to_owned(), count)).collect()
}
