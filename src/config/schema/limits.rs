//! What is bounded, probed and logged: `[limits]`, `[health]` and `[log]` as TOML.

use serde::Deserialize;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Limits {
    pub(in crate::config) request_deadline_ms: u64,
    pub(in crate::config) plaintext_bytes_max: usize,
    pub(in crate::config) aad_bytes_max: usize,
    pub(in crate::config) connections_max: usize,
    pub(in crate::config) tls_handshake_timeout_seconds: u64,
    pub(in crate::config) header_read_timeout_seconds: u64,
    pub(in crate::config) body_read_timeout_seconds: u64,
    pub(in crate::config) idle_timeout_seconds: u64,
    pub(in crate::config) shutdown_timeout_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_deadline_ms: 230,
            plaintext_bytes_max: 8192,
            aad_bytes_max: 16384,
            connections_max: 4096,
            tls_handshake_timeout_seconds: 10,
            header_read_timeout_seconds: 10,
            body_read_timeout_seconds: 10,
            idle_timeout_seconds: 600,
            shutdown_timeout_seconds: 10,
        }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Health {
    pub(in crate::config) probe_interval_seconds: u64,
    pub(in crate::config) probe_timeout_ms: u64,
    pub(in crate::config) fleet_size: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { probe_interval_seconds: 10, probe_timeout_ms: 2000, fleet_size: 1 }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Log {
    pub(in crate::config) filter: String,
    pub(in crate::config) requests: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), requests: true }
    }
}
