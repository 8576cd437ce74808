//! Which statements of a policy can be about an action, so that the others are not looked at.

use std::collections::HashMap;

/// Statements by the actions that they name, as positions in the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ActionIndex {
    /// By actions in lower case that are named without wildcards.
    literal: HashMap<Box<str>, Vec<usize>>,
    /// With wildcards, or with `NotAction`: these are asked one by one.
    others: Vec<usize>,
}

impl ActionIndex {
    /// `statements` are, for each statement, the actions it names without wildcards; none if it must be asked.
    pub(super) fn new<'s>(statements: impl Iterator<Item = Option<Vec<&'s str>>>) -> Self {
        let mut index = Self::default();
        for (position, actions) in statements.enumerate() {
            let Some(actions) = actions else {
                index.others.push(position);
                continue;
            };
            for action in actions {
                let positions = index.literal.entry(action.to_ascii_lowercase().into()).or_default();
                if positions.last() != Some(&position) {
                    positions.push(position);
                }
            }
        }
        index
    }

    /// Those that name the action, and whether they have to be asked still. Each once, in no order.
    pub(super) fn about(&self, action: &str) -> impl Iterator<Item = (usize, MustAsk)> {
        let literal = self.literal.get(&*action.to_ascii_lowercase()).map(Vec::as_slice).unwrap_or_default();
        let named = literal.iter().map(|position| (*position, MustAsk::No));
        named.chain(self.others.iter().map(|position| (*position, MustAsk::Yes)))
    }
}

/// Whether a statement has yet to be asked if it is about the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MustAsk {
    No,
    Yes,
}

#[cfg(test)]
mod tests {
    use super::{ActionIndex, MustAsk};

    #[test]
    fn statements_are_found_by_the_actions_they_name_in_any_case() {
        let statements = [Some(vec!["kms:Encrypt", "KMS:encrypt"]), None, Some(vec!["kms:Decrypt"])];
        let index = ActionIndex::new(statements.into_iter());
        let about = |action| index.about(action).collect::<Vec<_>>();
        assert_eq!(about("kms:ENCRYPT"), [(0, MustAsk::No), (1, MustAsk::Yes)]);
        assert_eq!(about("kms:Decrypt"), [(2, MustAsk::No), (1, MustAsk::Yes)]);
        assert_eq!(about("kms:Sign"), [(1, MustAsk::Yes)]);
    }
}
