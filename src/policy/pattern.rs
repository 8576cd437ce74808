//! Patterns with wildcards and policy variables, and how a text is matched against one.

use crate::policy::condition_key::ConditionKey;
use crate::policy::error::Cause;
use crate::policy::error::PolicyError;
use crate::policy::request::View;

/// What the characters of a pattern mean; it depends on the element and on the policy's version.
#[derive(Clone, Copy)]
pub(super) struct Syntax {
    pub(super) case: Case,
    pub(super) variables: bool,
    pub(super) wildcards: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Ignored,
    Respected,
}

/// The answers where a pattern and a text cannot be compared.
#[derive(Clone, Copy)]
pub(super) struct Otherwise {
    /// A variable has neither a value in the context nor a default.
    pub(super) if_unresolved: bool,
    /// It would take too long.
    pub(super) if_exhausted: bool,
}

/// A pattern, taken apart once. Matching allocates nothing and does not recurse. It takes time linear in pattern
/// and text, unless a `?` or a variable follows a `*` or case is ignored: then at most the product of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    case: Case,
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// `?`
    AnyOne,
    /// `*`; two never stand side by side.
    AnyRun,
    Text(Box<str>),
    /// `${key}` or `${key, 'default'}`. What it stands for is meant literally, wildcards and all.
    Variable {
        key: ConditionKey,
        default: Option<Box<str>>,
    },
}

impl Pattern {
    pub(super) fn parse(source: &str, syntax: Syntax) -> Result<Self, PolicyError> {
        Ok(Self::new(pieces(source, syntax)?, syntax.case))
    }

    pub(super) fn new(pieces: Vec<Piece>, case: Case) -> Self {
        Self { case, pieces: pieces.into_boxed_slice() }
    }

    /// The only text that it matches, but for case, if there is only one.
    pub(super) fn literal(&self) -> Option<&str> {
        match &*self.pieces {
            [Piece::Text(text)] => Some(text),
            [] | [Piece::AnyOne | Piece::AnyRun | Piece::Variable { .. }] | [_, _, ..] => None,
        }
    }

    pub(super) fn has_variables(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. }))
    }

    pub(super) fn matches(&self, text: &str, context: View<'_>, otherwise: Otherwise) -> bool {
        if !self.pieces.iter().all(|piece| piece.is_resolved(context)) {
            return otherwise.if_unresolved;
        }
        let (mut pieces, mut text) = (&*self.pieces, text);
        // What follows the latest `*`, and the text after what that `*` has swallowed so far.
        let mut retry: Option<(&[Piece], &str)> = None;
        loop {
            if !context.may_spend(pieces.first().map_or(1, Piece::steps)) {
                return otherwise.if_exhausted;
            }
            match pieces {
                [] if text.is_empty() => return true,
                [Piece::AnyRun] => return true,
                // Only the end of the text can match the end of the pattern.
                [Piece::AnyRun, Piece::Text(end)] if self.case == Case::Respected => {
                    return text.ends_with(&**end);
                }
                [Piece::AnyRun, after @ ..] => {
                    retry = Some((after, text));
                    pieces = after;
                }
                [] | [Piece::AnyOne | Piece::Text(_) | Piece::Variable { .. }, ..] => {
                    let advanced = self.strip_first(pieces, text, context).or_else(|| {
                        let (after, from) = retry?;
                        let next = self.next_start(after, from)?;
                        retry = Some((after, next));
                        Some((after, next))
                    });
                    let Some(next) = advanced else { return false };
                    (pieces, text) = next;
                }
            }
        }
    }

    /// The pieces and the text without the first piece and what it matches.
    fn strip_first<'p, 't>(
        &self,
        pieces: &'p [Piece],
        text: &'t str,
        context: View<'_>,
    ) -> Option<(&'p [Piece], &'t str)> {
        let (first, after) = pieces.split_first()?;
        let rest = match first {
            Piece::AnyOne => without_first_char(text),
            Piece::AnyRun => None,
            Piece::Text(prefix) => self.case.strip_prefix(text, prefix),
            Piece::Variable { .. } => self.case.strip_prefix(text, first.value(context)?),
        };
        Some((after, rest?))
    }

    /// The longest proper suffix of `from` at which `pieces` may start.
    fn next_start<'t>(&self, pieces: &[Piece], from: &'t str) -> Option<&'t str> {
        let rest = without_first_char(from)?;
        match (pieces.first(), self.case) {
            (Some(Piece::Text(start)), Case::Respected) => rest.get(rest.find(&**start)?..),
            (Some(_) | None, Case::Ignored | Case::Respected) => Some(rest),
        }
    }
}

impl Piece {
    /// What it takes to compare it, at most.
    fn steps(&self) -> u32 {
        match self {
            Self::AnyOne | Self::AnyRun | Self::Variable { .. } => 1,
            Self::Text(text) => 1 + u32::try_from(text.len() / 16).unwrap_or(u32::MAX - 1),
        }
    }

    fn is_resolved(&self, context: View<'_>) -> bool {
        match self {
            Self::Variable { .. } => self.value(context).is_some(),
            Self::AnyOne | Self::AnyRun | Self::Text(_) => true,
        }
    }

    /// What a variable stands for. A key with several values stands for none of them.
    fn value<'a>(&'a self, context: View<'a>) -> Option<&'a str> {
        match self {
            Self::Variable { key, default } => context.single(key).or(default.as_deref()),
            Self::AnyOne | Self::AnyRun | Self::Text(_) => None,
        }
    }
}

impl Case {
    fn strip_prefix<'t>(self, text: &'t str, prefix: &str) -> Option<&'t str> {
        match self {
            Self::Respected => text.strip_prefix(prefix),
            Self::Ignored => {
                let mut rest = text.chars();
                prefix
                    .chars()
                    .all(|a| rest.next().is_some_and(|b| a == b || a.to_lowercase().eq(b.to_lowercase())))
                    .then_some(rest.as_str())
            }
        }
    }
}

fn without_first_char(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

/// Takes a pattern apart.
pub(super) fn pieces(source: &str, syntax: Syntax) -> Result<Vec<Piece>, PolicyError> {
    let mut pieces = Pieces::default();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        if let Some(opened) = rest.strip_prefix("${").filter(|_| syntax.variables) {
            let (inside, after) = opened.split_once('}').ok_or(Cause::InvalidVariable)?;
            rest = after;
            match inside {
                "*" | "?" | "$" => pieces.text.push_str(inside),
                _ => pieces.push(variable(inside)?),
            }
            continue;
        }
        rest = without_first_char(rest).unwrap_or_default();
        match first {
            '*' if syntax.wildcards => pieces.push(Piece::AnyRun),
            '?' if syntax.wildcards => pieces.push(Piece::AnyOne),
            _ => pieces.text.push(first),
        }
    }
    Ok(pieces.finish())
}

/// Pieces in the making, and the text since the last of them.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    text: String,
}

impl Pieces {
    fn push(&mut self, piece: Piece) {
        self.flush_text();
        if !(piece == Piece::AnyRun && self.done.last() == Some(&Piece::AnyRun)) {
            self.done.push(piece);
        }
    }

    fn flush_text(&mut self) {
        if !self.text.is_empty() {
            self.done.push(Piece::Text(std::mem::take(&mut self.text).into()));
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.flush_text();
        self.done
    }
}

/// The inside of `${…}` where it names a key.
fn variable(inside: &str) -> Result<Piece, PolicyError> {
    let (key, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((key, default)) => {
            let quoted = default.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            (key, Some(quoted.ok_or(Cause::InvalidVariable)?))
        }
    };
    let key = key.trim();
    let is_illegal = |text: &str| text.contains(['$', '{', '\'']);
    if key.is_empty() || is_illegal(key) || default.is_some_and(is_illegal) {
        return Err(Cause::InvalidVariable.into());
    }
    Ok(Piece::Variable { key: ConditionKey::new(key), default: default.map(Box::from) })
}
