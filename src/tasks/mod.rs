//! What happens without a request: probes, due deletions and rotations, counts written down, files watched.

pub mod disk_space;
pub mod file_watch;
pub mod invocations;
pub mod kms_due_work;
pub mod kms_events;
pub mod kms_key_stores;
pub mod probes;
