//! The SigV4 signing keys of one credential, kept once a signature verified with them.

use std::sync::Arc;

use parking_lot::RwLock;
use proxy_api::sigv4::{Refusal, Scope, SigningKey};

use crate::secret::SecretBytes;

/// Signing keys kept for one credential: a day and its neighbour, for the Regions and services that are called.
const SIGNING_KEYS_MAX: usize = 64;

/// Deriving a signing key costs more than verifying with it.
#[derive(Default)]
pub(super) struct SigningKeys {
    derived: RwLock<Vec<(OwnedScope, Arc<SigningKey>)>>,
}

struct OwnedScope {
    date: String,
    region: String,
    service: String,
}

impl SigningKeys {
    /// Verifies with the signing key of the scope. It is kept only after a signature verified, so that nobody
    /// without the secret can fill the cache.
    pub(super) fn verify(
        &self,
        secret_access_key: &SecretBytes,
        scope: Scope<'_>,
        verify: impl Fn(&SigningKey) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if let Some(key) = self.cached(scope) {
            return verify(&key);
        }
        let key = SigningKey::derive(secret_access_key.expose(), &scope);
        verify(&key)?;
        let mut derived = self.derived.write();
        if !derived.iter().any(|(known, _)| known.is(scope)) {
            if derived.len() >= SIGNING_KEYS_MAX {
                derived.remove(0);
            }
            derived.push((OwnedScope::new(scope), Arc::new(key)));
        }
        Ok(())
    }

    fn cached(&self, scope: Scope<'_>) -> Option<Arc<SigningKey>> {
        let derived = self.derived.read();
        // The newest day is at the end.
        derived.iter().rev().find(|(known, _)| known.is(scope)).map(|(_, key)| Arc::clone(key))
    }
}

impl OwnedScope {
    fn new(scope: Scope<'_>) -> Self {
        let Scope { date, region, service } = scope;
        Self { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() }
    }

    fn is(&self, scope: Scope<'_>) -> bool {
        self.date == scope.date && self.region == scope.region && self.service == scope.service
    }
}
