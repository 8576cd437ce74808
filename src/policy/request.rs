//! The question put to the policies: who wants to do what to which resource, and what else is known of it.

use std::borrow::Cow;

use crate::policy::arn::Arn;

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
}

impl<'a> Principal<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, arn: Arn::parse(text) }
    }

    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The account of an identity; services have none.
    pub fn account(&self) -> Option<&'a str> {
        self.arn.map(|arn| arn.account).filter(|account| !account.is_empty())
    }

    pub(super) fn arn(&self) -> Option<Arn<'a>> {
        self.arn
    }
}

/// The condition keys of a request and their values. Keys are compared without regard to case; a key may have
/// several values, and one with no value is absent.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    entries: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Context<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one value of a key.
    #[must_use]
    pub fn with(mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.entries.push((key.into(), value.into()));
        self
    }

    /// Adds a value if there is one; otherwise the key stays absent.
    #[must_use]
    pub fn with_optional(self, key: impl Into<Cow<'a, str>>, value: Option<impl Into<Cow<'a, str>>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    pub(super) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| &**value)
    }

    /// The value of a key that has exactly one.
    pub(super) fn single(&self, key: &str) -> Option<&str> {
        let mut values = self.values(key);
        values.next().filter(|_| values.next().is_none())
    }
}
