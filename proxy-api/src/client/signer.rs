//! Signs outgoing requests with one credential.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::Outgoing;
use crate::sigv4::{self, Credential, SERVICE_XKS, Scope, SigningKey, Timestamp, X_AMZ_DATE};

/// What curl and AWS KMS sign at least.
const SIGNED_HEADERS: &str = "content-type;host;x-amz-date";

/// One SigV4 credential for requests from one Region. Keeps the signing key of the day.
pub struct Signer {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    region: String,
    key: Mutex<Option<DayKey>>,
}

struct DayKey {
    day: String,
    key: Arc<SigningKey>,
}

/// The request cannot be put into HTTP or signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRequest;

impl Signer {
    /// `region` is the one that the scope of the signatures names.
    #[must_use]
    pub fn new(access_key_id: &str, secret_access_key: &str, region: &str) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Zeroizing::new(secret_access_key.to_owned()),
            region: region.to_owned(),
            key: Mutex::new(None),
        }
    }

    /// Adds `x-amz-date` and `Authorization`. `Content-Type` and `Host` must be there already.
    pub fn sign(&self, outgoing: &mut Outgoing, now_unix_seconds: u64) -> Result<(), InvalidRequest> {
        let now = i64::try_from(now_unix_seconds).map_err(|_| InvalidRequest)?;
        let signed_at = Timestamp::from_unix_seconds(now).ok_or(InvalidRequest)?;
        let date = HeaderValue::from_str(signed_at.as_str()).map_err(|_| InvalidRequest)?;
        outgoing.headers.insert(X_AMZ_DATE, date);
        let scope = Scope { date: signed_at.date(), region: &self.region, service: SERVICE_XKS };
        let credential =
            Credential { access_key_id: &self.access_key_id, scope, signed_headers: SIGNED_HEADERS };
        let authorization =
            sigv4::sign(&outgoing.signable(), &credential, signed_at.as_str(), &self.key(&scope))
                .map_err(|_| InvalidRequest)?;
        let authorization = HeaderValue::from_str(&authorization).map_err(|_| InvalidRequest)?;
        outgoing.headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }

    fn key(&self, scope: &Scope<'_>) -> Arc<SigningKey> {
        let mut kept = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.day == scope.date) {
            return Arc::clone(&kept.key);
        }
        let key = Arc::new(SigningKey::derive(self.secret_access_key.as_bytes(), scope));
        *kept = Some(DayKey { day: scope.date.to_owned(), key: Arc::clone(&key) });
        key
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.access_key_id)
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request cannot be expressed in HTTP")
    }
}

impl std::error::Error for InvalidRequest {}
