//! Authorization at the KMS front end: key policy, identity policies and session policies of a caller.

use crate::domain::kms::AccountId;
use crate::identity::kms::Caller;
use crate::policy::{
    Context, Decision, PolicyDocument, Principal, Request, evaluate, evaluate_without_delegation,
};

/// What is to be decided.
#[derive(Debug)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    /// Without `kms:`.
    pub permission: &'a str,
    pub resource: &'a str,
    pub resource_account: &'a AccountId,
    /// Of the key; absent where the resource is no key.
    pub key_policy: Option<&'a PolicyDocument>,
    pub context: Context<'a>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    Allowed,
    Denied(Denial),
}

/// Which policies are to blame, in the words that AWS uses for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    ExplicitIdentity,
    ExplicitResource,
    ExplicitSession,
    NoIdentityAllows,
    NoResourceAllows,
    NoSessionAllows,
}

/// Decides: an explicit deny anywhere wins. A key policy that names the caller allows by itself; one that names the
/// account lets the account's identity policies decide. From another account both must allow. Session policies cut
/// down whatever the role may do.
pub fn rule(question: Question<'_>) -> Ruling {
    let Question { caller, permission, resource, resource_account, key_policy, context } = question;
    let action = format!("kms:{permission}");
    let request = Request { principal: Principal::new(&caller.arn), action: &action, resource, context };
    let identity: Vec<_> = caller.policies.iter().map(AsRef::as_ref).collect();
    // The root user may do everything in its own account; no policy is attached to it.
    let identity = if caller.is_root() { Verdict::Allow } else { verdict(evaluate(&request, &identity)) };
    let session = session_verdict(caller, &request);
    let key: Vec<_> = key_policy.into_iter().collect();
    let (delegated, direct) =
        (verdict(evaluate(&request, &key)), verdict(evaluate_without_delegation(&request, &key)));
    for (verdict, denial) in [
        (identity, Denial::ExplicitIdentity),
        (session, Denial::ExplicitSession),
        (delegated, Denial::ExplicitResource),
    ] {
        if verdict == Verdict::Deny {
            return Ruling::Denied(denial);
        }
    }
    let is_own = caller.account == *resource_account;
    let denial = match (key_policy.is_some(), is_own) {
        (false, _) => (identity != Verdict::Allow).then_some(Denial::NoIdentityAllows),
        (true, true) if direct == Verdict::Allow => None,
        (true, _) if delegated != Verdict::Allow => Some(Denial::NoResourceAllows),
        (true, _) => (identity != Verdict::Allow).then_some(Denial::NoIdentityAllows),
    };
    match denial {
        Some(denial) => Ruling::Denied(denial),
        None if session == Verdict::Allow => Ruling::Allowed,
        None => Ruling::Denied(Denial::NoSessionAllows),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Deny,
    Silent,
}

fn verdict(decision: Decision<'_>) -> Verdict {
    match decision {
        Decision::Allow { .. } => Verdict::Allow,
        Decision::ExplicitDeny { .. } => Verdict::Deny,
        Decision::ImplicitDeny => Verdict::Silent,
    }
}

/// Without session policies a session may do what its role may.
fn session_verdict(caller: &Caller, request: &Request<'_>) -> Verdict {
    let policies: Vec<_> = caller
        .session()
        .map(|session| session.policies.iter().map(AsRef::as_ref).collect())
        .unwrap_or_default();
    if policies.is_empty() { Verdict::Allow } else { verdict(evaluate(request, &policies)) }
}
