//! Runs the real daemon over real TLS sockets against a real SoftHSM token: a module a capability.
#![expect(unreachable_pub, reason = "nothing outside could reach into a test binary")]

mod support;

mod binding;
mod bodies;
mod conformance;
mod integrity_value;
mod provisioning;
mod sigv4;
mod xks_api;
