//! The question put to the policies: who wants to do what to which resource, and what else is known of it.

use std::borrow::Cow;
use std::cell::Cell;

use crate::policy::arn::Arn;
use crate::policy::condition_key::{ConditionKey, Fingerprint};
use crate::policy::principal::{self, Naming};

/// One request for authorization.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub principal: Principal<'a>,
    /// `service:Operation`, for example `kms:Decrypt`.
    pub action: &'a str,
    /// The ARN of what is acted upon. Any other text is matched only by `*`.
    pub resource: &'a str,
    pub context: Context<'a>,
}

/// The caller: an identity with an ARN, a service principal, or something that only `*` matches.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    text: &'a str,
    arn: Option<Arn<'a>>,
    /// Of a role session, the name of its role.
    session_role: Option<&'a str>,
    has_boundary: bool,
}

impl<'a> Principal<'a> {
    pub fn new(text: &'a str) -> Self {
        let arn = Arn::parse(text);
        let session_role = arn.filter(|arn| arn.service == "sts").and_then(|arn| {
            let (role, _) = arn.resource.strip_prefix("assumed-role/")?.split_once('/')?;
            Some(role)
        });
        Self { text, arn, session_role, has_boundary: false }
    }

    /// Whether the identity has a permissions boundary: a Deny with `NotPrincipal` spares none that has one (IAM User
    /// Guide, Permissions boundaries for IAM entities).
    #[must_use]
    pub fn with_boundary(self, has_boundary: bool) -> Self {
        Self { has_boundary, ..self }
    }

    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The account of an identity; services have none.
    pub fn account(&self) -> Option<&'a str> {
        self.arn.map(|arn| arn.account).filter(|account| !account.is_empty())
    }

    /// Whether it is the root user of an account.
    pub fn is_root(&self) -> bool {
        self.arn.is_some_and(|arn| arn.service == "iam" && arn.resource == "root")
    }

    /// By which name an entry among the AWS principals or services of a policy means it, if it does.
    pub fn is_named_by(&self, entry: &str) -> Option<Naming> {
        principal::naming(entry, self)
    }

    pub(super) fn arn(&self) -> Option<Arn<'a>> {
        self.arn
    }

    pub(super) fn session_role(&self) -> Option<&'a str> {
        self.session_role
    }

    pub(super) fn has_boundary(&self) -> bool {
        self.has_boundary
    }
}

/// What a policy is attached to; some condition keys are there for policies of identities only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedTo {
    Identity,
    Resource,
}

/// The condition keys of a request and their values. Keys are compared without regard to case; a key may have
/// several values, and one with no value is absent.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    entries: Vec<Entry<'a>>,
}

#[derive(Clone, Debug)]
struct Entry<'a> {
    key: Cow<'a, str>,
    fingerprint: Fingerprint,
    value: Cow<'a, str>,
    is_for_identities_only: bool,
}

impl<'a> Context<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for this many values.
    pub fn with_capacity(values: usize) -> Self {
        Self { entries: Vec::with_capacity(values) }
    }

    /// Adds one value of a key.
    #[must_use]
    pub fn with(self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.and(key.into(), value.into(), false)
    }

    /// Adds one value of a key that policies of resources do not see.
    #[must_use]
    pub fn with_for_identities(self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.and(key.into(), value.into(), true)
    }

    /// Adds a value if there is one; otherwise the key stays absent.
    #[must_use]
    pub fn with_optional(self, key: impl Into<Cow<'a, str>>, value: Option<impl Into<Cow<'a, str>>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The keys that have a value.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.key)
    }

    /// Without the values of a key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.entries.retain(|entry| !entry.key.eq_ignore_ascii_case(key));
        self
    }

    fn and(mut self, key: Cow<'a, str>, value: Cow<'a, str>, is_for_identities_only: bool) -> Self {
        let fingerprint = Fingerprint::of(&key);
        self.entries.push(Entry { key, fingerprint, value, is_for_identities_only });
        self
    }

    pub(super) fn seen_from<'v>(&'v self, attached_to: AttachedTo, effort: &'v Effort) -> View<'v> {
        View { entries: &self.entries, attached_to, effort }
    }
}

/// How many steps may still be made to match patterns: whoever writes a policy and sends a long text to be compared with
/// it shall not keep a processor busy.
pub(super) struct Effort(Cell<u32>);

/// Some milliseconds. A policy that is not made to be slow takes a hundredth of it.
const STEPS_MAX: u32 = 2_000_000;

impl Default for Effort {
    fn default() -> Self {
        Self(Cell::new(STEPS_MAX))
    }
}

/// A context as a policy of this kind sees it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    entries: &'a [Entry<'a>],
    attached_to: AttachedTo,
    effort: &'a Effort,
}

impl<'a> View<'a> {
    /// Whether so many more steps may be made to match a pattern.
    pub(super) fn may_spend(&self, steps: u32) -> bool {
        let left = self.effort.0.get().checked_sub(steps);
        self.effort.0.set(left.unwrap_or(0));
        left.is_some()
    }

    pub(super) fn values(&self, key: &ConditionKey) -> impl Iterator<Item = &'a str> {
        let is_of_identity = self.attached_to == AttachedTo::Identity;
        self.entries
            .iter()
            .filter(move |entry| is_of_identity || !entry.is_for_identities_only)
            .filter(move |entry| key.is(entry.fingerprint, &entry.key))
            .map(|entry| &*entry.value)
    }

    /// The value of a key that has exactly one.
    pub(super) fn single(&self, key: &ConditionKey) -> Option<&'a str> {
        let mut values = self.values(key);
        values.next().filter(|_| values.next().is_none())
    }
}
