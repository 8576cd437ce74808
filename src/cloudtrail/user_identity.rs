//! `userIdentity`: who did it.

use crate::cloudtrail::date::push_event_time;
use crate::domain::kms::{AccountId, UnixMillis};
use crate::identity::kms::{Caller, Principal, Session, TemporaryCredentials};
use crate::json::Object;

#[derive(Clone, Copy, Debug)]
pub enum UserIdentity<'a> {
    /// KMS itself, for the account that owns the key.
    AwsInternal { account: &'a AccountId },
    /// Who signed the request.
    Caller(&'a Caller),
    /// Who signed the request, as another account may know it: the one that owns the key.
    ForeignCaller(&'a Caller),
    /// Whoever has a shell on the machine of the daemon, and the right to its control socket.
    LocalAdministrator { account: Option<&'a AccountId> },
    /// The signature did not verify: what was claimed is all there is.
    Unknown { access_key_id: Option<&'a str> },
}

impl UserIdentity<'_> {
    /// The service that passes the call on, or makes it: it stands for where the call came from.
    pub(super) fn invoked_by(&self) -> Option<&str> {
        match self {
            Self::AwsInternal { .. } => Some(AWS_INTERNAL),
            Self::Caller(caller) | Self::ForeignCaller(caller) => {
                let forwarded_by = caller.via.as_ref().map(|via| &*via.service);
                forwarded_by.or_else(|| caller.service().map(|service| &*service.name))
            }
            Self::LocalAdministrator { .. } | Self::Unknown { .. } => None,
        }
    }

    pub(super) fn write(&self, identity: &mut Object<'_>) {
        match *self {
            Self::AwsInternal { account } => {
                identity.text("accountId", account.as_str());
                identity.text("invokedBy", AWS_INTERNAL);
            }
            Self::Caller(caller) => write_caller(caller, identity),
            Self::ForeignCaller(caller) if caller.service().is_none() => {
                identity.text("type", "AWSAccount");
                identity.text("principalId", &caller.user_id);
                identity.text("accountId", caller.account.as_str());
                identity.text_if("invokedBy", self.invoked_by());
            }
            Self::ForeignCaller(caller) => write_caller(caller, identity),
            Self::LocalAdministrator { account } => {
                identity.text("type", "Unknown");
                identity.text("principalId", "local-administrator");
                identity.text_if("accountId", account.map(AccountId::as_str));
            }
            Self::Unknown { access_key_id } => {
                identity.text("type", "Unknown");
                identity.text_if("accessKeyId", access_key_id);
            }
        }
    }
}

const AWS_INTERNAL: &str = "AWS Internal";

fn write_caller(caller: &Caller, identity: &mut Object<'_>) {
    match &caller.principal {
        Principal::Service(service) => {
            identity.text("type", "AWSService");
            identity.text("invokedBy", &service.name);
            return;
        }
        Principal::Root => write_principal("Root", caller, identity),
        Principal::Session(_) => write_principal("AssumedRole", caller, identity),
        Principal::User { name } => {
            write_principal("IAMUser", caller, identity);
            identity.text("userName", name);
        }
    }
    if let Some(temporary) = &caller.temporary {
        identity.object("sessionContext", |context| {
            context.object("attributes", |attributes| write_attributes(temporary, attributes));
            if let Some(session) = caller.session() {
                context.object("sessionIssuer", |issuer| write_issuer(caller, session, issuer));
            }
        });
    }
    identity.text_if("invokedBy", caller.via.as_ref().map(|via| &*via.service));
}

fn write_principal(kind: &str, caller: &Caller, identity: &mut Object<'_>) {
    identity.text("type", kind);
    identity.text("principalId", &caller.user_id);
    identity.text("arn", &caller.arn);
    identity.text("accountId", caller.account.as_str());
    identity.text("accessKeyId", &caller.access_key_id);
}

/// The second factor as a text, as CloudTrail has it.
fn write_attributes(temporary: &TemporaryCredentials, attributes: &mut Object<'_>) {
    let issued = i64::try_from(temporary.issued_unix_seconds).unwrap_or(i64::MAX);
    let out = attributes.member("creationDate");
    out.push(b'"');
    push_event_time(out, UnixMillis(issued.saturating_mul(1000)));
    out.push(b'"');
    let has_second_factor = temporary.mfa_unix_seconds.is_some();
    attributes.text("mfaAuthenticated", if has_second_factor { "true" } else { "false" });
}

fn write_issuer(caller: &Caller, session: &Session, issuer: &mut Object<'_>) {
    issuer.text("type", "Role");
    let role_id = caller.user_id.split_once(':').map_or(&*caller.user_id, |(role_id, _)| role_id);
    issuer.text("principalId", role_id);
    issuer.text("arn", &session.role_arn);
    issuer.text("accountId", caller.account.as_str());
    issuer.text("userName", &session.role_name);
}
