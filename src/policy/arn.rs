//! ARNs, and patterns of ARNs that are compared component by component.

use crate::policy::error::Cause;
use crate::policy::error::PolicyError;
use crate::policy::pattern::Case;
use crate::policy::pattern::Otherwise;
use crate::policy::pattern::Pattern;
use crate::policy::pattern::Piece;
use crate::policy::pattern::Syntax;
use crate::policy::pattern::pieces;
use crate::policy::request::View;

const COMPONENTS: usize = 6;

/// The components of an ARN after `arn`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arn<'a> {
    pub(super) partition: &'a str,
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
}

impl<'a> Arn<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut components = text.strip_prefix("arn:")?.splitn(COMPONENTS - 1, ':');
        let [partition, service, region, account, resource] = std::array::from_fn(|_| components.next());
        let arn = Self {
            partition: partition?,
            service: service?,
            region: region?,
            account: account?,
            resource: resource?,
        };
        let is_whole =
            [arn.partition, arn.service, arn.resource].iter().all(|component| !component.is_empty());
        is_whole.then_some(arn)
    }
}

/// `*`, or an ARN with wildcards. A wildcard stays within its component, except in the last one; a pattern with
/// fewer than six components must end in `*`, which then stands for all the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArnPattern {
    Any,
    Components(Box<[Pattern]>),
}

impl ArnPattern {
    pub(super) fn parse(source: &str, variables: bool) -> Result<Self, PolicyError> {
        if source == "*" {
            return Ok(Self::Any);
        }
        let syntax = Syntax { case: Case::Respected, variables, wildcards: true };
        let components = components(pieces(source, syntax)?);
        let starts_well = components.first().is_some_and(|scheme| *scheme == [Piece::Text("arn".into())]);
        let ends_well = components.len() == COMPONENTS
            || components.last().is_some_and(|last| last.last() == Some(&Piece::AnyRun));
        // Only region and account may be empty.
        let is_filled =
            components.iter().enumerate().all(|(at, pieces)| at == 3 || at == 4 || !pieces.is_empty());
        if !(starts_well && ends_well && is_filled) {
            return Err(Cause::Expected("`*` or `arn:partition:service:region:account:resource`").into());
        }
        let pattern = |pieces| Pattern::new(pieces, Case::Respected);
        Ok(Self::Components(components.into_iter().map(pattern).collect()))
    }

    /// Of a resource: there, a variable is one only after the fifth colon, and else ordinary text (IAM User Guide, IAM
    /// policy elements: Variables and tags).
    pub(super) fn parse_resource(source: &str, variables: bool) -> Result<Self, PolicyError> {
        let start = source.match_indices(':').nth(COMPONENTS - 2).map_or(source.len(), |(at, _)| at);
        let has_early = source.get(..start).is_some_and(|start| start.contains("${"));
        Self::parse(source, variables && !has_early)
    }

    /// Whether it has all components of an ARN.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Components(patterns) => patterns.len() == COMPONENTS,
        }
    }

    pub(super) fn has_variables(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Components(patterns) => patterns.iter().any(Pattern::has_variables),
        }
    }

    pub(super) fn matches(&self, text: &str, context: View<'_>, otherwise: Otherwise) -> bool {
        match self {
            Self::Any => true,
            Self::Components(patterns) => {
                let mut components = text.splitn(patterns.len(), ':');
                patterns.iter().all(|pattern| {
                    components.next().is_some_and(|component| pattern.matches(component, context, otherwise))
                })
            }
        }
    }
}

/// Splits at the first five colons; those inside a variable do not count.
fn components(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut done = Vec::new();
    let mut current = Vec::new();
    for piece in pieces {
        let Piece::Text(text) = piece else {
            current.push(piece);
            continue;
        };
        let mut parts = text.splitn(COMPONENTS - done.len(), ':').peekable();
        while let Some(part) = parts.next() {
            if !part.is_empty() {
                current.push(Piece::Text(part.into()));
            }
            if parts.peek().is_some() {
                done.push(std::mem::take(&mut current));
            }
        }
    }
    done.push(current);
    done
}
