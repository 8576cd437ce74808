//! Who somebody says to be whose signature does not verify.

use proxy_api::sigv4::{Authorization, Request};

use crate::domain::kms::Region;

/// Longer than any access key id there is.
const ID_BYTES_MAX: usize = 128;

/// What a signature names; nobody knows whether it is true.
pub struct Claim {
    pub access_key_id: Option<String>,
    pub region: Option<Region>,
}

impl Claim {
    pub fn of(signed: &Request<'_>) -> Self {
        let claimed = Authorization::of(signed).ok();
        let is_legible =
            |id: &str| id.len() <= ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let access_key_id = claimed.as_ref().map(|claimed| claimed.access_key_id).filter(|id| is_legible(id));
        let region = claimed.as_ref().and_then(|claimed| Region::parse(claimed.scope.region));
        Self { access_key_id: access_key_id.map(str::to_owned), region }
    }
}
