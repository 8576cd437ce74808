//! Conditions: the table of operators, and whether a condition holds in a context.

use std::cmp::Ordering;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::Serializer;

use crate::policy::arn::ArnPattern;
use crate::policy::condition_key::ConditionKey;
use crate::policy::error::Cause;
use crate::policy::error::PolicyError;
use crate::policy::json::Node;
use crate::policy::pattern::Case;
use crate::policy::pattern::Otherwise;
use crate::policy::pattern::Pattern;
use crate::policy::pattern::Syntax;
use crate::policy::request::View;
use crate::policy::statement::Effect;
use crate::policy::value::Decimal;
use crate::policy::value::Network;
use crate::policy::value::parse_moment;
use crate::policy::written::Values;
use crate::policy::written::Written;

/// One operator and the keys under it, each with the values it is compared to.
///
/// An absent key makes a plain operator false, a negated one true, and either true with `IfExists`.
/// `ForAllValues:` is then true and `ForAnyValue:` false, with or without `IfExists`, because they quantify over
/// an empty set. A key that can have several values must be tested with one of these: in an Allow, another operator does
/// not hold once the key is there, negated or not; in a Deny it holds if it does so for any of the values. A value in the
/// context that is not of the operator's type matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    operator: Operator,
    keys: Vec<(ConditionKey, Vec<Written<Meaning>>)>,
}

/// An operator as written: a row of [`OPERATORS`] with its prefix and suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operator {
    quantifier: Option<Quantifier>,
    row: &'static Row,
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: &'static str,
    comparison: Comparison,
    is_negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Arn,
    Binary,
    Boolean,
    Date(Order),
    Network,
    /// Whether the key is absent.
    Null,
    Number(Order),
    Text {
        case: Case,
        wildcards: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

const EXACT: Comparison = Comparison::Text { case: Case::Respected, wildcards: false };
const IGNORING_CASE: Comparison = Comparison::Text { case: Case::Ignored, wildcards: false };
const LIKE: Comparison = Comparison::Text { case: Case::Respected, wildcards: true };

const fn row(name: &'static str, comparison: Comparison) -> Row {
    Row { name, comparison, is_negated: false }
}

const fn negated(name: &'static str, comparison: Comparison) -> Row {
    Row { name, comparison, is_negated: true }
}

/// The condition operators of IAM. `ArnEquals` and `ArnLike` are the same.
static OPERATORS: [Row; 27] = [
    row("ArnEquals", Comparison::Arn),
    row("ArnLike", Comparison::Arn),
    negated("ArnNotEquals", Comparison::Arn),
    negated("ArnNotLike", Comparison::Arn),
    row("BinaryEquals", Comparison::Binary),
    row("Bool", Comparison::Boolean),
    row("DateEquals", Comparison::Date(Order::Equal)),
    row("DateGreaterThan", Comparison::Date(Order::Greater)),
    row("DateGreaterThanEquals", Comparison::Date(Order::GreaterOrEqual)),
    row("DateLessThan", Comparison::Date(Order::Less)),
    row("DateLessThanEquals", Comparison::Date(Order::LessOrEqual)),
    negated("DateNotEquals", Comparison::Date(Order::Equal)),
    row("IpAddress", Comparison::Network),
    negated("NotIpAddress", Comparison::Network),
    row("Null", Comparison::Null),
    row("NumericEquals", Comparison::Number(Order::Equal)),
    row("NumericGreaterThan", Comparison::Number(Order::Greater)),
    row("NumericGreaterThanEquals", Comparison::Number(Order::GreaterOrEqual)),
    row("NumericLessThan", Comparison::Number(Order::Less)),
    row("NumericLessThanEquals", Comparison::Number(Order::LessOrEqual)),
    negated("NumericNotEquals", Comparison::Number(Order::Equal)),
    row("StringEquals", EXACT),
    row("StringEqualsIgnoreCase", IGNORING_CASE),
    row("StringLike", LIKE),
    negated("StringNotEquals", EXACT),
    negated("StringNotEqualsIgnoreCase", IGNORING_CASE),
    negated("StringNotLike", LIKE),
];

/// What a value of a condition means, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    Absence(bool),
    Arn(ArnPattern),
    /// Base64 has one spelling for each sequence of bytes, so the text itself is compared.
    Binary,
    Moment(Order, i128),
    Network(Network),
    Number(Order),
    Text(Pattern),
}

impl Condition {
    /// `variables` says whether the version of the policy knows them.
    pub(super) fn parse(operator: &str, node: Node, variables: bool) -> Result<Self, PolicyError> {
        let operator = Operator::parse(operator).ok_or(Cause::UnknownOperator)?;
        let members = node.into_members()?;
        if members.is_empty() {
            return Err(Cause::EmptyMember.into());
        }
        let read = |text: &str| operator.row.comparison.read(text, variables);
        let value = |node: Node| Written::parse(node.into_scalar()?, read);
        let values = |node: Node| node.into_values()?.into_iter().map(value).collect::<Result<Vec<_>, _>>();
        let key = |(key, node): (String, Node)| {
            let values =
                check_key(&key).and_then(|()| values(node)).map_err(|error| error.in_member(&key))?;
            Ok((ConditionKey::new(&key), values))
        };
        Ok(Self { operator, keys: members.into_iter().map(key).collect::<Result<_, PolicyError>>()? })
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(key, _)| key.as_str())
    }

    /// The keys with several values that it compares as if they had one.
    pub(super) fn vain_keys(&self) -> impl Iterator<Item = &str> {
        let is_plain = self.operator.quantifier.is_none() && self.operator.row.comparison != Comparison::Null;
        let keys = self.keys.iter().filter(move |(key, _)| is_plain && key.is_multivalued());
        keys.map(|(key, _)| key.as_str())
    }

    pub(super) fn is_for_all_values(&self) -> bool {
        self.operator.quantifier == Some(Quantifier::ForAllValues)
    }

    /// The operator as a policy spells it.
    pub(super) fn operator(&self) -> String {
        self.operator.to_string()
    }

    pub(super) fn holds(&self, context: View<'_>, effect: Effect) -> bool {
        self.keys.iter().all(|(key, wanted)| self.operator.holds(key, wanted, context, effect))
    }
}

fn check_key(key: &str) -> Result<(), PolicyError> {
    let is_key = key.split_once(':').is_some_and(|(prefix, name)| !prefix.is_empty() && !name.is_empty());
    if is_key { Ok(()) } else { Err(Cause::Expected("a condition key `prefix:name`").into()) }
}

impl Operator {
    /// An ARN is compared component by component: with a pattern that has fewer of them, no Allow compares it.
    fn compares_in_vain(&self, wanted: &[Written<Meaning>]) -> bool {
        let is_whole = |value: &Written<Meaning>| match &value.meaning {
            Meaning::Arn(pattern) => pattern.is_whole(),
            Meaning::Absence(_)
            | Meaning::Binary
            | Meaning::Moment(..)
            | Meaning::Network(_)
            | Meaning::Number(_)
            | Meaning::Text(_) => true,
        };
        self.row.comparison == Comparison::Arn && !wanted.iter().any(is_whole)
    }

    /// A variable without a value makes its pattern match nothing; but no Allow is the wider for it.
    fn holds(
        &self,
        key: &ConditionKey,
        wanted: &[Written<Meaning>],
        context: View<'_>,
        effect: Effect,
    ) -> bool {
        let mut values = context.values(key);
        let is_absent = context.values(key).next().is_none();
        let Row { comparison, is_negated, .. } = *self.row;
        if comparison == Comparison::Null {
            return wanted.iter().any(|value| value.meaning == Meaning::Absence(is_absent));
        }
        let allows = effect == Effect::Allow;
        if allows && self.compares_in_vain(wanted) && !is_absent {
            return false;
        }
        let is_matched = |text| wanted.iter().any(|value| value.matches(text, context, (effect, is_negated)));
        match self.quantifier {
            None if is_absent => is_negated || self.if_exists,
            // Several values cannot be compared as if they were one; but no Deny is the narrower for it.
            None if allows && (key.is_multivalued() || context.values(key).nth(1).is_some()) => false,
            None => values.any(|text| is_matched(text) != is_negated),
            Some(Quantifier::ForAllValues) => values.all(|text| is_matched(text) != is_negated),
            Some(Quantifier::ForAnyValue) => values.any(|text| is_matched(text) != is_negated),
        }
    }
}

impl Comparison {
    /// What a value of the policy means under this comparison.
    fn read(self, text: &str, variables: bool) -> Result<Meaning, PolicyError> {
        let expected = |what| PolicyError::from(Cause::Expected(what));
        match self {
            Self::Arn => Ok(Meaning::Arn(ArnPattern::parse(text, variables)?)),
            Self::Binary => {
                STANDARD.decode(text).map_err(|_| expected("base64 with padding"))?;
                Ok(Meaning::Binary)
            }
            Self::Boolean => {
                let pattern =
                    Pattern::parse(text, Syntax { case: Case::Ignored, variables, wildcards: false })?;
                let is_readable = pattern.has_variables() || parse_boolean(text).is_some();
                is_readable.then_some(Meaning::Text(pattern)).ok_or_else(|| expected(A_BOOLEAN))
            }
            Self::Date(order) => parse_moment(text)
                .map(|moment| Meaning::Moment(order, moment))
                .ok_or_else(|| expected("a date such as `2026-11-30T12:00:00Z`, or seconds since 1970")),
            Self::Network => Network::parse(text)
                .map(Meaning::Network)
                .ok_or_else(|| expected("an IP address or a range such as `10.0.0.0/8`")),
            Self::Null => parse_boolean(text).map(Meaning::Absence).ok_or_else(|| expected(A_BOOLEAN)),
            Self::Number(order) => Decimal::parse(text)
                .map(|_| Meaning::Number(order))
                .ok_or_else(|| expected("a decimal number without exponent")),
            Self::Text { case, wildcards } => {
                Ok(Meaning::Text(Pattern::parse(text, Syntax { case, variables, wildcards })?))
            }
        }
    }
}

const A_BOOLEAN: &str = "`true` or `false`";

fn parse_boolean(text: &str) -> Option<bool> {
    [true, false].into_iter().find(|value| text.eq_ignore_ascii_case(if *value { "true" } else { "false" }))
}

impl Written<Meaning> {
    fn matches(&self, text: &str, context: View<'_>, (effect, is_negated): (Effect, bool)) -> bool {
        let allows = effect == Effect::Allow;
        // No Allow is the wider for what cannot be compared, and no Deny the narrower for what is made to take long.
        let otherwise = Otherwise { if_unresolved: is_negated && allows, if_exhausted: is_negated == allows };
        match &self.meaning {
            Meaning::Absence(_) => false,
            Meaning::Arn(pattern) => {
                (pattern.is_whole() || !allows) && pattern.matches(text, context, otherwise)
            }
            Meaning::Binary => *self.source == *text,
            Meaning::Moment(order, moment) => {
                parse_moment(text).is_some_and(|actual| order.accepts(actual.cmp(moment)))
            }
            Meaning::Network(network) => text.parse().is_ok_and(|address| network.contains(address)),
            Meaning::Number(order) => {
                let numbers = Decimal::parse(text).zip(Decimal::parse(&self.source));
                numbers.is_some_and(|(actual, wanted)| order.accepts(actual.cmp(&wanted)))
            }
            Meaning::Text(pattern) => pattern.matches(text, context, otherwise),
        }
    }
}

impl Order {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

const IF_EXISTS: &str = "IfExists";

impl Quantifier {
    const ALL: [Self; 2] = [Self::ForAllValues, Self::ForAnyValue];

    const fn prefix(self) -> &'static str {
        match self {
            Self::ForAllValues => "ForAllValues:",
            Self::ForAnyValue => "ForAnyValue:",
        }
    }
}

impl Operator {
    fn parse(name: &str) -> Option<Self> {
        let of_prefix = |quantifier: Quantifier| {
            let (start, rest) = name.split_at_checked(quantifier.prefix().len())?;
            start.eq_ignore_ascii_case(quantifier.prefix()).then_some((Some(quantifier), rest))
        };
        let (quantifier, name) = Quantifier::ALL.into_iter().find_map(of_prefix).unwrap_or((None, name));
        let of_suffix = |at| name.split_at_checked(at).filter(|(_, end)| end.eq_ignore_ascii_case(IF_EXISTS));
        let (name, if_exists) = match name.len().checked_sub(IF_EXISTS.len()).and_then(of_suffix) {
            Some((name, _)) => (name, true),
            None => (name, false),
        };
        let row = OPERATORS.iter().find(|row| row.name.eq_ignore_ascii_case(name))?;
        let is_plain = quantifier.is_none() && !if_exists;
        (is_plain || row.comparison != Comparison::Null).then_some(Self { quantifier, row, if_exists })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.quantifier.map_or("", Quantifier::prefix);
        write!(f, "{prefix}{}{}", self.row.name, if self.if_exists { IF_EXISTS } else { "" })
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.keys.iter().map(|(key, values)| (key.as_str(), Values(values))))
    }
}

#[cfg(test)]
pub(super) fn operator_names() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|row| row.name)
}
