//! What the last probe of an HSM, and what has happened since, add up to.

use std::time::{Duration, Instant};

use crate::key_manager::HealthState;
use crate::key_manager::pkcs11::fault::Fault;
use crate::key_manager::pkcs11::token::Product;
use crate::key_manager::pkcs11::watcher::Vitals;

/// XKS v1, GetHealthStatus: a cached result may be at most one minute old.
const HEALTH_AGE_MAX: Duration = Duration::from_secs(60);
/// A probe slower than this leaves little of the 250 ms: the HSM is degraded.
const SLOW_PROBE: Duration = Duration::from_millis(100);

/// The result of a probe.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) state: HealthState,
    pub(super) reason: Option<String>,
    pub(super) product: Product,
    /// Nobody wants it to be in service.
    pub(super) is_disconnected: bool,
    /// When; absent before the first.
    probed: Option<Instant>,
}

/// How many of the worker threads have been in one call for too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stuck {
    pub(super) workers: usize,
    pub(super) of: usize,
}

impl Health {
    pub(super) fn unknown() -> Self {
        Self {
            state: HealthState::Unavailable,
            reason: Some("not probed yet".to_owned()),
            product: Product::default(),
            is_disconnected: false,
            probed: None,
        }
    }

    pub(super) fn passed(vitals: Vitals, now: Instant) -> Self {
        let slow = vitals.duration > SLOW_PROBE;
        Self {
            state: if slow { HealthState::Degraded } else { HealthState::Active },
            reason: slow.then(|| format!("the probe took {} ms", vitals.duration.as_millis())),
            product: vitals.product,
            is_disconnected: false,
            probed: Some(now),
        }
    }

    /// The product is still what it was.
    pub(super) fn failed(&self, reason: String, now: Instant) -> Self {
        Self {
            state: HealthState::Unavailable,
            reason: Some(reason),
            product: self.product.clone(),
            is_disconnected: false,
            probed: Some(now),
        }
    }

    /// A member of a cluster whose key store is not connected.
    pub(super) fn disconnected(&self, now: Instant) -> Self {
        let failed = self.failed(Fault::disconnected().what, now);
        Self { is_disconnected: true, ..failed }
    }

    /// The same without stuck sessions, and without saying why.
    pub(super) fn state_at(&self, now: Instant) -> HealthState {
        if self.is_stale(now) { HealthState::Unavailable } else { self.state }
    }

    fn is_stale(&self, now: Instant) -> bool {
        let is_old = |probed| now.saturating_duration_since(probed) > HEALTH_AGE_MAX;
        !self.is_disconnected && self.probed.is_some_and(is_old)
    }

    /// The state now, and why it is not ACTIVE.
    pub(super) fn at(&self, now: Instant, stuck: Stuck) -> (HealthState, Option<String>) {
        if self.is_stale(now) {
            return (HealthState::Unavailable, Some("no probe result within the last minute".to_owned()));
        }
        match stuck.workers {
            0 => (self.state, self.reason.clone()),
            all if all == stuck.of => {
                (HealthState::Unavailable, Some("all sessions hang in PKCS#11 calls".to_owned()))
            }
            some if self.state == HealthState::Active => (
                HealthState::Degraded,
                Some(format!("{some} of {} sessions hang in PKCS#11 calls", stuck.of)),
            ),
            _ => (self.state, self.reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Health, Stuck};
    use crate::clock::{Clock, SystemClock};
    use crate::key_manager::HealthState;
    use crate::key_manager::pkcs11::token::Product;
    use crate::key_manager::pkcs11::watcher::Vitals;

    fn passed(milliseconds: u64, now: Instant) -> Health {
        let duration = Duration::from_millis(milliseconds);
        Health::passed(Vitals { product: Product::default(), duration }, now)
    }

    fn state(health: &Health, now: Instant, stuck: usize) -> HealthState {
        health.at(now, Stuck { workers: stuck, of: 4 }).0
    }

    #[test]
    fn a_result_older_than_a_minute_is_not_served_on() {
        let probed = SystemClock.instant();
        for health in [passed(1, probed), passed(200, probed)] {
            assert_ne!(state(&health, probed + Duration::from_secs(60), 0), HealthState::Unavailable);
            let (state, reason) =
                health.at(probed + Duration::from_millis(60_001), Stuck { workers: 0, of: 4 });
            assert_eq!(state, HealthState::Unavailable);
            assert_eq!(reason.as_deref(), Some("no probe result within the last minute"));
        }
    }

    #[test]
    fn a_slow_probe_or_some_stuck_sessions_degrade_and_all_stuck_sessions_end_service() {
        let now = SystemClock.instant();
        assert_eq!(state(&passed(100, now), now, 0), HealthState::Active);
        assert_eq!(state(&passed(101, now), now, 0), HealthState::Degraded);
        assert_eq!(state(&passed(1, now), now, 3), HealthState::Degraded);
        assert_eq!(state(&passed(1, now), now, 4), HealthState::Unavailable);
        assert_eq!(state(&passed(101, now), now, 1), HealthState::Degraded);
    }

    #[test]
    fn before_the_first_probe_and_after_a_failed_one_nothing_is_promised() {
        let now = SystemClock.instant();
        assert_eq!(state(&Health::unknown(), now, 0), HealthState::Unavailable);
        let failed = passed(1, now).failed("gone".to_owned(), now);
        assert_eq!(
            failed.at(now, Stuck { workers: 1, of: 4 }),
            (HealthState::Unavailable, Some("gone".to_owned()))
        );
    }
}
