//! Shapes of the KMS API, read from their description.

use std::collections::HashMap;
use std::sync::Arc;

use regex_lite::Regex;

use crate::kms::operation::OperationName;

/// What a member may hold.
#[derive(Debug)]
pub(super) enum Shape {
    /// Never shown, whether it is marked as sensitive or not.
    Blob {
        length: Option<Bounds>,
    },
    Boolean,
    Enum(EnumSet),
    Integer(Bounds),
    List {
        of: Arc<Shape>,
        length: Option<Bounds>,
    },
    Map {
        key: Arc<Shape>,
        value: Arc<Shape>,
    },
    String {
        length: Option<Bounds>,
        pattern: Option<Pattern>,
        is_sensitive: bool,
    },
    Structure(Structure),
    Timestamp,
}

/// Both ends are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: i64,
    pub(super) max: i64,
}

#[derive(Debug, Default)]
pub(super) struct Structure {
    /// In the order of the service model, which is that of the errors.
    pub(super) members: Vec<Member>,
}

#[derive(Debug)]
pub(super) struct Member {
    /// As on the wire: `KeyId`.
    pub(super) name: String,
    /// As in messages: `keyId`.
    pub(super) path: String,
    pub(super) is_required: bool,
    pub(super) shape: Arc<Shape>,
}

#[derive(Debug)]
pub(super) struct Pattern {
    /// As the service model spells it.
    pub(super) text: String,
    pub(super) regex: Regex,
}

#[derive(Debug)]
pub(super) struct EnumSet {
    pub(super) values: Vec<String>,
    /// `[A, B]`, in the order that AWS answers.
    pub(super) shown: String,
}

/// The inputs of all operations.
#[derive(Debug)]
pub(super) struct Shapes {
    operations: HashMap<OperationName, Structure>,
}

/// A line of the description that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine(pub(super) String);

/// Where the members of the lines that follow go.
enum Open {
    Operation(OperationName, Structure),
    Structure(String, Structure),
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    shapes: HashMap<String, Arc<Shape>>,
    operations: HashMap<OperationName, Structure>,
    open: Option<Open>,
}

impl Shapes {
    pub(super) fn parse(description: &str) -> Result<Self, BadLine> {
        let mut reader = Reader::default();
        for line in description.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            reader.line(line).ok_or_else(|| BadLine(line.to_owned()))?;
        }
        reader.close();
        let missing = OperationName::ALL.iter().find(|name| !reader.operations.contains_key(name));
        match missing {
            Some(name) => Err(BadLine(format!("operation {name}"))),
            None => Ok(Self { operations: reader.operations }),
        }
    }

    pub(super) fn input(&self, operation: OperationName) -> Option<&Structure> {
        self.operations.get(&operation)
    }
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<()> {
        if let Some(member) = line.strip_prefix("  ") {
            return self.member(member);
        }
        self.close();
        // A pattern may hold anything, also blanks.
        let (facts, pattern) = match line.split_once(" ~ ") {
            Some((facts, pattern)) => (facts, Some(pattern)),
            None => (line, None),
        };
        let words: Vec<&str> = facts.split(' ').collect();
        let (&kind, words) = words.split_first()?;
        let (&name, words) = words.split_first()?;
        let shape = match (kind, words) {
            ("operation", []) => {
                self.open = Some(Open::Operation(OperationName::parse(name)?, Structure::default()));
                return Some(());
            }
            ("structure", []) => {
                self.open = Some(Open::Structure(name.to_owned(), Structure::default()));
                return Some(());
            }
            ("blob", _) => Shape::Blob { length: text_facts(words)?.0 },
            ("boolean", []) => Shape::Boolean,
            ("enum", _) => Shape::Enum(EnumSet::new(words)),
            ("integer", [bounds]) => Shape::Integer(Bounds::parse(bounds)?),
            ("list", [of, length @ ..]) => Shape::List { of: self.known(of)?, length: text_facts(length)?.0 },
            ("map", [key, value]) => Shape::Map { key: self.known(key)?, value: self.known(value)? },
            ("string", _) => {
                let (length, is_sensitive) = text_facts(words)?;
                let pattern = match pattern {
                    Some(text) => Some(Pattern::new(text)?),
                    None => None,
                };
                Shape::String { length, pattern, is_sensitive }
            }
            ("timestamp", []) => Shape::Timestamp,
            _ => return None,
        };
        self.shapes.insert(name.to_owned(), Arc::new(shape));
        Some(())
    }

    fn member(&mut self, line: &str) -> Option<()> {
        let (name, shape) = line.split_once(' ')?;
        let shape = self.known(shape)?;
        let (name, is_required) = match name.strip_suffix('!') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let mut path = name.to_owned();
        path.get_mut(..1)?.make_ascii_lowercase();
        let member = Member { name: name.to_owned(), path, is_required, shape };
        match self.open.as_mut()? {
            Open::Operation(_, structure) | Open::Structure(_, structure) => structure.members.push(member),
        }
        Some(())
    }

    fn close(&mut self) {
        match self.open.take() {
            Some(Open::Operation(name, structure)) => {
                self.operations.insert(name, structure);
            }
            Some(Open::Structure(name, structure)) => {
                self.shapes.insert(name, Arc::new(Shape::Structure(structure)));
            }
            None => {}
        }
    }

    fn known(&self, name: &str) -> Option<Arc<Shape>> {
        self.shapes.get(name).map(Arc::clone)
    }
}

/// `[MIN..MAX] [sensitive]`.
fn text_facts(words: &[&str]) -> Option<(Option<Bounds>, bool)> {
    Some(match words {
        [] => (None, false),
        ["sensitive"] => (None, true),
        [bounds] => (Some(Bounds::parse(bounds)?), false),
        [bounds, "sensitive"] => (Some(Bounds::parse(bounds)?), true),
        _ => return None,
    })
}

impl Bounds {
    fn parse(text: &str) -> Option<Self> {
        let (min, max) = text.split_once("..")?;
        Some(Self { min: min.parse().ok()?, max: max.parse().ok()? })
    }
}

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        let regex = Regex::new(&format!("^(?:{text})$")).ok()?;
        Some(Self { text: text.to_owned(), regex })
    }
}

impl EnumSet {
    fn new(values: &[&str]) -> Self {
        let shown = format!("[{}]", in_hash_order(values).join(", "));
        Self { values: values.iter().map(|&value| value.to_owned()).collect(), shown }
    }
}

/// The order in which AWS names the values of an enumeration: that of a hash set of strings in Java.
fn in_hash_order<'v>(values: &[&'v str]) -> Vec<&'v str> {
    let buckets = (values.len() * 4 / 3 + 1).max(16).next_power_of_two();
    let mask = u32::try_from(buckets - 1).unwrap_or(u32::MAX);
    let bucket = |value: &str| {
        let step = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(u32::from(unit));
        let hash = value.encode_utf16().fold(0, step);
        (hash ^ (hash >> 16)) & mask
    };
    let mut ordered = values.to_vec();
    ordered.sort_by_key(|value| bucket(value));
    ordered
}

#[cfg(test)]
mod tests {
    use super::in_hash_order;

    #[test]
    fn enumerations_are_named_in_the_order_of_aws() {
        let sorted = ["HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"];
        let answered = ["HMAC_SHA_384", "HMAC_SHA_256", "HMAC_SHA_224", "HMAC_SHA_512"];
        assert_eq!(in_hash_order(&sorted), answered);
    }
}
