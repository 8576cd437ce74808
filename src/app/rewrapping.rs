//! What is under a former root key comes under the current one, one after the other, while requests go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::kms::KmsFace;
use crate::domain::kms::{KeyId, Scope};
use crate::gate::kms::Refused;
use crate::key_manager::backing_key::RootKeys;
use crate::store::StoreError;

/// How long an HSM may take for one of them.
const HSM_TIMEOUT: Duration = Duration::from_secs(10);
/// After each, so many times as long as it took nothing is done: requests have the rest of the time.
const IDLE_SHARE: u32 = 3;
const IDLE_MAX: Duration = Duration::from_secs(1);
/// After a pass that could not do everything.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// As long as there is nothing to do, in which a rotation wakes us.
const LOOK_INTERVAL: Duration = Duration::from_secs(300);

/// How it goes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Why the last pass could not do everything.
    pub(super) failure: Option<String>,
    is_told: bool,
}

/// Works until it is dropped. Where it is, the store says: whatever names the former root key is still to be done.
pub(super) async fn run(face: Arc<KmsFace>) {
    loop {
        let pause = if face.obstacles().is_empty() { face.rewrap().await } else { RETRY_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = face.root_keys.wake.notified() => {}
        }
    }
}

impl KmsFace {
    async fn rewrap(&self) -> Duration {
        let result = self.try_rewrap().await;
        let mut progress = self.root_keys.progress.lock();
        match result {
            Ok(pause) => {
                progress.failure = None;
                pause
            }
            Err(reason) => {
                if progress.failure.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "not everything is under the current root key yet: {reason}");
                }
                progress.failure = Some(reason);
                RETRY_INTERVAL
            }
        }
    }

    /// How long there will be nothing to do.
    async fn try_rewrap(&self) -> Result<Duration, String> {
        let Some(keys) = self.store.root_keys().await.map_err(text)? else { return Ok(RETRY_INTERVAL) };
        let remaining = self.show_uses(keys).await?;
        let Some(former) = keys.former else {
            self.root_keys.progress.lock().is_told = false;
            return Ok(LOOK_INTERVAL);
        };
        if remaining == 0 {
            let is_told = std::mem::replace(&mut self.root_keys.progress.lock().is_told, true);
            if !is_told {
                let current = keys.current;
                tracing::info!(root_key = %current, "everything is under root key {current}; {former} can be retired");
            }
            return Ok(LOOK_INTERVAL);
        }
        tracing::info!(remaining, from = %former, to = %keys.current, "{remaining} are under root key {former} still");
        self.registry.reseal(keys.current).await.map_err(text)?;
        let stores = self.kms.reseal_key_stores(keys.current, || self.rewrap_deadline()).await;
        let failure = self.rewrap_keys(keys).await?;
        stores.map_err(|refused| format!("the secret of a custom key store: {refused:?}"))?;
        match failure {
            Some(reason) => Err(reason),
            // Those that were changed meanwhile are looked at once more.
            None => Ok(Duration::ZERO),
        }
    }

    /// Every key once; why one could not be done.
    async fn rewrap_keys(&self, keys: RootKeys) -> Result<Option<String>, String> {
        let (mut after, mut failure) = (0, None);
        loop {
            let page = self.kms.keys_to_rewrap(after).await.map_err(|refused| format!("{refused:?}"))?;
            for (scope, id) in &page.keys {
                if let Err(reason) = self.rewrap_one((scope, id), keys).await {
                    failure = Some(reason);
                }
            }
            if !page.keys.is_empty() {
                self.show_uses(keys).await?;
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(failure),
            }
        }
    }

    async fn rewrap_one(&self, name: (&Scope, &KeyId), keys: RootKeys) -> Result<(), String> {
        let began = self.clock.instant();
        let result = self.kms.rewrap_key(name, keys.current, self.rewrap_deadline()).await;
        let took = self.clock.instant().saturating_duration_since(began);
        tokio::time::sleep(took.saturating_mul(IDLE_SHARE).min(IDLE_MAX)).await;
        match result {
            // Somebody else changed it, or deleted it: the next pass will see.
            Ok(_) | Err(Refused::Conflict | Refused::Store(StoreError::Missing)) => Ok(()),
            Err(refused) => Err(format!("key {} cannot be wrapped again: {refused:?}", name.1)),
        }
    }

    fn rewrap_deadline(&self) -> Instant {
        self.clock.instant() + HSM_TIMEOUT
    }

    /// How much is not under the current root key.
    async fn show_uses(&self, keys: RootKeys) -> Result<u64, String> {
        let uses = self.store.root_key_uses().await.map_err(text)?;
        let gauge = &self.metrics.kms_root_key_uses;
        let shown = |count| i64::try_from(count).unwrap_or(i64::MAX);
        gauge.with_label_values(&["current"]).set(shown(uses.current));
        gauge.with_label_values(&["former"]).set(shown(if keys.former.is_some() { uses.others } else { 0 }));
        Ok(uses.others)
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
