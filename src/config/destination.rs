//! Where something is sent: a URL, and whom to trust there.

use std::path::{Path, PathBuf};

use http::Uri;

use crate::config::review::Review;

/// A web server that something is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Over TLS, or within this machine.
    pub url: Uri,
    /// Absent: the certificates of the system.
    pub ca_file: Option<PathBuf>,
}

/// `member` is the name of the member that has the URL.
pub(super) fn destination(
    review: &mut Review<'_>,
    table: &str,
    (member, url): (&str, &str),
    ca_file: Option<&Path>,
) -> Option<Destination> {
    let Some(url) = url.parse::<Uri>().ok().filter(is_allowed) else {
        let reason = format_args!("`{member}` must be an HTTPS URL, or an HTTP URL of a loopback address");
        review.refuse(table, reason);
        return None;
    };
    Some(Destination { url, ca_file: ca_file.map(|path| review.path(table, "ca_file", path)) })
}

fn is_allowed(url: &Uri) -> bool {
    let is_loopback = matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    !has_user
        && url.host().is_some_and(|host| !host.is_empty())
        && (url.scheme_str() == Some("https") || (url.scheme_str() == Some("http") && is_loopback))
}
