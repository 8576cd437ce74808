//! A whole policy: read once into what can be evaluated, and printed back.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

use crate::policy::action_index::ActionIndex;
use crate::policy::action_index::MustAsk;
use crate::policy::error::Cause;
use crate::policy::error::PolicyError;
use crate::policy::json::Node;
use crate::policy::statement::Statement;

/// The longest policy text.
pub const POLICY_BYTES_MAX: usize = 32_768;
/// The most statements in one policy.
pub const STATEMENTS_MAX: usize = 512;

/// A policy that has been read and can be evaluated. Whatever could not be evaluated was refused.
///
/// Two documents are equal if they say the same in the same order; printing one gives JSON that reads as an equal
/// document, with single values without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDocument {
    version: Option<Version>,
    id: Option<Box<str>>,
    statements: Vec<Statement>,
    by_action: ActionIndex,
}

/// The version of the policy language. The older one, also meant when none is given, has no policy variables:
/// there `${…}` is ordinary text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V2008,
    V2012,
}

impl PolicyDocument {
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(Cause::TooLarge { bytes_max: POLICY_BYTES_MAX }.into());
        }
        Self::read(Node::parse(text)?)
    }

    fn read(node: Node) -> Result<Self, PolicyError> {
        let mut members = node.into_members()?;
        let version = members.take("Version", Version::parse)?;
        let id = members.take("Id", Node::into_text)?.map(Box::from);
        let variables = version == Some(Version::V2012);
        let statements = members
            .take("Statement", |node| parse_statements(node, variables))?
            .ok_or(Cause::MissingElement("Statement"))?;
        members.finish()?;
        Ok(Self { version, id, by_action: index(&statements), statements })
    }

    /// Every condition key the policy tests, with repetitions, so that whoever knows the keys of its requests can
    /// refuse one that will never be there.
    pub fn condition_keys(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().flat_map(Statement::condition_keys)
    }

    /// The condition keys tested with `ForAllValues:`, which is true of a request without them.
    pub fn keys_for_all_values(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().flat_map(Statement::keys_for_all_values)
    }

    /// The number, counted from one, of a statement that names no principal: right for the policies of an identity,
    /// wrong for those of a resource.
    pub fn statement_without_principal(&self) -> Option<usize> {
        self.statements.iter().position(|statement| !statement.names_principals()).map(|index| index + 1)
    }

    /// The number of a statement, an operator that compares one value, and a key with several: these never hold.
    pub fn vain_conditions(&self) -> impl Iterator<Item = (usize, String, &str)> {
        let numbered = (1..).zip(&self.statements);
        numbered.flat_map(|(number, statement)| {
            statement.vain_conditions().map(move |(operator, key)| (number, operator, key))
        })
    }

    /// The numbers, counted from one, of the statements that name no resource.
    pub fn statements_without_resource(&self) -> impl Iterator<Item = usize> {
        let numbered = (1..).zip(&self.statements);
        numbered.filter(|(_, statement)| !statement.names_resources()).map(|(number, _)| number)
    }

    /// Whether the context can change what the policy says; if not, an empty one does.
    pub fn needs_context(&self) -> bool {
        self.statements.iter().any(Statement::needs_context)
    }

    /// The policy as a key has it: there, statements that name no resource have no effect.
    #[must_use]
    pub fn for_a_key(mut self) -> Self {
        let actions = |statement| Statement::names_resources(statement).then(|| statement.literal_actions());
        // A statement that names no action is never found; the numbers of the others stay.
        self.by_action =
            ActionIndex::new(self.statements.iter().map(|it| actions(it).unwrap_or(Some(Vec::new()))));
        self
    }

    pub const fn has_version(&self) -> bool {
        self.version.is_some()
    }

    pub fn names_a_principal(&self) -> bool {
        self.statements.iter().any(Statement::names_principals)
    }

    pub fn names_principals_throughout(&self) -> bool {
        self.statements.iter().all(Statement::names_principals)
    }

    pub fn names_a_resource(&self) -> bool {
        self.statements.iter().any(Statement::names_resources)
    }

    pub fn names_resources_throughout(&self) -> bool {
        self.statements.iter().all(Statement::names_resources)
    }

    /// The statements that can be about an action, with their numbers counted from one, and whether they have to be
    /// asked still.
    pub(super) fn statements_about(
        &self,
        action: &str,
    ) -> impl Iterator<Item = (usize, &Statement, MustAsk)> {
        let numbered = |(position, must_ask): (usize, MustAsk)| {
            self.statements.get(position).map(|statement| (position + 1, statement, must_ask))
        };
        self.by_action.about(action).filter_map(numbered)
    }
}

fn index(statements: &[Statement]) -> ActionIndex {
    ActionIndex::new(statements.iter().map(Statement::literal_actions))
}

/// A list of statements, or one alone.
fn parse_statements(node: Node, variables: bool) -> Result<Vec<Statement>, PolicyError> {
    let nodes = node.into_values()?;
    if nodes.len() > STATEMENTS_MAX {
        return Err(Cause::TooManyStatements { statements_max: STATEMENTS_MAX }.into());
    }
    let mut statements: Vec<Statement> = Vec::with_capacity(nodes.len());
    let mut sids = BTreeSet::new();
    for (number, node) in (1..).zip(nodes) {
        let statement = Statement::parse(node, number, variables)?;
        if let Some(sid) = &statement.sid
            && !sids.insert(sid.clone())
        {
            return Err(PolicyError::from(Cause::DuplicateSid).in_statement(number, Some(sid)));
        }
        statements.push(statement);
    }
    Ok(statements)
}

impl Version {
    const fn name(self) -> &'static str {
        match self {
            Self::V2008 => "2008-10-17",
            Self::V2012 => "2012-10-17",
        }
    }

    fn parse(node: Node) -> Result<Self, PolicyError> {
        let text = node.into_text()?;
        let version = [Self::V2008, Self::V2012].into_iter().find(|version| version.name() == text);
        version.ok_or(Cause::Expected("`2012-10-17` or `2008-10-17`").into())
    }
}

/// A document as a member of other JSON: an object, or a text that is one. The whole remains readable whatever it says.
pub struct Embedded(pub Result<PolicyDocument, PolicyError>);

impl<'de> Deserialize<'de> for Embedded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Node::deserialize(deserializer)? {
            Node::Text(text) => PolicyDocument::parse(&text),
            node @ (Node::Boolean(_) | Node::List(_) | Node::Null | Node::Number(_) | Node::Object(_)) => {
                PolicyDocument::read(node)
            }
        }))
    }
}

impl FromStr for PolicyDocument {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::parse(text)
    }
}

impl Serialize for PolicyDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(version) = self.version {
            map.serialize_entry("Version", version.name())?;
        }
        if let Some(id) = &self.id {
            map.serialize_entry("Id", id)?;
        }
        map.serialize_entry("Statement", &self.statements)?;
        map.end()
    }
}

impl fmt::Display for PolicyDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
