//! Keys in PKCS#11 tokens: worker threads that own sessions, behind an async seam.

mod alarm;
mod at_once;
mod backing_task;
mod cluster;
mod cluster_keys;
mod failover;
mod fault;
mod ffi;
mod gcm;
mod group;
mod health;
mod hsm;
mod inventory;
mod key_admin;
mod key_cache;
mod module;
mod new_key;
mod orders;
mod root_key;
mod searches;
mod signing_key;
mod thread_session;
mod token;
mod vault;
mod watcher;
mod worker;
mod wrapped_key_group;
mod wrapping;

pub use cluster::{ClusterParts, HsmCluster, HsmClusters};
pub use group::HsmGroup;
pub use hsm::{Hsm, HsmParts};
pub use inventory::Inventory;
pub use key_admin::{KeyAdmin, KeyAdminError};
pub use module::Module;
pub use new_key::NewKey;
pub use wrapped_key_group::WrappedKeyGroup;
