//! Authorization at the KMS front end: puts what a caller wants to the policies that decide it.

use crate::authorizer::evaluation::{CallerKind, Denial, Evaluation, Layers, Verdict};
use crate::authorizer::facts::RequestFacts;
use crate::domain::kms::AccountId;
use crate::identity::kms::{Caller, Principal};
use crate::policy::{self, Context, PolicyDocument, Request};

/// What is to be decided, but for the context, which is asked for only if a policy depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    pub facts: &'a RequestFacts<'a>,
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

/// Decides by policies alone.
pub fn rule<'a>(question: Question<'a>, context: impl FnOnce() -> Context<'a>) -> Ruling {
    match evaluation(question, context).verdict(None) {
        Verdict::Allowed(_) => Ruling::Allowed,
        Verdict::Denied(denial) => Ruling::Denied(denial),
    }
}

/// What the policies say.
pub fn evaluation<'a>(question: Question<'a>, context: impl FnOnce() -> Context<'a>) -> Evaluation<'a> {
    let mut buffer = [0; ACTION_BYTES_MAX];
    let layers = layers(question);
    let request = Request {
        principal: policy::Principal::new(&question.caller.arn).with_boundary(layers.boundary.is_some()),
        // No permission is longer; if one were, no policy would allow it.
        action: question.service.action(question.permission, &mut buffer).unwrap_or_default(),
        resource: question.resource,
        context: if layers.need_context() { context() } else { Context::new() },
    };
    Evaluation::of(&request, layers)
}

fn layers(question: Question<'_>) -> Layers<'_> {
    let Question { caller, facts, resource_account, resource_policy, .. } = question;
    Layers {
        caller: match caller.principal {
            Principal::Root => CallerKind::Root,
            Principal::Service(_) => CallerKind::Service,
            Principal::Session(_) | Principal::User { .. } => CallerKind::UserOrRole,
        },
        is_own: caller.account == *resource_account,
        resource_policy,
        identity_policies: &caller.policies,
        boundary: caller.boundary.as_deref(),
        session_policies: caller.session().map_or(&[], |session| &*session.policies),
        account_policies: &caller.account_policies,
        endpoint_policy: facts.endpoint_policy,
    }
}

/// The longest action: a service and the longest permission there is.
const ACTION_BYTES_MAX: usize = 64;

impl Service {
    pub const fn prefix(self) -> &'static str {
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

#[cfg(test)]
mod tests;
