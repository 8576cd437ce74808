//! Who signed a request: the credentials of a key store.

use std::collections::HashMap;
use std::fmt;

use proxy_api::sigv4::{Authorization, Refusal, Request, SERVICE_XKS};

use crate::config;
use crate::identity::signing_keys::SigningKeys;
use crate::secret::SecretBytes;

/// The credentials of one key store. Several are valid at once, so that they can be exchanged without a pause
/// (XKS v1, SigV4 credentials rotation).
pub struct Credentials {
    by_access_key_id: HashMap<String, Credential>,
    /// `*` or names of Regions.
    regions: Vec<String>,
}

struct Credential {
    secret_access_key: SecretBytes,
    signing_keys: SigningKeys,
}

/// A caller whose signature verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub access_key_id: String,
    /// The Region of the signature: where AWS KMS called from.
    pub region: String,
    /// `X-Amz-Date` minus our clock.
    pub clock_skew_seconds: i64,
}

/// Why a caller is not believed. For logs: outside, all of it is AuthenticationFailedException.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    RegionNotAllowed,
    Signature(Refusal),
    UnknownAccessKeyId,
}

impl Credentials {
    pub fn new(credentials: &[config::Credential], regions: &[String]) -> Self {
        let by_access_key_id = credentials
            .iter()
            .map(|credential| {
                let entry = Credential {
                    secret_access_key: credential.secret_access_key.clone(),
                    signing_keys: SigningKeys::default(),
                };
                (credential.access_key_id.clone(), entry)
            })
            .collect();
        Self { by_access_key_id, regions: regions.to_vec() }
    }

    /// Verifies the signature of `request` against the credential it names.
    pub fn authenticate(&self, request: &Request<'_>, now_unix_seconds: u64) -> Result<Caller, Untrusted> {
        let authorization = Authorization::parse(request.headers).map_err(Untrusted::Signature)?;
        let Authorization { access_key_id, scope, .. } = authorization;
        let credential = self.by_access_key_id.get(access_key_id).ok_or(Untrusted::UnknownAccessKeyId)?;
        if !self.regions.iter().any(|region| region == "*" || region == scope.region) {
            return Err(Untrusted::RegionNotAllowed);
        }
        let claim =
            authorization.check(request, SERVICE_XKS, now_unix_seconds).map_err(Untrusted::Signature)?;
        let verified =
            credential.signing_keys.verify(&credential.secret_access_key, scope, |key| claim.verify(key));
        verified.map_err(Untrusted::Signature)?;
        let now = i64::try_from(now_unix_seconds).unwrap_or(i64::MAX);
        Ok(Caller {
            access_key_id: access_key_id.to_owned(),
            region: scope.region.to_owned(),
            clock_skew_seconds: claim.signed_at().unix_seconds().saturating_sub(now),
        })
    }

    pub fn access_key_ids(&self) -> impl Iterator<Item = &str> {
        self.by_access_key_id.keys().map(String::as_str)
    }
}

impl fmt::Display for Untrusted {
    /// The name, and of a clock that is wrong, by how much.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Signature(Refusal::ClockSkew { seconds }) => write!(f, ": {seconds} s"),
            Self::RegionNotAllowed | Self::Signature(_) | Self::UnknownAccessKeyId => Ok(()),
        }
    }
}

impl Untrusted {
    /// How far the request is ahead of our clock, if that is why it is refused. It names a credential that there is.
    pub fn clock_skew_seconds(self) -> Option<i64> {
        if let Self::Signature(Refusal::ClockSkew { seconds }) = self { Some(seconds) } else { None }
    }

    /// A word to search for in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::RegionNotAllowed => "region_not_allowed",
            Self::Signature(refusal) => refusal.name(),
            Self::UnknownAccessKeyId => "unknown_access_key_id",
        }
    }
}
