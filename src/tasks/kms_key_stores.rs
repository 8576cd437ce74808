//! Connects and disconnects custom key stores, logs in to clusters again after a restart, and asks proxies how they are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::domain::kms::ConnectionState;
use crate::gate::kms::{KeyStoreName, Kms, Refused, Resumed};

/// A cluster may have to initialize its library and read its keys.
const TRANSITION_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks for work that nobody announced, and after a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// A health check ends by itself in half a second; opening the credential may take longer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Works until it is dropped; what is under way then is taken up again at the next start.
pub async fn run(kms: Arc<Kms>, clock: Arc<dyn Clock>, health_interval: Duration) {
    let mut work = Work { kms, clock, running: JoinSet::new(), busy: HashMap::new(), to_resume: None };
    let (mut health, mut pause) = (interval(health_interval), interval(PAUSE));
    health.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = work.kms.key_store_transitions() => work.start_transitions().await,
            Some(ended) = work.running.join_next() => work.settle(ended.ok()).await,
            _ = health.tick() => work.check_health().await,
            _ = pause.tick() => {
                work.start_transitions().await;
                work.start_resumes().await;
            }
        }
    }
}

struct Work {
    kms: Arc<Kms>,
    clock: Arc<dyn Clock>,
    running: JoinSet<Ended>,
    /// Key stores that somebody connects, disconnects or logs in to: one at a time for each.
    busy: HashMap<KeyStoreName, AbortHandle>,
    /// Key stores whose cluster the daemon was logged in to before it was started anew; absent until that is known.
    to_resume: Option<BTreeSet<KeyStoreName>>,
}

/// What came to its end.
enum Ended {
    Health,
    Resume(KeyStoreName, Resumed),
    Transition,
}

impl Work {
    fn deadline(&self, timeout: Duration) -> Instant {
        self.clock.instant() + timeout
    }

    fn is_busy(&self, name: &KeyStoreName) -> bool {
        self.busy.get(name).is_some_and(|work| !work.is_finished())
    }

    async fn start_transitions(&mut self) {
        self.busy.retain(|_, work| !work.is_finished());
        let changing = [ConnectionState::Connecting, ConnectionState::Disconnecting];
        for name in self.named(&changing).await.unwrap_or_default() {
            if self.is_busy(&name) {
                continue;
            }
            let (kms, deadline) = (Arc::clone(&self.kms), self.deadline(TRANSITION_TIMEOUT));
            let transition = name.clone();
            let handle = self.running.spawn(async move {
                complete(&kms, &transition, deadline).await;
                Ended::Transition
            });
            self.busy.insert(name, handle);
        }
    }

    async fn start_resumes(&mut self) {
        if self.to_resume.is_none() {
            let connected = self.named(&[ConnectionState::Connected]).await;
            self.to_resume = connected.map(|names| names.into_iter().collect());
        }
        for name in self.to_resume.clone().unwrap_or_default() {
            if self.is_busy(&name) {
                continue;
            }
            let (kms, deadline) = (Arc::clone(&self.kms), self.deadline(TRANSITION_TIMEOUT));
            let cluster = name.clone();
            let handle = self.running.spawn(async move {
                let resumed = kms.resume_cluster(&cluster, deadline).await;
                Ended::Resume(cluster, resumed)
            });
            self.busy.insert(name, handle);
        }
    }

    async fn settle(&mut self, ended: Option<Ended>) {
        match ended {
            Some(Ended::Health | Ended::Resume(_, Resumed::NotYet)) => {}
            Some(Ended::Resume(name, Resumed::Done | Resumed::Refused)) => {
                if let Some(names) = &mut self.to_resume {
                    names.remove(&name);
                }
                self.start_transitions().await;
            }
            // Whoever changed the key store meanwhile waits for the next one.
            Some(Ended::Transition) | None => self.start_transitions().await,
        }
    }

    async fn check_health(&mut self) {
        for name in self.named(&[ConnectionState::Connected]).await.unwrap_or_default() {
            let (kms, deadline) = (Arc::clone(&self.kms), self.deadline(HEALTH_TIMEOUT));
            self.running.spawn(async move {
                kms.check_key_store_health(&name, deadline).await;
                Ended::Health
            });
        }
    }

    /// Key stores in one of these states; none if that cannot be found out now.
    async fn named(&self, states: &[ConnectionState]) -> Option<Vec<KeyStoreName>> {
        match self.kms.key_stores_in(states).await {
            Ok(names) => Some(names),
            Err(refused) => {
                tracing::error!(reason = %refused, "cannot look for custom key stores that are {states:?}");
                None
            }
        }
    }
}

/// Whoever changed the key store meanwhile wants something else now, which the next look finds. After any other
/// failure the key store stays busy for a while: neither a database nor a cluster gets better by haste.
async fn complete(kms: &Kms, name: &KeyStoreName, deadline: Instant) {
    match kms.complete_transition(name, deadline).await {
        Ok(()) | Err(Refused::Conflict) => {}
        Err(refused) => {
            let (_, id) = name;
            tracing::error!(key_store.id = %id, reason = %refused, "key store {id}: its connection cannot be changed");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
