//! Runs the real daemon over real TLS sockets against a real SoftHSM token: a module a capability.
#![expect(unreachable_pub, reason = "nothing outside could reach into a test binary")]

mod support;

mod binding;
mod bodies;
mod commands;
mod conformance;
mod deadlines;
mod hsm_faults;
mod hsm_health;
mod integrity_value;
mod invocations;
mod kill_switch;
mod many_keys;
mod misconfigured_hsm;
mod pin;
mod probes;
mod provisioning;
mod quickstart;
mod quota;
mod reload;
mod secondary_authorization;
mod sigv4;
mod token_loss;
mod versions;
mod xks_api;
