//! The KMS front end: the AWS KMS API over keys that live in an HSM.

mod accounting;
mod authentication;
mod endpoint;
mod error;
mod model;
mod operation;
mod operations;
mod quota;
mod response;
mod server;

pub use endpoint::Endpoint;
pub use error::Error;
pub use model::{Document, Model};
pub use operation::OperationName;
pub use quota::{QuotaClass, RequestQuotas};
pub use server::{Server, ServerParts};
