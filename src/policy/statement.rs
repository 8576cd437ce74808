//! One statement: what it says, whether it applies to a request, and how it is read and printed.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

use crate::policy::action_index::MustAsk;
use crate::policy::arn::ArnPattern;
use crate::policy::condition::Condition;
use crate::policy::error::Cause;
use crate::policy::error::PolicyError;
use crate::policy::json::Members;
use crate::policy::json::Node;
use crate::policy::pattern::Case;
use crate::policy::pattern::Otherwise;
use crate::policy::pattern::Pattern;
use crate::policy::pattern::Syntax;
use crate::policy::principal::Naming;
use crate::policy::principal::Principals;
use crate::policy::request::Principal;
use crate::policy::request::Request;
use crate::policy::request::View;
use crate::policy::written::Values;
use crate::policy::written::Written;

const ACTION_BYTES_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// An element or its negation, such as `Action` and `NotAction`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selector<T> {
    AllBut(T),
    Only(T),
}

type Actions = Vec<Written<Pattern>>;
type Resources = Vec<Written<ArnPattern>>;

/// A statement of a policy. An absent element does not restrict it: without `Principal` it is about every caller
/// the policy is asked about, without `Resource` about every resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    principals: Option<Selector<Principals>>,
    actions: Selector<Actions>,
    resources: Option<Selector<Resources>>,
    conditions: Vec<Condition>,
}

impl Statement {
    /// Whether it is about the request, and if so, by which name it means the caller.
    pub(super) fn applies(&self, request: &Request<'_>, view: View<'_>, action: MustAsk) -> Option<Naming> {
        if action == MustAsk::Yes && !self.applies_to_action(request, view) {
            return None;
        }
        let naming = self.names(&request.principal)?;
        let is_about = self.applies_to_resource(request, view)
            && self.conditions.iter().all(|condition| condition.holds(view, self.effect));
        is_about.then_some(naming)
    }

    /// The actions it names, if it names them all without wildcards.
    pub(super) fn literal_actions(&self) -> Option<Vec<&str>> {
        let Selector::Only(actions) = &self.actions else { return None };
        actions.iter().map(|action| action.meaning.literal()).collect()
    }

    fn applies_to_action(&self, request: &Request<'_>, view: View<'_>) -> bool {
        let is_in = |actions: &Actions, otherwise| {
            actions.iter().any(|action| action.meaning.matches(request.action, view, otherwise))
        };
        match &self.actions {
            Selector::AllBut(actions) => !is_in(actions, self.otherwise(Effect::Allow)),
            Selector::Only(actions) => is_in(actions, self.otherwise(Effect::Deny)),
        }
    }

    fn names(&self, caller: &Principal<'_>) -> Option<Naming> {
        match &self.principals {
            // Of a policy of an identity, which is about that identity.
            None => Some(Naming::Exactly),
            Some(Selector::AllBut(principals)) => (!principals.spare(caller)).then_some(Naming::WithOthers),
            Some(Selector::Only(principals)) => principals.name(caller),
        }
    }

    fn applies_to_resource(&self, request: &Request<'_>, view: View<'_>) -> bool {
        let is_in = |resources: &Resources, otherwise| {
            let matches =
                |resource: &Written<ArnPattern>| resource.meaning.matches(request.resource, view, otherwise);
            resources.iter().any(matches)
        };
        match &self.resources {
            None => true,
            // An Allow must not be the wider for a variable without a value.
            Some(Selector::AllBut(resources)) => {
                let otherwise = self.otherwise(Effect::Allow);
                !is_in(resources, Otherwise { if_unresolved: otherwise.if_exhausted, ..otherwise })
            }
            Some(Selector::Only(resources)) => is_in(resources, self.otherwise(Effect::Deny)),
        }
    }

    /// That a list of this statement has something in it which would take too long to compare, if this is its effect.
    fn otherwise(&self, effect: Effect) -> Otherwise {
        Otherwise { if_unresolved: false, if_exhausted: self.effect == effect }
    }
}

impl Statement {
    pub(super) fn condition_keys(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().flat_map(Condition::keys)
    }

    pub(super) fn keys_for_all_values(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().filter(|condition| condition.is_for_all_values()).flat_map(Condition::keys)
    }

    /// Operators that compare one value, each with a key that has several: these never hold once the key is there.
    pub(super) fn vain_conditions(&self) -> impl Iterator<Item = (String, &str)> {
        let name = Condition::operator;
        self.conditions
            .iter()
            .flat_map(move |condition| condition.vain_keys().map(move |key| (name(condition), key)))
    }

    pub(super) fn names_principals(&self) -> bool {
        self.principals.is_some()
    }

    pub(super) fn names_resources(&self) -> bool {
        self.resources.is_some()
    }

    /// Whether what it says about a request depends on the context.
    pub(super) fn needs_context(&self) -> bool {
        let has_variables = match &self.resources {
            Some(Selector::AllBut(resources) | Selector::Only(resources)) => {
                resources.iter().any(|resource| resource.meaning.has_variables())
            }
            None => false,
        };
        has_variables || !self.conditions.is_empty()
    }

    /// `variables` says whether the version of the policy knows them; `number` counts from one.
    pub(super) fn parse(node: Node, number: usize, variables: bool) -> Result<Self, PolicyError> {
        let in_statement = |error: PolicyError| error.in_statement(number, None);
        let mut members = node.into_members().map_err(in_statement)?;
        let sid = members.take("Sid", parse_sid).map_err(in_statement)?.flatten();
        Self::parse_members(sid.clone(), members, variables)
            .map_err(|error| error.in_statement(number, sid.as_deref()))
    }

    fn parse_members(
        sid: Option<Box<str>>,
        mut members: Members,
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let effect = members.take("Effect", parse_effect)?.ok_or(Cause::MissingElement("Effect"))?;
        let principals = parse_pair(&mut members, ["Principal", "NotPrincipal"], Principals::parse)?;
        if let Some(Selector::AllBut(_)) = &principals {
            check_not_principal(effect).map_err(|error| error.in_member("NotPrincipal"))?;
        }
        let actions = parse_pair(&mut members, ["Action", "NotAction"], parse_actions)?
            .ok_or(Cause::MissingElement("Action"))?;
        let parse_resources = |node| parse_resources(node, variables);
        let resources = parse_pair(&mut members, ["Resource", "NotResource"], parse_resources)?;
        let conditions =
            members.take("Condition", |node| parse_conditions(node, variables))?.unwrap_or_default();
        members.finish()?;
        Ok(Self { sid, effect, principals, actions, resources, conditions })
    }
}

/// Reads an element or its negation; both at once make no sense.
fn parse_pair<T>(
    members: &mut Members,
    [name, not_name]: [&'static str; 2],
    read: impl Fn(Node) -> Result<T, PolicyError>,
) -> Result<Option<Selector<T>>, PolicyError> {
    match (members.take(name, &read)?, members.take(not_name, &read)?) {
        (None, None) => Ok(None),
        (None, Some(value)) => Ok(Some(Selector::AllBut(value))),
        (Some(value), None) => Ok(Some(Selector::Only(value))),
        (Some(_), Some(_)) => {
            Err(PolicyError::from(Cause::AmbiguousElement { other: name }).in_member(not_name))
        }
    }
}

/// An empty `Sid` is as good as none.
fn parse_sid(node: Node) -> Result<Option<Box<str>>, PolicyError> {
    let text = node.into_text()?;
    if text.contains(char::is_control) {
        return Err(Cause::Expected("one line of text").into());
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

fn parse_effect(node: Node) -> Result<Effect, PolicyError> {
    match node.into_text()?.as_str() {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ => Err(Cause::Expected("`Allow` or `Deny`").into()),
    }
}

fn check_not_principal(effect: Effect) -> Result<(), PolicyError> {
    match effect {
        Effect::Allow => Err(Cause::AllowWithNotPrincipal.into()),
        Effect::Deny => Ok(()),
    }
}

fn parse_actions(node: Node) -> Result<Actions, PolicyError> {
    let action = |node: Node| Written::parse(node.into_text()?, parse_action);
    node.into_values()?.into_iter().map(action).collect()
}

fn parse_action(text: &str) -> Result<Pattern, PolicyError> {
    let is_word = |part: &str, extra: &[char]| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || extra.contains(&c))
    };
    let is_action = |(service, name)| is_word(service, &[]) && is_word(name, &['*', '?', '_']);
    if text != "*" && !(text.len() <= ACTION_BYTES_MAX && text.split_once(':').is_some_and(is_action)) {
        return Err(Cause::Expected("`*` or `service:name`, where the name may contain `*` and `?`").into());
    }
    Pattern::parse(text, Syntax { case: Case::Ignored, variables: false, wildcards: true })
}

fn parse_resources(node: Node, variables: bool) -> Result<Resources, PolicyError> {
    let resource =
        |node: Node| Written::parse(node.into_text()?, |text| ArnPattern::parse_resource(text, variables));
    node.into_values()?.into_iter().map(resource).collect()
}

fn parse_conditions(node: Node, variables: bool) -> Result<Vec<Condition>, PolicyError> {
    let condition = |(operator, keys): (String, Node)| {
        Condition::parse(&operator, keys, variables).map_err(|error| error.in_member(&operator))
    };
    let conditions: Vec<_> = node.into_members()?.into_iter().map(condition).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    // Operators are the same in any case.
    match conditions.iter().map(Condition::operator).find(|operator| !seen.insert(operator.clone())) {
        Some(twice) => Err(PolicyError::from(Cause::DuplicateMember).in_member(&twice)),
        None => Ok(conditions),
    }
}

impl Serialize for Statement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(sid) = &self.sid {
            map.serialize_entry("Sid", sid)?;
        }
        map.serialize_entry("Effect", self.effect.name())?;
        match &self.principals {
            None => {}
            Some(Selector::AllBut(principals)) => map.serialize_entry("NotPrincipal", principals)?,
            Some(Selector::Only(principals)) => map.serialize_entry("Principal", principals)?,
        }
        match &self.actions {
            Selector::AllBut(actions) => map.serialize_entry("NotAction", &Values(actions))?,
            Selector::Only(actions) => map.serialize_entry("Action", &Values(actions))?,
        }
        match &self.resources {
            None => {}
            Some(Selector::AllBut(resources)) => map.serialize_entry("NotResource", &Values(resources))?,
            Some(Selector::Only(resources)) => map.serialize_entry("Resource", &Values(resources))?,
        }
        if !self.conditions.is_empty() {
            map.serialize_entry("Condition", &ByOperator(&self.conditions))?;
        }
        map.end()
    }
}

impl Effect {
    const fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// The value of `Condition`.
struct ByOperator<'a>(&'a [Condition]);

impl Serialize for ByOperator<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|condition| (condition.operator(), condition)))
    }
}
