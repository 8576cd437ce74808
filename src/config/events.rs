//! `[kms.events]`: where lifecycle events of keys go, checked.

use std::path::PathBuf;

use http::Uri;

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
    pub url: Uri,
    /// Absent: the certificates of the system.
    pub ca_file: Option<PathBuf>,
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
    let Some(url) = raw.url.parse::<Uri>().ok().filter(is_allowed) else {
        review.refuse(WEBHOOK, "`url` must be an HTTPS URL, or an HTTP URL of a loopback address");
        return None;
    };
    Some(Webhook {
        url,
        ca_file: raw.ca_file.map(|path| review.path(WEBHOOK, "ca_file", &path)),
        secret_file: review.path(WEBHOOK, "secret_file", &raw.secret_file),
    })
}

/// Over TLS, or within this machine.
fn is_allowed(url: &Uri) -> bool {
    let is_loopback = matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    !has_user
        && url.host().is_some_and(|host| !host.is_empty())
        && (url.scheme_str() == Some("https") || (url.scheme_str() == Some("http") && is_loopback))
}
