//! What is under a former root key comes under the current one, one after the other, while requests go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::kms::KmsFace;
use crate::domain::kms::{KeyId, Scope};
use crate::gate::kms::Refused;
use crate::key_manager::backing_key::{RootKeyId, RootKeys};
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
    /// What was said last to be still under the former one.
    told: Option<u64>,
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
            self.root_keys.progress.lock().told = None;
            return Ok(LOOK_INTERVAL);
        };
        self.tell(remaining, (keys.current, former));
        if remaining == 0 {
            return Ok(LOOK_INTERVAL);
        }
        self.check_former_root_key(former).await?;
        let (identities, of_identities) = self.registry.reseal(keys.current).await.map_err(text)?;
        let stores = self.kms.reseal_key_stores(keys.current, || self.rewrap_deadline()).await;
        let (stores, of_stores) = stores.map_err(|refused| format!("the custom key stores: {refused}"))?;
        let (rewrapped, of_keys) = self.rewrap_keys(keys).await?;
        let of_identities = of_identities.map(|error| format!("an identity cannot be sealed again: {error}"));
        let of_stores = of_stores.map(|refused| format!("the secret of a custom key store: {refused}"));
        match of_identities.or(of_stores).or(of_keys) {
            Some(reason) => Err(reason),
            // Those that were changed meanwhile are looked at once more.
            None if identities + stores + rewrapped > 0 => Ok(Duration::ZERO),
            None => Ok(RETRY_INTERVAL),
        }
    }

    /// Says how much is still to be done, if that is news.
    fn tell(&self, remaining: u64, (current, former): (RootKeyId, RootKeyId)) {
        let told = self.root_keys.progress.lock().told.replace(remaining);
        if told == Some(remaining) {
            return;
        }
        if remaining == 0 {
            tracing::info!(root_key = %current, "everything is under root key {current}; {former} can be retired");
        } else {
            tracing::info!(remaining, from = %former, to = %current, "{remaining} are under root key {former} still");
        }
    }

    /// Every key once; how many came under the current root key, and why the first that could not did not.
    async fn rewrap_keys(&self, keys: RootKeys) -> Result<(usize, Option<String>), String> {
        let (mut after, mut rewrapped, mut failure) = (0, 0, None);
        loop {
            let page = self.kms.keys_to_rewrap(after).await.map_err(|refused| refused.to_string())?;
            for (scope, id) in &page.keys {
                match self.rewrap_one((scope, id), keys).await {
                    Ok(is_done) => rewrapped += usize::from(is_done),
                    Err(reason) => failure = failure.or(Some(reason)),
                }
            }
            if !page.keys.is_empty() {
                self.show_uses(keys).await?;
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok((rewrapped, failure)),
            }
        }
    }

    /// False if there was nothing to do.
    async fn rewrap_one(&self, name: (&Scope, &KeyId), keys: RootKeys) -> Result<bool, String> {
        let began = self.clock.instant();
        let result = self.kms.rewrap_key(name, keys.current, self.rewrap_deadline()).await;
        let took = self.clock.instant().saturating_duration_since(began);
        tokio::time::sleep(took.saturating_mul(IDLE_SHARE).min(IDLE_MAX)).await;
        match result {
            Ok(is_done) => Ok(is_done),
            // Somebody else changed it, or deleted it: the next pass will see.
            Err(Refused::Conflict | Refused::Store(StoreError::Missing)) => Ok(false),
            Err(refused) => Err(format!("key {} cannot be wrapped again: {refused}", name.1)),
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
