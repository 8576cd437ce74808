//! The KMS front end: the AWS KMS API over keys that live in an HSM.

mod alias;
mod blob;
mod data_key;
mod encryption_algorithm;
mod error;
mod grant;
mod key_policy;
mod operation;
mod operations;
mod page;
mod tags;

pub use error::Error;
pub use operation::OperationName;
