//! Tests of listeners over real sockets, real TLS and, for time-outs, pipes under a clock that stands still.

mod client_auth;
mod lifecycle;
mod requests;
mod support;
mod time_outs;
mod tls;
mod tls_client;
