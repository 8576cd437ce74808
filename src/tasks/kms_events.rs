//! Tells of what happened to keys, in the order in which it happened, until the receiver has it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::kms::LifecycleEvent;
use crate::events::Receiver;
use crate::gate::kms::Kms;
use crate::metrics::Metrics;

/// Between two looks, if nobody says that there is something to tell.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Of an event that need not be told: about half an hour.
const BEST_EFFORT_ATTEMPTS_MAX: u32 = 32;

/// Works until it is dropped. An event is removed after it was told: stopping anywhere loses none, and may tell one
/// twice.
pub async fn run(kms: Arc<Kms>, receiver: Receiver, metrics: Arc<Metrics>) {
    loop {
        match kms.next_lifecycle_event().await {
            Ok(outbox) => {
                for (kind, waiting) in outbox.waiting {
                    let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
                    metrics.kms_events_waiting.with_label_values(&[kind.as_str()]).set(waiting);
                }
                let Some(entry) = outbox.entries.into_iter().next() else {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE_MAX) => {}
                        () = kms.lifecycle_event_happened() => {}
                    }
                    continue;
                };
                tell(&entry.event, &receiver, &metrics).await;
                remove(&kms, entry.number).await;
            }
            Err(refused) => {
                tracing::warn!(reason = %refused, "cannot look for lifecycle events");
                tokio::time::sleep(RETRY_MAX).await;
            }
        }
    }
}

/// Until the receiver has it, or it is given up.
async fn tell(event: &LifecycleEvent, receiver: &Receiver, metrics: &Metrics) {
    let (kind, key_id) = (event.kind.as_str(), &event.key_id);
    let count = |outcome| metrics.kms_events_total.with_label_values(&[kind, outcome]).inc();
    let mut attempts = 0_u32;
    loop {
        attempts = attempts.saturating_add(1);
        let Err(reason) = receiver.tell(event).await else {
            count("told");
            return;
        };
        count("failed");
        if attempts == 1 {
            tracing::warn!(key.id = %key_id, reason, "cannot tell of `{kind}` of key {key_id}; trying again");
        }
        if attempts >= BEST_EFFORT_ATTEMPTS_MAX && !event.kind.is_guaranteed() {
            count("dropped");
            tracing::error!(key.id = %key_id, reason, "nobody was told of `{kind}` of key {key_id}");
            return;
        }
        tokio::time::sleep(pause(attempts)).await;
    }
}

/// Longer each time, and never exactly the same, so that many daemons do not come back at once.
fn pause(attempts: u32) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(RETRY_MAX);
    let mut random = [0_u8];
    // Without random bytes: at the earliest moment.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [random] = random;
    doubled / 2 + doubled / 2 * u32::from(random) / 255
}

async fn remove(kms: &Kms, number: u64) {
    while let Err(refused) = kms.lifecycle_event_was_told(number).await {
        tracing::warn!(reason = %refused, "cannot note that a lifecycle event was told");
        tokio::time::sleep(RETRY_MAX).await;
    }
}
