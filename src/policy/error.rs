//! Why a policy is refused, and where in it the fault stands.

use std::fmt;

/// How much of a member's name an error repeats.
const NAME_CHARS_MAX: usize = 64;

/// A refused policy: the statement and member at fault, and the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Number, counted from one, and `Sid`.
    statement: Option<(usize, Option<String>)>,
    members: Vec<String>,
    cause: Cause,
}

/// Everything that can be wrong with a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    AllowWithNotPrincipal,
    AmbiguousElement {
        other: &'static str,
    },
    DuplicateMember,
    DuplicateSid,
    EmptyList,
    EmptyMember,
    /// The member is not what it has to be.
    Expected(&'static str),
    IllegalCharacter,
    InvalidVariable,
    MissingElement(&'static str),
    NotJson {
        line: usize,
        column: usize,
    },
    PrincipalGroup,
    PrincipalWildcard,
    TooLarge {
        bytes_max: usize,
    },
    TooManyStatements {
        statements_max: usize,
    },
    TooManyValues {
        values_max: usize,
    },
    UnknownElement,
    UnknownOperator,
    UnknownPrincipalType,
}

impl PolicyError {
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The statement at fault, counted from one; absent if the fault is not in a statement.
    pub fn statement_number(&self) -> Option<usize> {
        self.statement.as_ref().map(|(number, _)| *number)
    }

    /// Members outside the statement go without saying.
    pub(super) fn in_member(mut self, name: &str) -> Self {
        if self.statement.is_some() {
            return self;
        }
        let mut shown: String = name.chars().take(NAME_CHARS_MAX).flat_map(char::escape_debug).collect();
        if name.chars().nth(NAME_CHARS_MAX).is_some() {
            shown.push('…');
        }
        self.members.insert(0, shown);
        self
    }

    pub(super) fn in_statement(mut self, number: usize, sid: Option<&str>) -> Self {
        self.statement = Some((number, sid.map(str::to_owned)));
        self
    }
}

impl From<Cause> for PolicyError {
    fn from(cause: Cause) -> Self {
        Self { statement: None, members: Vec::new(), cause }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((number, sid)) = &self.statement {
            write!(f, "statement {number}")?;
            sid.iter().try_for_each(|sid| write!(f, " `{sid}`"))?;
            f.write_str(if self.members.is_empty() { ": " } else { ", " })?;
        }
        if !self.members.is_empty() {
            write!(f, "`{}`: ", self.members.join("."))?;
        }
        self.cause.fmt(f)
    }
}

impl std::error::Error for PolicyError {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowWithNotPrincipal => f.write_str(
                "with `Allow` this would let in everyone not named; use `Principal`, or `Deny` with `NotPrincipal`",
            ),
            Self::AmbiguousElement { other } => write!(f, "excludes `{other}` in the same statement"),
            Self::DuplicateMember => f.write_str("occurs twice in one object"),
            Self::DuplicateSid => f.write_str("another statement has the same `Sid`"),
            Self::EmptyList => f.write_str("an empty list selects nothing"),
            Self::EmptyMember => f.write_str("must not be empty"),
            Self::Expected(what) => write!(f, "must be {what}"),
            Self::IllegalCharacter => {
                f.write_str("only tab, line feed, carriage return and U+0020 to U+00FF are allowed")
            }
            Self::InvalidVariable => {
                f.write_str("a policy variable is `${key}`, `${key, 'default'}`, `${*}`, `${?}` or `${$}`")
            }
            Self::MissingElement(name) => write!(f, "`{name}` is missing"),
            Self::NotJson { line, column } => write!(f, "not JSON at line {line}, column {column}"),
            Self::PrincipalGroup => f.write_str("a group is not a principal; name its users or roles"),
            Self::PrincipalWildcard => f.write_str(
                "`*` and `?` are not allowed inside a principal; use `*` and a condition on `aws:PrincipalArn`",
            ),
            Self::TooLarge { bytes_max } => write!(f, "a policy has at most {bytes_max} bytes"),
            Self::TooManyStatements { statements_max } => {
                write!(f, "a policy has at most {statements_max} statements")
            }
            Self::TooManyValues { values_max } => write!(f, "a list has at most {values_max} values"),
            Self::UnknownElement => f.write_str("unknown element"),
            Self::UnknownOperator => f.write_str("unknown condition operator"),
            Self::UnknownPrincipalType => f.write_str("unknown principal type; use `AWS`, `Service` or `Federated`"),
        }
    }
}
