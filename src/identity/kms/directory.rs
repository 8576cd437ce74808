//! Every identity there is, in memory: finds who signed a request and proves it.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use proxy_api::sigv4::{Authorization, Refusal, Request};

use crate::domain::kms::{AccountId, Region};
use crate::identity::kms::caller::Caller;
use crate::identity::kms::declared::Declared;
use crate::identity::kms::mfa::{MfaGuard, MfaRefused};
use crate::identity::kms::record::Records;
use crate::identity::kms::service::{self, ServiceRefused, ServiceRequest};
use crate::identity::kms::session_token::SessionKey;
use crate::identity::kms::sessions::{
    NewSession, NewUserSession, SESSION_PREFIX, SessionCredentials, SessionError, Sessions,
};
use crate::identity::kms::table::{Fault, Owner, Role, Table};

/// Users, roles and access keys: declared in a file, or stored.
#[derive(Default)]
pub struct Directory {
    origins: Mutex<Origins>,
    table: ArcSwap<Table>,
    sessions: Sessions,
    mfa: MfaGuard,
}

#[derive(Default)]
struct Origins {
    declared: Arc<Records>,
    stored: Arc<Records>,
}

/// Why a caller is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// `UnrecognizedClientException`; STS calls it `InvalidClientTokenId`.
    AccessKeyUnknown,
    /// `ExpiredTokenException`.
    TokenExpired,
    /// The signature, or something about how it was made.
    Signature(Refusal),
    /// The Region of the scope is none, or not served.
    RegionUnknown,
    /// The caller is a service, or says that it calls for somebody; and why it cannot.
    Service(ServiceRefused),
}

/// Why a second factor is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MfaError {
    Code(MfaRefused),
    /// The caller has no such device.
    DeviceUnknown,
}

/// What a request says about who signed it.
struct Presented<'a> {
    authorization: Authorization<'a>,
    /// In a header, or in the query string beside the signature.
    session_token: Option<Cow<'a, str>>,
}

impl<'a> Presented<'a> {
    fn of(request: &Request<'a>) -> Result<Self, Unauthenticated> {
        let authorization = Authorization::of(request).map_err(Unauthenticated::Signature)?;
        let session_token = authorization.security_token(request).map_err(Unauthenticated::Signature)?;
        Ok(Self { authorization, session_token })
    }
}

impl Directory {
    /// Whether the head of a request names an access key that there is, before anybody looks at its body: a stranger
    /// shall not make us hold a long one. Nothing is proven by it.
    pub fn recognize(&self, head: &Request<'_>, now_unix_seconds: u64) -> Result<(), Unauthenticated> {
        let Presented { authorization, session_token } = Presented::of(head)?;
        let (access_key_id, table) = (authorization.access_key_id, self.table.load());
        match session_token.as_deref() {
            Some(token) if access_key_id.starts_with(SESSION_PREFIX) => {
                self.sessions.open(&table, (access_key_id, token), now_unix_seconds).map(drop)
            }
            Some(_) => Err(Unauthenticated::AccessKeyUnknown),
            None => {
                let key = table.access_key(access_key_id).filter(|key| key.active);
                key.map(drop).ok_or(Unauthenticated::AccessKeyUnknown)
            }
        }
    }

    /// Who signed `request` for this service (`kms` or `sts`).
    pub fn authenticate(
        &self,
        request: &Request<'_>,
        service: &str,
        now_unix_seconds: u64,
    ) -> Result<Caller, Unauthenticated> {
        let Presented { authorization, session_token } = Presented::of(request)?;
        let (access_key_id, scope) = (authorization.access_key_id, authorization.scope);
        let table = self.table.load();
        let region = Region::parse(scope.region).ok_or(Unauthenticated::RegionUnknown)?;
        let check = || authorization.check(request, service, now_unix_seconds);
        match session_token.as_deref() {
            Some(token) if access_key_id.starts_with(SESSION_PREFIX) => {
                let opened = self.sessions.open(&table, (access_key_id, token), now_unix_seconds)?;
                let claim = check().map_err(Unauthenticated::Signature)?;
                let verified = opened.signing_keys.verify(&opened.secret, scope, |key| claim.verify(key));
                verified.map_err(Unauthenticated::Signature)?;
                service::check_no_service(request.headers).map_err(Unauthenticated::Service)?;
                self.sessions.keep(&opened, now_unix_seconds);
                Ok(opened.identity.calls(region))
            }
            // A long-term key has no token.
            Some(_) => Err(Unauthenticated::AccessKeyUnknown),
            None => {
                let key = table.access_key(access_key_id).filter(|key| key.active);
                let key = key.ok_or(Unauthenticated::AccessKeyUnknown)?;
                let claim = check().map_err(Unauthenticated::Signature)?;
                let verified = key.signing_keys.verify(&key.secret, scope, |key| claim.verify(key));
                verified.map_err(Unauthenticated::Signature)?;
                match &key.owner {
                    Owner::Identity(identity) => {
                        service::check_no_service(request.headers).map_err(Unauthenticated::Service)?;
                        Ok(identity.calls(region))
                    }
                    Owner::Service(service) => {
                        let head = ServiceRequest {
                            headers: request.headers,
                            signed_headers: authorization.signed_headers(),
                            access_key_id,
                            region,
                            now_unix_seconds,
                        };
                        service.calls(&table, head).map_err(Unauthenticated::Service)
                    }
                }
            }
        }
    }

    /// Puts what a file declares in force, in place of what one declared before.
    pub fn declare(&self, declared: Declared) -> Result<(), String> {
        let mut origins = self.origins.lock();
        let records = Arc::new(declared.records);
        let table = Table::build(&records, &origins.stored).map_err(explain)?;
        origins.declared = records;
        self.table.store(Arc::new(table));
        Ok(())
    }

    /// Puts what is stored in force, in place of what was stored before.
    pub(super) fn keep(&self, stored: Arc<Records>) -> Result<(), String> {
        let mut origins = self.origins.lock();
        let table = Table::build(&origins.declared, &stored).map_err(explain)?;
        origins.stored = stored;
        self.table.store(Arc::new(table));
        Ok(())
    }

    pub(super) fn declared(&self) -> Arc<Records> {
        Arc::clone(&self.origins.lock().declared)
    }

    pub(super) fn stored(&self) -> Arc<Records> {
        Arc::clone(&self.origins.lock().stored)
    }

    /// From now on sessions can be made and their tokens opened.
    pub fn set_session_key(&self, key: SessionKey) {
        self.sessions.set_key(key);
    }

    /// The role with exactly this ARN.
    pub fn role(&self, arn: &str) -> Option<Arc<Role>> {
        let (account, path) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
        let name = path.rsplit('/').next()?;
        let table = self.table.load();
        let role = table.role(&AccountId::parse(account)?, name)?;
        (*role.arn == *arn).then(|| Arc::clone(role))
    }

    /// The root user, user, role or role session with this ARN, as it would call without having signed anything. A role
    /// is given a session of this name.
    pub fn caller(
        &self,
        arn: &str,
        region: Region,
        (session_name, now_unix_seconds): (&str, u64),
    ) -> Option<Caller> {
        let identity = service::named(&self.table.load(), arn, (session_name, now_unix_seconds))?;
        Some(identity.calls(region))
    }

    /// Takes a code of the device that this caller has under this ARN, once. Only users have one, and only their
    /// long-term keys come without.
    pub fn take_mfa_code(
        &self,
        caller: &Caller,
        (serial, code): (&str, &str),
        now_unix_seconds: u64,
    ) -> Result<(), MfaError> {
        let user_name = caller.user_name().filter(|_| caller.temporary.is_none() && caller.via.is_none());
        let table = self.table.load();
        let user = user_name.and_then(|name| table.user(&caller.account, name));
        let device =
            user.and_then(|user| user.mfa_device.as_ref()).filter(|device| *device.serial == *serial);
        let device = device.ok_or(MfaError::DeviceUnknown)?;
        self.mfa.take(device, code, now_unix_seconds).map_err(MfaError::Code)
    }

    /// Makes a session of a user; it needs no permission.
    pub fn make_user_session(&self, new: &NewUserSession<'_>) -> Result<SessionCredentials, SessionError> {
        self.sessions.make_for_user(new)
    }

    /// Makes a session; who may have it is decided before.
    pub fn make_session(&self, new: NewSession<'_>) -> Result<SessionCredentials, SessionError> {
        self.sessions.make(new)
    }
}

fn explain((place, error): Fault) -> String {
    format!("{place}: {error}")
}
