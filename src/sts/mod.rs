//! AWS STS on the port of the KMS API: who am I, and sessions of roles (API version 2011-06-15, Query protocol).

mod assume_role;
mod endpoint;
mod error;
mod get_session_token;
mod parameters;
mod record;
mod second_factor;
mod service;
#[cfg(test)]
mod tests;
mod xml;

pub use endpoint::{Endpoint, EndpointParts};
pub use error::Error;
pub use service::{Served, Service, is_for};
