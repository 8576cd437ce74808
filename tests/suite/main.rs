//! Runs the real daemon over real TLS sockets against a real SoftHSM token: a module a capability.

mod support;

mod conformance;
mod provisioning;
