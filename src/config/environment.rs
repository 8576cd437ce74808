//! The process environment: the only place that reads it.

use std::ffi::OsString;

/// Replaces `[log] filter`.
const LOG_FILTER: &str = "HOLDFAST_LOG";

/// The filter in `HOLDFAST_LOG`; an empty one counts as absent.
pub(super) fn log_filter() -> Option<String> {
    let filter = variable(LOG_FILTER)?;
    // What is not UTF-8 becomes a filter that does not parse, and is refused by name.
    Some(filter.to_string_lossy().into_owned()).filter(|filter| !filter.is_empty())
}

pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
