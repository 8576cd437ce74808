//! Authorization at the KMS front end: resource policy, identity policies and session policies of a caller.

use crate::domain::kms::AccountId;
use crate::identity::kms::Caller;
use crate::policy::{
    Context, Decision, PolicyDocument, Principal, Request, evaluate, evaluate_for_exact_name,
    evaluate_without_delegation,
};

/// What is to be decided, but for the context, which is asked for only if a policy depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    pub service: Service,
    /// Without the service.
    pub permission: &'a str,
    pub resource: &'a str,
    pub resource_account: &'a AccountId,
    /// Of a key or, as its trust policy, of a role; absent where the resource has none.
    pub resource_policy: Option<&'a PolicyDocument>,
}

/// Whose permissions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Kms,
    Sts,
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

/// Decides (IAM User Guide, Policy evaluation logic). An explicit deny anywhere wins. A resource policy that names
/// the caller, or the role of its session, allows by itself; one that names the account lets the account's identity
/// policies decide. From another account both must allow. Session policies cut down whatever a session gets from
/// its role, but not what a resource policy grants to the session by its own name.
pub fn rule<'a>(question: Question<'a>, context: impl FnOnce() -> Context<'a>) -> Ruling {
    judge(question, context, |verdicts, request| {
        let is_own = question.caller.account == *question.resource_account;
        match (question.resource_policy, is_own) {
            (Some(policy), true) => own_denial(verdicts, policy, request),
            (Some(_), false) => verdicts.foreign_denial(),
            (None, true) => verdicts.identity_denial().or(verdicts.session_denial()),
            // Nothing could let somebody else in.
            (None, false) => Some(Denial::NoResourceAllows),
        }
    })
}

/// Whom a grant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantedTo {
    /// The account of the caller, which decides by identity policies.
    Account,
    Caller,
}

/// What is left to decide where a grant allows what policies do not: explicit denials, session policies, and
/// identity policies in another account or if the grant is for the whole account.
pub fn rule_with_grant<'a>(
    question: Question<'a>,
    granted_to: GrantedTo,
    context: impl FnOnce() -> Context<'a>,
) -> Ruling {
    judge(question, context, |verdicts, _| {
        let is_own = question.caller.account == *question.resource_account;
        let is_enough = is_own && granted_to == GrantedTo::Caller;
        let identity = if is_enough { None } else { verdicts.identity_denial() };
        identity.or(verdicts.session_denial())
    })
}

/// An explicit deny, or else what `decide` finds to be missing.
fn judge<'a>(
    question: Question<'a>,
    context: impl FnOnce() -> Context<'a>,
    decide: impl FnOnce(&Verdicts, &Request<'_>) -> Option<Denial>,
) -> Ruling {
    let Question { caller, service, permission, resource, resource_policy, .. } = question;
    let mut buffer = [0; ACTION_BYTES_MAX];
    let Some(action) = service.action(permission, &mut buffer) else {
        return Ruling::Denied(Denial::NoIdentityAllows);
    };
    let context = if needs_context(caller, resource_policy) { context() } else { Context::new() };
    let request = Request { principal: Principal::new(&caller.arn), action, resource, context };
    let verdicts = Verdicts {
        identity: identity_verdict(caller, &request),
        session: session_verdict(caller, &request),
        resource: resource_policy.map(|policy| verdict(evaluate(&request, &[policy]))),
    };
    let denial = verdicts.explicit_denial().or_else(|| decide(&verdicts, &request));
    denial.map_or(Ruling::Allowed, Ruling::Denied)
}

/// The longest action: a service and the longest permission there is.
const ACTION_BYTES_MAX: usize = 64;

impl Service {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Kms => "kms:",
            Self::Sts => "sts:",
        }
    }

    /// `service:permission`, on the stack.
    fn action<'b>(self, permission: &str, buffer: &'b mut [u8; ACTION_BYTES_MAX]) -> Option<&'b str> {
        let prefix = self.prefix().as_bytes();
        let action = buffer.get_mut(..prefix.len() + permission.len())?;
        let (head, tail) = action.split_at_mut_checked(prefix.len())?;
        head.copy_from_slice(prefix);
        tail.copy_from_slice(permission.as_bytes());
        str::from_utf8(action).ok()
    }
}

fn needs_context(caller: &Caller, resource_policy: Option<&PolicyDocument>) -> bool {
    let session = caller.session().map(|session| &session.policies);
    let identities = caller.policies.iter().chain(session.into_iter().flat_map(|policies| policies.iter()));
    resource_policy.is_some_and(PolicyDocument::needs_context)
        || identities.into_iter().any(|policy| policy.needs_context())
}

/// What the policies of each kind say by themselves.
struct Verdicts {
    identity: Verdict,
    session: Verdict,
    /// With accounts standing for everyone in them.
    resource: Option<Verdict>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Deny,
    Silent,
}

impl Verdicts {
    fn explicit_denial(&self) -> Option<Denial> {
        let kinds = [
            (Some(self.identity), Denial::ExplicitIdentity),
            (Some(self.session), Denial::ExplicitSession),
            (self.resource, Denial::ExplicitResource),
        ];
        kinds.into_iter().find(|(verdict, _)| *verdict == Some(Verdict::Deny)).map(|(_, denial)| denial)
    }

    fn identity_denial(&self) -> Option<Denial> {
        (self.identity != Verdict::Allow).then_some(Denial::NoIdentityAllows)
    }

    fn session_denial(&self) -> Option<Denial> {
        (self.session != Verdict::Allow).then_some(Denial::NoSessionAllows)
    }

    /// All must allow.
    fn foreign_denial(&self) -> Option<Denial> {
        let resource = (self.resource != Some(Verdict::Allow)).then_some(Denial::NoResourceAllows);
        resource.or(self.identity_denial()).or(self.session_denial())
    }
}

/// Why a caller of the account that owns the resource may not, if it may not.
fn own_denial(verdicts: &Verdicts, policy: &PolicyDocument, request: &Request<'_>) -> Option<Denial> {
    if verdicts.resource != Some(Verdict::Allow) {
        return Some(Denial::NoResourceAllows);
    }
    let is_direct = || verdict(evaluate_without_delegation(request, &[policy])) == Verdict::Allow;
    let is_exact = || verdict(evaluate_for_exact_name(request, &[policy])) == Verdict::Allow;
    if verdicts.identity != Verdict::Allow && !is_direct() {
        return Some(Denial::NoIdentityAllows);
    }
    if verdicts.session != Verdict::Allow && !is_exact() {
        return Some(Denial::NoSessionAllows);
    }
    None
}

/// The root user may do everything that is left to identity policies; none is attached to it.
fn identity_verdict(caller: &Caller, request: &Request<'_>) -> Verdict {
    if caller.is_root() {
        return Verdict::Allow;
    }
    verdict_of_all(caller.policies.iter().map(AsRef::as_ref), request)
}

/// Without session policies a session may do what its role may.
fn session_verdict(caller: &Caller, request: &Request<'_>) -> Verdict {
    match caller.session() {
        Some(session) if !session.policies.is_empty() => {
            verdict_of_all(session.policies.iter().map(AsRef::as_ref), request)
        }
        Some(_) | None => Verdict::Allow,
    }
}

fn verdict_of_all<'p>(policies: impl Iterator<Item = &'p PolicyDocument>, request: &Request<'_>) -> Verdict {
    let mut result = Verdict::Silent;
    for policy in policies {
        match verdict(evaluate(request, &[policy])) {
            Verdict::Deny => return Verdict::Deny,
            Verdict::Allow => result = Verdict::Allow,
            Verdict::Silent => {}
        }
    }
    result
}

fn verdict(decision: Decision<'_>) -> Verdict {
    match decision {
        Decision::Allow { .. } => Verdict::Allow,
        Decision::ExplicitDeny { .. } => Verdict::Deny,
        Decision::ImplicitDeny => Verdict::Silent,
    }
}

#[cfg(test)]
mod tests;
