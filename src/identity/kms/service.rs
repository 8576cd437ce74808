//! Services: they call by themselves, or pass on the call of a user or role.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::domain::kms::{AccountId, Region};
use crate::identity::kms::caller::{Caller, Identity, Principal, ServiceCall, Via};
use crate::identity::kms::organization::Organizations;
use crate::identity::kms::rules;
use crate::identity::kms::sessions::role_session;
use crate::identity::kms::table::Table;

/// The ARN of the user or role whose call a service passes on.
pub(super) const X_ON_BEHALF_OF: HeaderName = HeaderName::from_static("x-holdfast-on-behalf-of");
const X_SOURCE_ARN: HeaderName = HeaderName::from_static("x-amz-source-arn");
const X_SOURCE_ACCOUNT: HeaderName = HeaderName::from_static("x-amz-source-account");
const ARN_CHARS_MAX: usize = 2048;

/// A service that may call.
#[derive(Debug)]
pub(super) struct Service {
    /// The service principal.
    pub(super) name: Arc<str>,
    /// For whose resources, users and roles it calls; never empty.
    pub(super) acts_for: Vec<AccountId>,
}

/// Why a call of a service, or one that names somebody else, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceRefused {
    /// The service does not call for this account.
    AccountNotServed,
    /// A header is there twice, or cannot be read.
    HeaderMalformed,
    /// The header that names the principal is not signed.
    HeaderUnsigned,
    /// Only a service can call for somebody else.
    NotAService,
    /// No such user or role.
    PrincipalUnknown,
}

impl fmt::Display for ServiceRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccountNotServed => "The service does not act for this account.",
            Self::HeaderMalformed => {
                "x-holdfast-on-behalf-of and x-amz-source-arn are each one ARN, x-amz-source-account is one account id."
            }
            Self::HeaderUnsigned => "x-holdfast-on-behalf-of must be a signed header.",
            Self::NotAService => "Only a service can call on behalf of another principal.",
            Self::PrincipalUnknown => {
                "x-holdfast-on-behalf-of names no user, role or role session that the service can act for."
            }
        })
    }
}

/// What the head of a request of a service says.
pub(super) struct ServiceRequest<'a> {
    pub(super) headers: &'a HeaderMap,
    /// Separated by semicolons.
    pub(super) signed_headers: &'a str,
    pub(super) access_key_id: &'a str,
    pub(super) region: Region,
    pub(super) now_unix_seconds: u64,
}

/// Nobody else can call for somebody.
pub(super) fn check_no_service(headers: &HeaderMap) -> Result<(), ServiceRefused> {
    if headers.contains_key(X_ON_BEHALF_OF) { Err(ServiceRefused::NotAService) } else { Ok(()) }
}

impl Service {
    pub(super) fn calls(&self, table: &Table, request: ServiceRequest<'_>) -> Result<Caller, ServiceRefused> {
        match one(request.headers, &X_ON_BEHALF_OF)? {
            Some(principal) => self.calls_for(table, principal, request),
            None => self.calls_itself(table.accounts().organizations(), request),
        }
    }

    /// Every `x-amz-` header is signed; that was checked with the signature.
    fn calls_itself(
        &self,
        organizations: Organizations,
        request: ServiceRequest<'_>,
    ) -> Result<Caller, ServiceRefused> {
        let source_arn = one(request.headers, &X_SOURCE_ARN)?;
        if source_arn.is_some_and(|arn| !arn.starts_with("arn:")) {
            return Err(ServiceRefused::HeaderMalformed);
        }
        let source_account = match one(request.headers, &X_SOURCE_ACCOUNT)? {
            Some(text) => Some(AccountId::parse(text).ok_or(ServiceRefused::HeaderMalformed)?),
            None => None,
        };
        // The account in an ARN may be absent, as in those of buckets.
        let of_arn = source_arn.and_then(|arn| AccountId::parse(arn.split(':').nth(4)?));
        for account in source_account.iter().chain(&of_arn) {
            self.check_account(account)?;
        }
        let first = self.acts_for.first().ok_or(ServiceRefused::AccountNotServed)?;
        let call = ServiceCall {
            name: Arc::clone(&self.name),
            source_arn: source_arn.map(Box::from),
            source_account: source_account.clone(),
        };
        Ok(Caller {
            account: source_account.or(of_arn).unwrap_or_else(|| first.clone()),
            region: request.region,
            access_key_id: Arc::from(request.access_key_id),
            principal: Principal::Service(Arc::new(call)),
            arn: Arc::clone(&self.name),
            user_id: Arc::clone(&self.name),
            policies: Arc::from([]),
            boundary: None,
            account_policies: Arc::from([]),
            tags: Arc::from([]),
            temporary: None,
            via: None,
            organizations,
        })
    }

    fn calls_for(
        &self,
        table: &Table,
        principal: &str,
        request: ServiceRequest<'_>,
    ) -> Result<Caller, ServiceRefused> {
        if !request.signed_headers.split(';').any(|name| X_ON_BEHALF_OF == name) {
            return Err(ServiceRefused::HeaderUnsigned);
        }
        let account = principal.split(':').nth(4).and_then(AccountId::parse);
        self.check_account(&account.ok_or(ServiceRefused::PrincipalUnknown)?)?;
        let mut caller = named(table, principal, (&self.name, request.now_unix_seconds))
            .filter(|identity| !matches!(identity.principal, Principal::Root))
            .map(|identity| identity.calls(request.region))
            .ok_or(ServiceRefused::PrincipalUnknown)?;
        caller.access_key_id = Arc::from(request.access_key_id);
        caller.via = Some(Arc::new(Via { service: Arc::clone(&self.name) }));
        Ok(caller)
    }

    fn check_account(&self, account: &AccountId) -> Result<(), ServiceRefused> {
        self.acts_for.contains(account).then_some(()).ok_or(ServiceRefused::AccountNotServed)
    }
}

/// The user, role or session with this ARN, as it would call now. A role is given a session of this name.
pub(super) fn named(
    table: &Table,
    arn: &str,
    (session_name, now_unix_seconds): (&str, u64),
) -> Option<Identity> {
    let mut parts = arn.splitn(6, ':').skip(2);
    let (service, _, account, resource) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let account = AccountId::parse(account)?;
    let (kind, rest) = resource.split_once('/').unwrap_or((resource, ""));
    let last = rest.rsplit('/').next()?;
    match (service, kind) {
        ("iam", "root") if resource == "root" => Some(table.root("", account)),
        ("iam", "user") => {
            let user = table.user(&account, last).filter(|user| *user.arn == *arn)?;
            Some(table.identity_of(user, ""))
        }
        ("iam", "role") => {
            let role = table.role(&account, last).filter(|role| *role.arn == *arn)?;
            Some(role_session(table, role, (session_name, now_unix_seconds)))
        }
        ("sts", "assumed-role") => {
            let (role, session_name) = rest.split_once('/')?;
            rules::check_session_name(session_name)?;
            Some(role_session(table, table.role(&account, role)?, (session_name, now_unix_seconds)))
        }
        _ => None,
    }
}

/// The one value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ServiceRefused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=ARN_CHARS_MAX).contains(&text.len()));
    let text = text.filter(|_| values.next().is_none());
    text.map(Some).ok_or(ServiceRefused::HeaderMalformed)
}
