//! A decision and what made it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::authorizer::evaluation::{Deciding, Denial, Explicit, Grounds, Layer, Verdict};

/// Decisions, in the words of the IAM policy simulator (AWS KMS Developer Guide, Determining access).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    Allowed,
    ExplicitDeny,
    ImplicitDeny,
}

/// What would be decided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub decision: Decision,
    pub action: String,
    pub resource: String,
    /// The statements that allow or deny it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Determining>,
    /// The id of the grant that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Of an implicit deny, the kind of policies of which none allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A statement that makes a decision.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Determining {
    /// Which kind of policy, in the words of AWS.
    pub kind: String,
    /// The name of the policy; absent if the resource has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its `Sid`, or its number.
    pub statement: String,
}

impl Answer {
    /// `grant` names the grant that was considered.
    pub fn new(verdict: Verdict<'_>, action: &str, resource: &str, grant: Option<&str>) -> Self {
        let answer = Self {
            decision: Decision::Allowed,
            action: action.to_owned(),
            resource: resource.to_owned(),
            statements: Vec::new(),
            grant: None,
            missing: None,
        };
        match verdict {
            Verdict::Allowed(Grounds { resource, identity, is_granted }) => Self {
                statements: (resource.map(|it| Determining::new(Layer::Resource, None, it.to_string())))
                    .into_iter()
                    .chain(identity.map(Determining::of_identity))
                    .collect(),
                grant: grant.filter(|_| is_granted).map(str::to_owned),
                ..answer
            },
            Verdict::Denied(Denial { layer, explicit: Some(Explicit { policy, statement }) }) => Self {
                decision: Decision::ExplicitDeny,
                statements: vec![Determining::new(layer, policy.map(String::from), statement.into())],
                ..answer
            },
            Verdict::Denied(Denial { layer, explicit: None }) => {
                Self { decision: Decision::ImplicitDeny, missing: Some(layer.to_string()), ..answer }
            }
        }
    }
}

impl Determining {
    fn new(layer: Layer, policy: Option<String>, statement: String) -> Self {
        Self { kind: layer.to_string(), policy, statement }
    }

    fn of_identity(Deciding { policy, statement }: Deciding<'_>) -> Self {
        Self::new(Layer::Identity, Some(policy.to_owned()), statement.to_string())
    }
}

impl Decision {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::ExplicitDeny => "explicitDeny",
            Self::ImplicitDeny => "implicitDeny",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} on {}", self.decision.as_str(), self.action, self.resource)?;
        let (made, mut separator) = match self.decision {
            Decision::Allowed => ("allowed by", "; "),
            Decision::ExplicitDeny => ("denied by", "; "),
            Decision::ImplicitDeny => ("", ""),
        };
        let made_by = self.statements.iter().map(ToString::to_string);
        for maker in made_by.chain(self.grant.iter().map(|id| format!("grant {id}"))) {
            write!(
                f,
                "{separator}{}{maker}",
                if separator == "; " { format!("{made} ") } else { String::new() }
            )?;
            separator = " and ";
        }
        match &self.missing {
            Some(kind) => write!(f, "; no {kind} allows it"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Determining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of the {}", self.statement, self.kind)?;
        self.policy.iter().try_for_each(|policy| write!(f, " `{policy}`"))
    }
}
