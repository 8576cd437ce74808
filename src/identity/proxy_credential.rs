//! Who signed a request: the credentials of a key store, and their SigV4 signing keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use proxy_api::sigv4::{Authorization, Refusal, Request, SERVICE_XKS, Scope, SigningKey};

use crate::config;
use crate::secret::SecretBytes;

/// Signing keys kept for one credential: a day and its neighbour, for the Regions that call.
const SIGNING_KEYS_MAX: usize = 64;

/// The credentials of one key store. Several are valid at once, so that they can be exchanged without a pause
/// (XKS v1, SigV4 credentials rotation).
pub struct Credentials {
    by_access_key_id: HashMap<String, Credential>,
    /// `*` or names of Regions.
    regions: Vec<String>,
}

struct Credential {
    secret_access_key: SecretBytes,
    signing_keys: RwLock<Vec<(OwnedScope, Arc<SigningKey>)>>,
}

#[derive(PartialEq, Eq)]
struct OwnedScope {
    date: String,
    region: String,
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
                    signing_keys: RwLock::default(),
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
        credential.verify(scope, |key| claim.verify(key)).map_err(Untrusted::Signature)?;
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

impl Credential {
    /// Verifies with the signing key of the scope. It is kept only after a signature verified, so that nobody
    /// without the secret can fill the cache.
    fn verify(
        &self,
        scope: Scope<'_>,
        verify: impl Fn(&SigningKey) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if let Some(key) = self.cached(scope) {
            return verify(&key);
        }
        let key = SigningKey::derive(self.secret_access_key.expose(), &scope);
        verify(&key)?;
        let owned = OwnedScope { date: scope.date.to_owned(), region: scope.region.to_owned() };
        let mut cache = self.signing_keys.write();
        if !cache.iter().any(|(known, _)| *known == owned) {
            if cache.len() >= SIGNING_KEYS_MAX {
                cache.remove(0);
            }
            cache.push((owned, Arc::new(key)));
        }
        Ok(())
    }

    fn cached(&self, scope: Scope<'_>) -> Option<Arc<SigningKey>> {
        let cache = self.signing_keys.read();
        // The newest day is at the end.
        let known =
            cache.iter().rev().find(|(known, _)| known.date == scope.date && known.region == scope.region);
        known.map(|(_, key)| Arc::clone(key))
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
    /// A word to search for in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::RegionNotAllowed => "region_not_allowed",
            Self::Signature(refusal) => refusal.name(),
            Self::UnknownAccessKeyId => "unknown_access_key_id",
        }
    }
}
