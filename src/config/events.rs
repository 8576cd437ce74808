//! `[kms.events]`: where lifecycle events of keys go, checked.

use std::path::PathBuf;

use crate::config::destination::{self, Destination};
use crate::config::review::Review;
use crate::config::schema;

const TABLE: &str = "kms.events";
const WEBHOOK: &str = "kms.events.webhook";

/// `[kms.events]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    File(PathBuf),
    Webhook(Webhook),
}

/// `[kms.events.webhook]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub destination: Destination,
    /// What requests are signed with.
    pub secret_file: PathBuf,
}

pub(super) fn events(review: &mut Review<'_>, raw: schema::Events) -> Option<Events> {
    match (raw.file, raw.webhook) {
        (Some(file), None) => Some(Events::File(review.path(TABLE, "file", &file))),
        (None, Some(raw)) => webhook(review, raw).map(Events::Webhook),
        (Some(_), Some(_)) | (None, None) => {
            review.refuse(TABLE, "needs either `file` or `webhook`");
            None
        }
    }
}

fn webhook(review: &mut Review<'_>, raw: schema::Webhook) -> Option<Webhook> {
    let url = ("url", raw.url.as_str());
    let destination = destination::destination(review, WEBHOOK, url, raw.ca_file.as_deref())?;
    Some(Webhook { destination, secret_file: review.path(WEBHOOK, "secret_file", &raw.secret_file) })
}
