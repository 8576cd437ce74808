//! What happens without a request: probes, counts written down, files watched.

pub mod file_watch;
pub mod invocations;
pub mod probes;
