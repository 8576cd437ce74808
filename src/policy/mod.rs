//! The IAM JSON policy language: read once, then evaluated without I/O, clock or failure.

mod arn;
mod condition;
mod document;
mod error;
mod json;
mod pattern;
mod principal;
mod request;
mod statement;
mod value;
mod written;

use std::fmt;

pub use document::POLICY_BYTES_MAX;
pub use document::PolicyDocument;
pub use document::STATEMENTS_MAX;
pub use error::Cause;
pub use error::PolicyError;
pub use json::VALUES_MAX;
pub use request::Context;
pub use request::Principal;
pub use request::Request;

use crate::policy::principal::AccountScope;
use crate::policy::statement::Effect;

/// What the policies say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'p> {
    /// Allowed, by this statement.
    Allow { statement: StatementRef<'p> },
    /// Denied, by this statement, whatever others allow.
    ExplicitDeny { statement: StatementRef<'p> },
    /// No statement is about this request.
    ImplicitDeny,
}

impl Decision<'_> {
    pub fn is_allow(&self) -> bool {
        match self {
            Self::Allow { .. } => true,
            Self::ExplicitDeny { .. } | Self::ImplicitDeny => false,
        }
    }
}

/// Names a statement for people: by its `Sid`, else by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementRef<'p> {
    /// The place of its policy among those evaluated, counted from zero.
    pub policy_index: usize,
    /// Its place in the policy, counted from one.
    pub number: usize,
    pub sid: Option<&'p str>,
}

impl fmt::Display for StatementRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sid {
            Some(sid) => f.write_str(sid),
            None => write!(f, "statement {}", self.number),
        }
    }
}

/// Decides a request: the first Deny that applies, else the first Allow that applies, else an implicit deny.
pub fn evaluate<'p>(request: &Request<'_>, policies: &[&'p PolicyDocument]) -> Decision<'p> {
    decide(request, policies, AccountScope::AllIdentities)
}

/// The same, but naming an account in an Allow means its root user alone, not that the account may pass the
/// permission on to its users and roles.
pub fn evaluate_without_delegation<'p>(
    request: &Request<'_>,
    policies: &[&'p PolicyDocument],
) -> Decision<'p> {
    decide(request, policies, AccountScope::RootUser)
}

/// The same, but an Allow must name the caller exactly: an account, `*` or the role of a session does not.
pub fn evaluate_for_exact_name<'p>(request: &Request<'_>, policies: &[&'p PolicyDocument]) -> Decision<'p> {
    decide(request, policies, AccountScope::Nobody)
}

fn decide<'p>(
    request: &Request<'_>,
    policies: &[&'p PolicyDocument],
    accounts: AccountScope,
) -> Decision<'p> {
    let mut allowed = None;
    for (policy_index, policy) in policies.iter().enumerate() {
        for (number, statement) in (1..).zip(policy.statements()) {
            let is_settled = statement.effect == Effect::Allow && allowed.is_some();
            if is_settled || !statement.applies(request, accounts) {
                continue;
            }
            let statement_ref = StatementRef { policy_index, number, sid: statement.sid.as_deref() };
            match statement.effect {
                Effect::Allow => allowed = Some(statement_ref),
                Effect::Deny => return Decision::ExplicitDeny { statement: statement_ref },
            }
        }
    }
    allowed.map_or(Decision::ImplicitDeny, |statement| Decision::Allow { statement })
}

#[cfg(test)]
mod tests;
