//! Every identity there is, in memory: finds who signed a request and proves it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use proxy_api::sigv4::{Authorization, Refusal, Request, SigningKey};

use crate::domain::kms::{AccountId, Region};
use crate::identity::kms::caller::{Caller, Principal};
use crate::policy::PolicyDocument;
use crate::secret::SecretBytes;

/// Users, roles and access keys.
#[derive(Default)]
pub struct Directory {
    keys: ArcSwap<HashMap<String, Arc<AccessKey>>>,
}

struct AccessKey {
    secret: SecretBytes,
    account: AccountId,
    arn: Arc<str>,
    policies: Vec<Arc<PolicyDocument>>,
}

/// Why a caller is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// `UnrecognizedClientException`.
    AccessKeyUnknown,
    /// `ExpiredTokenException`.
    TokenExpired,
    /// The signature, or something about how it was made.
    Signature(Refusal),
    /// The Region of the scope is none, or not served.
    RegionUnknown,
}

impl Directory {
    /// Adds the access key of an administrator.
    pub fn add_administrator(&self, account: &AccountId, access_key_id: String, secret: SecretBytes) {
        let everything =
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        let key = Arc::new(AccessKey {
            secret,
            account: account.clone(),
            arn: Arc::from(format!("arn:aws:iam::{account}:user/admin")),
            policies: PolicyDocument::parse(everything).map(Arc::new).into_iter().collect(),
        });
        let mut keys = HashMap::clone(&self.keys.load());
        keys.insert(access_key_id, key);
        self.keys.store(Arc::new(keys));
    }

    /// Who signed `request` for this service (`kms` or `sts`).
    pub fn authenticate(
        &self,
        request: &Request<'_>,
        service: &str,
        now_unix_seconds: u64,
    ) -> Result<Caller, Unauthenticated> {
        let authorization = Authorization::parse(request.headers).map_err(Unauthenticated::Signature)?;
        let keys = self.keys.load();
        let key = keys.get(authorization.access_key_id).ok_or(Unauthenticated::AccessKeyUnknown)?;
        let region = Region::parse(authorization.scope.region).ok_or(Unauthenticated::RegionUnknown)?;
        let access_key_id = authorization.access_key_id.to_owned();
        let signing_key = SigningKey::derive(key.secret.expose(), &authorization.scope);
        let claim =
            authorization.check(request, service, now_unix_seconds).map_err(Unauthenticated::Signature)?;
        claim.verify(&signing_key).map_err(Unauthenticated::Signature)?;
        Ok(Caller {
            account: key.account.clone(),
            region,
            access_key_id,
            principal: Principal::User { name: "admin".to_owned() },
            arn: Arc::clone(&key.arn),
            policies: key.policies.clone(),
            tags: Vec::new(),
        })
    }
}
