//! When a grant counts: its constraints in the form in which they are compared.

use std::sync::Arc;

use crate::domain::kms::{EncryptionContext, GrantConstraints};

/// The constraints of a grant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) context: ContextCondition,
    pub(super) source_arn: Option<Box<str>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContextCondition {
    Any,
    Equals(Pairs),
    /// Not empty.
    Subset(Pairs),
    /// The two constraints contradict each other.
    Never,
}

/// The pairs of an encryption context in one piece of memory, in the order of their keys: each text with its length
/// before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pairs(Arc<[u8]>);

impl Condition {
    pub(super) fn of(constraints: &GrantConstraints) -> Self {
        let context = match (&constraints.context_equals, &constraints.context_subset) {
            (Some(equals), Some(subset)) if !equals.includes(subset) => ContextCondition::Never,
            (Some(equals), _) => ContextCondition::Equals(Pairs::of(equals)),
            (None, Some(subset)) if !subset.is_empty() => ContextCondition::Subset(Pairs::of(subset)),
            (None, _) => ContextCondition::Any,
        };
        Self { context, source_arn: constraints.source_arn.as_deref().map(Box::from) }
    }
}

impl Pairs {
    pub(super) fn of(context: &EncryptionContext) -> Self {
        // No request is as long as that.
        Self(context.canonical(usize::MAX).unwrap_or_default().into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether all of them are in the context.
    pub(super) fn are_in(&self, context: &EncryptionContext) -> bool {
        self.iter().all(|(key, value)| context.has(key, value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || Some((text(&mut rest)?, text(&mut rest)?)))
    }
}

/// The text that comes first.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (text, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    str::from_utf8(text).ok()
}
