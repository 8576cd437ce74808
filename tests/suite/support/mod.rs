//! What every story needs: a token, a daemon, and a client that signs.

pub mod at_once;
pub mod changes;
pub mod client;
pub mod cluster_stores;
pub mod clusters;
pub mod enclaves;
pub mod external_key_stores;
pub mod faults;
pub mod importing;
pub mod key_store_scene;
pub mod kinds_of_keys;
pub mod kms;
pub mod kms_callers;
pub mod kms_requests;
pub mod kms_stories;
pub mod kryoptic;
pub mod other_tool;
pub mod pki;
pub mod provisioned;
pub mod receiver;
pub mod records;
pub mod regions;
pub mod requests;
pub mod rogue_proxy;
pub mod second_hsm;
pub mod shimmed_pair;
pub mod site;
pub mod starter;
pub mod tls;
pub mod token_sites;
pub mod tokens;
pub mod tools;
pub mod traffic;
pub mod wrapped;

pub use client::{Reply, metadata};
pub use site::{Setup, Site};
