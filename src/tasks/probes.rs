//! Probes every HSM on its schedule, at once when somebody saw a fault, and often while it is down.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Health;
use crate::key_manager::HealthState;
use crate::key_manager::pkcs11::Hsm;

/// While an HSM is down, so that it is back in service soon after it is back.
const DOWN_INTERVAL: Duration = Duration::from_millis(200);
/// While it is slow or some of its sessions hang: what was true of one probe may be over.
const DEGRADED_INTERVAL: Duration = Duration::from_secs(1);
/// Faults come in crowds; one probe answers for all of them.
const ALARM_INTERVAL: Duration = Duration::from_millis(200);
/// Keys that another tool made, changed or deleted are noticed at the latest after this.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// Probes until it is dropped; the first probe was made before the first request was taken.
pub async fn run(hsm: Arc<Hsm>, settings: Health) {
    let mut refresh_due = tokio::time::Instant::now() + REFRESH_INTERVAL;
    loop {
        let interval = match hsm.health().state {
            _ if hsm.is_down() => DOWN_INTERVAL,
            HealthState::Degraded => DEGRADED_INTERVAL,
            HealthState::Active | HealthState::Unavailable => settings.probe_interval,
        };
        let interval = interval.min(settings.probe_interval);
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = hsm.alarmed() => {
                // Requests wait for an HSM that hangs, and for no other.
                if !hsm.is_suspect() {
                    tokio::time::sleep(ALARM_INTERVAL).await;
                }
            }
        }
        if tokio::time::Instant::now() >= refresh_due {
            // A failure raises an alarm of its own.
            let _ = hsm.refresh().await;
            refresh_due = tokio::time::Instant::now() + REFRESH_INTERVAL;
        }
        hsm.probe(settings.probe_timeout).await;
    }
}
