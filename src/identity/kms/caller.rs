//! A caller whose signature verified, with everything that policies may ask of it.

use std::sync::Arc;

use crate::domain::kms::{AccountId, Region, Scope, Tag};
use crate::policy::PolicyDocument;

/// Policies that many callers share.
pub type Policies = Arc<[Arc<PolicyDocument>]>;

/// Who calls. Cheap to make: everything in it is shared.
#[derive(Clone, Debug)]
pub struct Caller {
    pub account: AccountId,
    /// The Region of the signature: the one that is called.
    pub region: Region,
    pub access_key_id: Arc<str>,
    pub principal: Principal,
    /// The ARN of the principal: of a session, that of the session.
    pub arn: Arc<str>,
    /// `aws:userid`: the unique id of a user, that of a role and the session's name, or the account id.
    pub user_id: Arc<str>,
    /// What the identity is allowed: its own policies.
    pub policies: Policies,
    /// `aws:PrincipalTag/…`: of the user or role, and of the session.
    pub tags: Arc<[Tag]>,
}

#[derive(Clone, Debug)]
pub enum Principal {
    /// The root user of the account.
    Root,
    User {
        name: Arc<str>,
    },
    Session(Arc<Session>),
}

/// A role session.
#[derive(Clone, Debug)]
pub struct Session {
    pub role_arn: Arc<str>,
    pub role_name: Arc<str>,
    pub name: String,
    /// The session policies, which cut down what the role may do; none if there are none.
    pub policies: Policies,
    /// `aws:TokenIssueTime`.
    pub issued_unix_seconds: u64,
    /// Session tags that a session made by this one inherits.
    pub transitive_tags: Vec<Tag>,
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
    pub(super) tags: Arc<[Tag]>,
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
            tags: Arc::clone(&self.tags),
        }
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
            Principal::Root | Principal::User { .. } => None,
        }
    }

    /// `aws:PrincipalArn`: of a session, the ARN of its role.
    pub fn principal_arn(&self) -> &str {
        match &self.principal {
            Principal::Session(session) => &session.role_arn,
            Principal::Root | Principal::User { .. } => &self.arn,
        }
    }

    /// `aws:PrincipalType`.
    pub fn principal_type(&self) -> &'static str {
        match &self.principal {
            Principal::Root => "Account",
            Principal::Session(_) => "AssumedRole",
            Principal::User { .. } => "User",
        }
    }

    /// `aws:username`: of users only.
    pub fn user_name(&self) -> Option<&str> {
        match &self.principal {
            Principal::User { name } => Some(name),
            Principal::Root | Principal::Session(_) => None,
        }
    }
}
