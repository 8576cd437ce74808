//! Runs the real daemon over real TLS sockets against a real SoftHSM token: a module a capability.
#![expect(unreachable_pub, reason = "nothing outside could reach into a test binary")]

mod support;

mod binding;
mod bodies;
mod command_line;
mod commands;
mod conformance;
mod conformance_client;
mod deadlines;
mod hsm_faults;
mod hsm_health;
mod integrity_value;
mod invocations;
mod kill_switch;
mod kms_crash;
mod kms_deletion;
mod kms_identities;
mod kms_key_states;
mod kms_protocol;
mod kms_quotas;
mod kms_time;
mod many_keys;
mod misconfigured_hsm;
mod observability;
mod pin;
mod probes;
mod provisioning;
mod quickstart;
mod quota;
mod reload;
mod robustness;
mod secondary_authorization;
mod shutdown;
mod sigv4;
mod store_conformance;
mod store_sqlite;
mod tls;
mod token_loss;
mod versions;
mod wrapped_key_faults;
mod wrapped_keys;
mod xks_api;
