//! The KMS front end: the AWS KMS API over keys that live in an HSM.

mod accounting;
mod algorithm;
mod alias;
mod audit;
mod authentication;
mod blob;
pub mod default_conditions;
mod encryption_algorithm;
mod endpoint;
mod error;
mod grant;
mod key_policy;
mod key_store_error;
mod model;
mod operation;
mod operations;
mod page;
pub mod permissions;
mod quota;
mod request_id;
mod response;
mod server;
mod tags;

pub use audit::request_parameters;
pub use endpoint::Endpoint;
pub use error::Error;
pub use model::{Document, EndpointPorts, Model};
pub use operation::OperationName;
pub use quota::{QuotaClass, RequestQuotas};
pub use server::{Server, ServerParts};
