//! Connects and disconnects custom key stores, logs in to clusters again after a restart, and asks proxies how they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};

use crate::clock::Clock;
use crate::domain::kms::ConnectionState;
use crate::gate::kms::{KeyStoreName, Kms, Refused, Resumed};

/// A cluster may have to initialize its library and read its keys.
const TRANSITION_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks for work that nobody announced, such as after a failure.
const PAUSE: Duration = Duration::from_secs(5);
const RESUME_INTERVAL: Duration = Duration::from_secs(5);
/// A health check ends by itself in half a second; opening the credential may take longer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Works until it is dropped; what is under way then is taken up again at the next start.
pub async fn run(kms: Arc<Kms>, clock: Arc<dyn Clock>, health_interval: Duration) {
    let mut work = Work { kms, clock, running: JoinSet::new(), busy: HashMap::new() };
    work.resume_clusters().await;
    let mut health = tokio::time::interval(health_interval);
    health.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        work.start_transitions().await;
        tokio::select! {
            () = work.kms.key_store_transitions() => {}
            Some(_) = work.running.join_next() => {}
            _ = health.tick() => work.check_health().await,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

struct Work {
    kms: Arc<Kms>,
    clock: Arc<dyn Clock>,
    running: JoinSet<()>,
    /// Key stores that are being connected or disconnected: one thing at a time for each.
    busy: HashMap<KeyStoreName, AbortHandle>,
}

impl Work {
    fn deadline(&self, timeout: Duration) -> Instant {
        self.clock.instant() + timeout
    }

    async fn start_transitions(&mut self) {
        self.busy.retain(|_, transition| !transition.is_finished());
        for state in [ConnectionState::Connecting, ConnectionState::Disconnecting] {
            for name in self.named(state).await {
                if self.busy.contains_key(&name) {
                    continue;
                }
                let (kms, deadline) = (Arc::clone(&self.kms), self.deadline(TRANSITION_TIMEOUT));
                let transition = name.clone();
                let handle = self.running.spawn(async move { complete(&kms, &transition, deadline).await });
                self.busy.insert(name, handle);
            }
        }
    }

    async fn named(&self, state: ConnectionState) -> Vec<KeyStoreName> {
        self.kms.key_stores_in(state).await.unwrap_or_else(|refused| {
            tracing::error!(reason = ?refused, "cannot look for custom key stores that are {state}");
            Vec::new()
        })
    }

    /// The daemon was logged in to the clusters of connected key stores before it was started anew.
    async fn resume_clusters(&mut self) {
        for name in self.named(ConnectionState::Connected).await {
            let (kms, clock) = (Arc::clone(&self.kms), Arc::clone(&self.clock));
            self.running.spawn(async move {
                while kms.resume_cluster(&name, clock.instant() + TRANSITION_TIMEOUT).await == Resumed::NotYet
                {
                    tokio::time::sleep(RESUME_INTERVAL).await;
                }
            });
        }
    }

    async fn check_health(&mut self) {
        for name in self.named(ConnectionState::Connected).await {
            let (kms, deadline) = (Arc::clone(&self.kms), self.deadline(HEALTH_TIMEOUT));
            self.running.spawn(async move { kms.check_key_store_health(&name, deadline).await });
        }
    }
}

/// Whoever changed the key store meanwhile wants something else now, which the next look finds.
async fn complete(kms: &Kms, name: &KeyStoreName, deadline: Instant) {
    match kms.complete_transition(name, deadline).await {
        Ok(()) | Err(Refused::Conflict) => {}
        Err(refused) => {
            let (_, id) = name;
            tracing::error!(key_store.id = %id, reason = ?refused, "key store {id}: its connection cannot be changed");
        }
    }
}
