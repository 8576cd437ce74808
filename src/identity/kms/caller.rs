//! A caller whose signature verified, with everything that policies may ask of it.

use std::sync::Arc;

use crate::domain::kms::{AccountId, Region, Scope, Tag};
use crate::policy::PolicyDocument;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    pub account: AccountId,
    /// The Region of the signature: the one that is called.
    pub region: Region,
    pub access_key_id: String,
    pub principal: Principal,
    /// The ARN of the principal: of a session, that of the session.
    pub arn: Arc<str>,
    /// What the identity is allowed: its own policies.
    pub policies: Vec<Arc<PolicyDocument>>,
    /// `aws:PrincipalTag/…`: of the user or role, and of the session.
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug)]
pub enum Principal {
    /// The root user of the account.
    Root,
    User {
        name: String,
    },
    Session(Session),
}

/// A role session.
#[derive(Clone, Debug)]
pub struct Session {
    pub role_arn: String,
    pub role_name: String,
    pub name: String,
    /// The session policies, which cut down what the role may do; none if there are none.
    pub policies: Vec<Arc<PolicyDocument>>,
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
