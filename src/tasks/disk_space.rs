//! Looks how much is left on the disk of the state folder, and shows it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::statvfs;

use crate::metrics::Metrics;

const INTERVAL: Duration = Duration::from_secs(5);

/// Looks until it is dropped. A disk that hangs is asked once, and the gauge stands still.
pub async fn watch(state_dir: PathBuf, metrics: Arc<Metrics>) {
    let state_dir = Arc::new(state_dir);
    loop {
        let folder = Arc::clone(&state_dir);
        let facts = tokio::task::spawn_blocking(move || statvfs(&*folder)).await;
        if let Ok(Ok(facts)) = facts {
            let free = facts.f_bavail.saturating_mul(facts.f_frsize);
            metrics.alarms.state_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
