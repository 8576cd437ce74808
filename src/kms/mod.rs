//! The KMS front end: the AWS KMS API over keys that live in an HSM.

mod error;
mod operation;
mod operations;

pub use error::Error;
pub use operation::OperationName;
