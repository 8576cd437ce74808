//! Runs the real daemon over real TLS sockets against a real SoftHSM token: a module a capability.
#![expect(
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "a test binary has no outside, and its clocks are real"
)]

mod support;

mod commands;
mod conformance;
mod probes;
mod provisioning;
mod quickstart;
