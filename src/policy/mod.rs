//! The IAM JSON policy language: read once, then evaluated without I/O, clock or failure.

mod action_index;
mod arn;
mod condition;
mod condition_key;
mod document;
mod error;
mod json;
mod kind;
mod pattern;
mod principal;
mod request;
mod statement;
mod value;
mod written;

use std::fmt;

pub use document::Embedded;
pub use document::POLICY_BYTES_MAX;
pub use document::PolicyDocument;
pub use document::STATEMENTS_MAX;
pub use error::Cause;
pub use error::PolicyError;
pub use json::VALUES_MAX;
pub use kind::Kind;
pub use principal::Naming;
pub use request::AttachedTo;
pub use request::Context;
pub use request::Principal;
pub use request::Request;

use crate::policy::request::Effort;
use crate::policy::statement::Effect;

/// What one policy says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<'p> {
    /// This statement allows it, by this name of the caller: of several, the strongest name, and of those the first.
    Allows { statement: StatementRef<'p>, naming: Naming },
    /// This statement denies it, the first if there are several.
    Denies { statement: StatementRef<'p> },
    /// No statement is about this request.
    Silent,
}

/// Names a statement for people: by its `Sid`, else by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementRef<'p> {
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

/// What a policy says about a request. One that names no principals is about the identity it is attached to.
pub fn evaluate<'p>(
    request: &Request<'_>,
    attached_to: AttachedTo,
    policy: &'p PolicyDocument,
) -> Finding<'p> {
    let effort = Effort::default();
    let view = request.context.seen_from(attached_to, &effort);
    let mut found = Found::default();
    for (number, statement, must_ask) in policy.statements_about(request.action) {
        if found.is_settled_before(statement.effect, number) {
            continue;
        }
        if let Some(naming) = statement.applies(request, view, must_ask) {
            found.add(statement.effect, naming, StatementRef { number, sid: statement.sid.as_deref() });
        }
    }
    match found {
        Found { denied: Some(statement), .. } => Finding::Denies { statement },
        Found { allowed: Some((naming, statement)), .. } => Finding::Allows { statement, naming },
        Found { denied: None, allowed: None } => Finding::Silent,
    }
}

/// The best statements so far.
#[derive(Default)]
struct Found<'p> {
    denied: Option<StatementRef<'p>>,
    allowed: Option<(Naming, StatementRef<'p>)>,
}

impl<'p> Found<'p> {
    /// Whether a statement can change nothing any more.
    fn is_settled_before(&self, effect: Effect, number: usize) -> bool {
        let is_later = |found: &StatementRef<'_>| found.number < number;
        match effect {
            Effect::Allow => {
                let best = self.allowed.as_ref().filter(|(naming, _)| *naming == Naming::Exactly);
                self.denied.is_some() || best.is_some_and(|(_, found)| is_later(found))
            }
            Effect::Deny => self.denied.as_ref().is_some_and(is_later),
        }
    }

    fn add(&mut self, effect: Effect, naming: Naming, statement: StatementRef<'p>) {
        match effect {
            Effect::Allow => {
                let rank = |naming, number: usize| (naming, std::cmp::Reverse(number));
                let is_better = self
                    .allowed
                    .is_none_or(|(best, found)| rank(naming, statement.number) > rank(best, found.number));
                if is_better {
                    self.allowed = Some((naming, statement));
                }
            }
            Effect::Deny => self.denied = Some(statement),
        }
    }
}

#[cfg(test)]
mod tests;
