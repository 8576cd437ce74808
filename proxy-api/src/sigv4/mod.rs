//! AWS Signature Version 4: verifying and signing, in the `Authorization` header (XKS v1, Appendix A), and verifying
//! as services of AWS do it, also in the query string.
//!
//! Verifying has three steps, and the types keep their order: [`Authorization::parse`] (of a request to an XKS proxy)
//! or [`Authorization::of`] (of one to a service of AWS) says who claims to have signed, [`Authorization::check`] does everything that needs no key, and [`Claim::verify`] the rest. Nothing here
//! knows a secret access key for longer than it takes to derive a [`SigningKey`], and the signature that would have
//! been right is never written down. A request to an XKS proxy has no query string, on purpose.

mod authorization;
mod canonical;
mod hex;
mod key;
mod query;
mod refusal;
mod sign;
mod timestamp;
mod verify;

pub use authorization::{Authorization, Scope};
pub use canonical::Request;
pub use hex::encode_hex;
pub use key::SigningKey;
pub use refusal::Refusal;
pub use sign::{Credential, sign};
pub use timestamp::Timestamp;
pub use verify::Claim;

/// The service name in the scope of requests to an XKS proxy.
pub const SERVICE_XKS: &str = "kms-xks-proxy";
/// How far the time of a request may be from ours, either way (XKS v1, Appendix A, Task 4).
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 300;
/// The header with the time of the request.
pub const X_AMZ_DATE: &str = "x-amz-date";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SCOPE_END: &str = "aws4_request";
const HOST: &str = "host";
const SIGNATURE_BYTES: usize = 32;
