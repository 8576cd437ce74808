//! `[traces]`: where the spans of requests go, checked.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::destination::{self, Destination};
use crate::config::review::Review;

const TABLE: &str = "traces";
const SERVICE_NAME_CHARS_MAX: usize = 255;

/// `[traces]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// Of an OpenTelemetry collector that takes OTLP over HTTP.
    pub destination: Destination,
    /// Headers of every request to it, `Name: value` a line, with what it may be told by.
    pub headers_file: Option<PathBuf>,
    /// Of the traces that begin here, 0 to 1; whoever begins a trace elsewhere decides for it.
    pub sampled_share: f64,
    /// `service.name` of every span.
    pub service_name: String,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    endpoint: String,
    ca_file: Option<PathBuf>,
    headers_file: Option<PathBuf>,
    #[serde(default = "default_sampled_share")]
    sampled_share: f64,
    #[serde(default = "default_service_name")]
    service_name: String,
}

fn default_sampled_share() -> f64 {
    1.0
}

fn default_service_name() -> String {
    "holdfast".to_owned()
}

pub(super) fn traces(review: &mut Review<'_>, raw: Raw) -> Option<Traces> {
    let reason = "`sampled_share` must be 0 to 1";
    review.require((0.0..=1.0).contains(&raw.sampled_share), TABLE, reason);
    let length = raw.service_name.chars().count();
    let reason = format_args!("`service_name` must have 1 to {SERVICE_NAME_CHARS_MAX} characters");
    review.require((1..=SERVICE_NAME_CHARS_MAX).contains(&length), TABLE, reason);
    let headers_file = raw.headers_file.map(|path| review.path(TABLE, "headers_file", &path));
    let endpoint = ("endpoint", raw.endpoint.as_str());
    let destination = destination::destination(review, TABLE, endpoint, raw.ca_file.as_deref())?;
    Some(Traces {
        destination,
        headers_file,
        sampled_share: raw.sampled_share,
        service_name: raw.service_name,
    })
}
