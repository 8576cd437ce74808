//! Lifecycle events of keys on their way to others: a file or a webhook.

mod envelope;
mod file;
mod webhook;

use std::path::PathBuf;

use crate::config;
use crate::domain::kms::LifecycleEvent;
use crate::events::webhook::Webhook;

/// Where events go.
pub enum Receiver {
    /// A line of JSON each.
    File(PathBuf),
    /// A POST request each.
    Webhook(Webhook),
}

impl Receiver {
    /// Fails if an event could not be told now for a reason that is in the configuration.
    pub fn open(settings: &config::Events) -> Result<Self, String> {
        match settings {
            config::Events::File(path) => Ok(Self::File(path.clone())),
            config::Events::Webhook(webhook) => {
                let webhook = Webhook::new(webhook.clone());
                webhook.check().map_err(|reason| format!("kms.events.webhook: {reason}"))?;
                Ok(Self::Webhook(webhook))
            }
        }
    }

    /// Tells of an event. When it returns well, the receiver has it for good.
    pub async fn tell(&self, event: &LifecycleEvent) -> Result<(), String> {
        let body = envelope::of(event)?;
        match self {
            Self::File(path) => {
                let path = path.clone();
                let appended = tokio::task::spawn_blocking(move || file::append(&path, &body)).await;
                let appended = appended.map_err(|_| "the daemon is stopping".to_owned())?;
                appended.map_err(|error| error.to_string())
            }
            Self::Webhook(webhook) => webhook.post(body).await,
        }
    }
}
