//! A caller whose signature verified, with everything that policies may ask of it.

use std::sync::Arc;

use crate::domain::kms::{AccountId, Region, Scope, Tag};
use crate::identity::kms::named_policy::{NamedPolicy, Policies};
use crate::identity::kms::organization::{Organization, Organizations};

/// Who calls. Cheap to make: everything in it is shared.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Of a service that calls by itself, the account that it calls for.
    pub account: AccountId,
    /// The Region of the signature: the one that is called.
    pub region: Region,
    /// Of a call that a service forwards, that of the service.
    pub access_key_id: Arc<str>,
    pub principal: Principal,
    /// The ARN of the principal: of a session, that of the session; of a service, its name.
    pub arn: Arc<str>,
    /// `aws:userid`: the unique id of a user, that of a role and the session's name, the account id, or the name of a
    /// service.
    pub user_id: Arc<str>,
    /// What the identity is allowed: its own policies and those attached to it.
    pub policies: Policies,
    /// The permissions boundary of the user or role: the most that its own policies can allow.
    pub boundary: Option<Arc<NamedPolicy>>,
    /// The service control policies of its account: one of them must allow what anybody of the account does, and none
    /// may deny it. Without any, everything is allowed by them.
    pub account_policies: Policies,
    /// `aws:PrincipalTag/…`: of the user or role, and of the session.
    pub tags: Arc<[Tag]>,
    /// Of a caller with temporary credentials.
    pub temporary: Option<Arc<TemporaryCredentials>>,
    /// The service that forwards the call of this user or role, if one does.
    pub via: Option<Arc<Via>>,
    /// Of all accounts: the caller's and the resource's.
    pub organizations: Organizations,
}

#[derive(Clone, Debug)]
pub enum Principal {
    /// The root user of the account.
    Root,
    /// A service that calls by itself.
    Service(Arc<ServiceCall>),
    Session(Arc<Session>),
    User {
        name: Arc<str>,
    },
}

/// A role session.
#[derive(Clone, Debug)]
pub struct Session {
    pub role_arn: Arc<str>,
    pub role_name: Arc<str>,
    pub name: String,
    /// The session policies, which cut down what the role may do; none if there are none.
    pub policies: Policies,
    /// Session tags that a session made by this one inherits.
    pub transitive_tags: Vec<Tag>,
}

/// What is known of credentials that AWS STS made, for a role or for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemporaryCredentials {
    /// `aws:TokenIssueTime`.
    pub issued_unix_seconds: u64,
    /// When a second factor was shown for them; nothing if none was.
    pub mfa_unix_seconds: Option<u64>,
    /// `aws:SourceIdentity`.
    pub source_identity: Option<Box<str>>,
}

/// What a service says of a call that it makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCall {
    /// The service principal, such as `s3.amazonaws.com`.
    pub name: Arc<str>,
    /// `aws:SourceArn`: the resource that it calls for.
    pub source_arn: Option<Box<str>>,
    /// `aws:SourceAccount`.
    pub source_account: Option<AccountId>,
}

/// A service that passes on the call of a user or role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// The service principal, such as `s3.amazonaws.com`.
    pub service: Arc<str>,
}

/// A caller but for what each signature says anew.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) account: AccountId,
    pub(super) access_key_id: Arc<str>,
    pub(super) principal: Principal,
    pub(super) arn: Arc<str>,
    pub(super) user_id: Arc<str>,
    pub(super) policies: Policies,
    pub(super) boundary: Option<Arc<NamedPolicy>>,
    pub(super) account_policies: Policies,
    pub(super) tags: Arc<[Tag]>,
    pub(super) temporary: Option<Arc<TemporaryCredentials>>,
    pub(super) organizations: Organizations,
}

impl Identity {
    pub(super) fn calls(&self, region: Region) -> Caller {
        Caller {
            account: self.account.clone(),
            region,
            access_key_id: Arc::clone(&self.access_key_id),
            principal: self.principal.clone(),
            arn: Arc::clone(&self.arn),
            user_id: Arc::clone(&self.user_id),
            policies: Arc::clone(&self.policies),
            boundary: self.boundary.clone(),
            account_policies: Arc::clone(&self.account_policies),
            tags: Arc::clone(&self.tags),
            temporary: self.temporary.clone(),
            via: None,
            organizations: Arc::clone(&self.organizations),
        }
    }
}

impl Via {
    /// `kms:ViaService` (AWS KMS Developer Guide: always with this suffix, in all partitions).
    pub fn service_in(&self, region: &Region) -> String {
        let name = self.service.split('.').next().unwrap_or_default();
        format!("{name}.{region}.amazonaws.com")
    }
}

impl Caller {
    /// Account and Region that a bare key id or alias name means.
    pub fn scope(&self) -> Scope {
        Scope { account: self.account.clone(), region: self.region.clone() }
    }

    /// The ARN that stands for the whole account.
    pub fn account_root_arn(&self) -> String {
        format!("arn:{}:iam::{}:root", self.region.partition(), self.account)
    }

    pub fn is_root(&self) -> bool {
        matches!(self.principal, Principal::Root)
    }

    pub fn session(&self) -> Option<&Session> {
        match &self.principal {
            Principal::Session(session) => Some(session),
            Principal::Root | Principal::Service(_) | Principal::User { .. } => None,
        }
    }

    /// What a service says that calls by itself.
    pub fn service(&self) -> Option<&ServiceCall> {
        match &self.principal {
            Principal::Service(service) => Some(service),
            Principal::Root | Principal::Session(_) | Principal::User { .. } => None,
        }
    }

    /// `aws:PrincipalArn`: of a session, the ARN of its role; of a service, its name.
    pub fn principal_arn(&self) -> &str {
        match &self.principal {
            Principal::Session(session) => &session.role_arn,
            Principal::Root | Principal::Service(_) | Principal::User { .. } => &self.arn,
        }
    }

    /// `aws:PrincipalType`.
    pub fn principal_type(&self) -> &'static str {
        match &self.principal {
            Principal::Root => "Account",
            Principal::Service(_) => "Service",
            Principal::Session(_) => "AssumedRole",
            Principal::User { .. } => "User",
        }
    }

    /// `aws:username`: of users only.
    pub fn user_name(&self) -> Option<&str> {
        match &self.principal {
            Principal::User { name } => Some(name),
            Principal::Root | Principal::Service(_) | Principal::Session(_) => None,
        }
    }

    /// The organization of the caller's own account; a service belongs to none.
    pub fn organization(&self) -> Option<&Organization> {
        self.service().is_none().then(|| self.organizations.get(&self.account)).flatten()
    }
}

#[cfg(test)]
impl Caller {
    /// The root user of an account, as something to change into the caller that a test needs.
    pub fn of_root_user(account: &str, region: &str) -> Self {
        Self {
            account: AccountId::parse(account).unwrap(),
            region: Region::parse(region).unwrap(),
            access_key_id: Arc::from("AKIAIOSFODNN7EXAMPLE"),
            principal: Principal::Root,
            arn: Arc::from(format!("arn:aws:iam::{account}:root")),
            user_id: Arc::from(account),
            policies: Arc::from([]),
            boundary: None,
            account_policies: Arc::from([]),
            tags: Arc::from([]),
            temporary: None,
            via: None,
            organizations: Organizations::default(),
        }
    }
}
