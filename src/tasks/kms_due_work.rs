//! Deletes and rotates KMS keys and ends imported material when that is due, and writes down what keys were used for.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::gate::kms::Kms;
use crate::metrics::Metrics;

/// Between two looks, if nothing is known to be due before.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// After a failure, and between two batches.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long the HSM may take to make one new key.
const HSM_TIMEOUT: Duration = Duration::from_secs(10);
/// Lost at most, if the daemon is killed.
const USAGE_INTERVAL: Duration = Duration::from_secs(5);

/// Works until it is dropped; stopping it anywhere leaves nothing half done.
pub async fn run(kms: Arc<Kms>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) {
    loop {
        let pause = match catch_up(&kms, &clock).await {
            Ok(()) => until_next(&kms).await,
            Err(()) => PAUSE_MIN,
        };
        show_expiries(&kms, &metrics).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = kms.due_work_changed() => {}
        }
    }
}

/// Does everything that is due now.
pub async fn catch_up(kms: &Kms, clock: &Arc<dyn Clock>) -> Result<(), ()> {
    loop {
        match kms.do_due_work(|| clock.instant() + HSM_TIMEOUT).await {
            Ok(done) if done.failed > 0 => return Err(()),
            Ok(done) if done.is_cut_short => {}
            Ok(_) => return Ok(()),
            Err(refused) => {
                tracing::error!(reason = %refused, "cannot look for keys that are due");
                return Err(());
            }
        }
    }
}

/// Of so many keys a metric says when their material expires.
const SHOWN_EXPIRIES_MAX: usize = 1000;

/// A key without material that expires has no series.
async fn show_expiries(kms: &Kms, metrics: &Metrics) {
    let Ok(expiries) = kms.expiries(SHOWN_EXPIRIES_MAX).await else { return };
    let gauge = &metrics.kms_key_material_expiration_timestamp_seconds;
    gauge.reset();
    // Of several dates of a key the first counts, and is set last.
    for (id, valid_to) in expiries.into_iter().rev() {
        gauge.with_label_values(&[id.as_str()]).set(valid_to.0.div_euclid(1000));
    }
}

async fn until_next(kms: &Kms) -> Duration {
    let Ok(Some(due)) = kms.next_due().await else { return PAUSE_MAX };
    let wait_ms = u64::try_from(due.0.saturating_sub(kms.now().0)).unwrap_or(0);
    Duration::from_millis(wait_ms).clamp(PAUSE_MIN, PAUSE_MAX)
}

/// Writes usage down every few seconds, until it is dropped.
pub async fn write_usage(kms: Arc<Kms>) {
    loop {
        tokio::time::sleep(USAGE_INTERVAL).await;
        write_usage_now(&kms).await;
    }
}

/// Writes down what is not yet written; what fails is kept for the next time.
pub async fn write_usage_now(kms: &Kms) {
    if let Err(refused) = kms.write_usage().await {
        tracing::warn!(reason = %refused, "cannot write down what keys were used for");
    }
}
