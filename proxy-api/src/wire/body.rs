//! From the bytes of a body to its type, with errors that never repeat what was in the body.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

/// Why a body is not what the operation takes. Names members of ours only, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidBody {
    /// A member that the API defines appears twice.
    DuplicateMember(String),
    /// A required member is absent.
    MissingMember(String),
    /// JSON is in UTF-8 (RFC 8259, 8.1).
    NotUtf8,
    /// Not JSON.
    Syntax { line: usize, column: usize },
    /// JSON, but a value of the wrong type.
    WrongType { line: usize, column: usize },
}

/// Reads `body` as a request or response. Unknown members are ignored (XKS v1, Appendix B).
pub fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, InvalidBody> {
    // Looked at whole, because the values of unknown members are skipped and not read.
    let text = str::from_utf8(body).map_err(|_| InvalidBody::NotUtf8)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = object(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| InvalidBody::from_json_error(&error))
}

/// A `T` from a JSON object and nothing else; what serde derives also takes an array of the members in order.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(members))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

impl InvalidBody {
    fn from_json_error(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => {}
            Category::Eof | Category::Io | Category::Syntax => return Self::Syntax { line, column },
        }
        // Only these two messages quote nothing but names that our own types gave.
        let message = error.to_string();
        if let Some(member) = quoted_member(&message, "missing field `") {
            return Self::MissingMember(member);
        }
        if let Some(member) = quoted_member(&message, "duplicate field `") {
            return Self::DuplicateMember(member);
        }
        Self::WrongType { line, column }
    }
}

fn quoted_member(message: &str, start: &str) -> Option<String> {
    let (member, _) = message.strip_prefix(start)?.split_once('`')?;
    Some(member.to_owned())
}

impl fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateMember(member) => write!(f, "member `{member}` appears twice"),
            Self::MissingMember(member) => write!(f, "member `{member}` is missing"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Syntax { line, column } => write!(f, "not JSON at line {line}, column {column}"),
            Self::WrongType { line, column } => {
                write!(f, "value of the wrong type at line {line}, column {column}")
            }
        }
    }
}

impl std::error::Error for InvalidBody {}

#[cfg(test)]
mod tests {
    use super::{InvalidBody, parse_body};
    use crate::wire::{EncryptRequest, HealthRequest};

    fn refusal(body: &str) -> InvalidBody {
        parse_body::<EncryptRequest<'_>>(body.as_bytes()).err().unwrap()
    }

    #[test]
    fn each_fault_has_its_name() {
        assert_eq!(refusal("{}"), InvalidBody::MissingMember("requestMetadata".into()));
        assert_eq!(
            refusal(r#"{"plaintext":"QQ==","plaintext":"QQ=="}"#),
            InvalidBody::DuplicateMember("plaintext".into())
        );
        for body in ["", "{", "nonsense", "\u{feff}{}"] {
            assert!(matches!(refusal(body), InvalidBody::Syntax { .. }), "{body:?}");
        }
        for body in ["[]", "7", r#"{"plaintext":7}"#, r#"{"plaintext":null}"#, r#"{"requestMetadata":"x"}"#] {
            assert!(matches!(refusal(body), InvalidBody::WrongType { .. }), "{body:?}");
        }
    }

    #[test]
    fn unknown_members_are_in_utf_8_too() {
        let parse = |body: &[u8]| parse_body::<HealthRequest<'_>>(body).map(|_| ());
        assert_eq!(parse(b"{\"requestMetadata\":{},\"later\":\"\xff\"}"), Err(InvalidBody::NotUtf8));
        assert_eq!(parse("{\"requestMetadata\":{},\"later\":\"\u{e9}\"}".as_bytes()), Ok(()));
    }

    #[test]
    fn members_in_an_array_are_no_object_and_nothing_may_follow_one() {
        let parse = |body: &str| parse_body::<HealthRequest<'_>>(body.as_bytes()).map(|_| ());
        assert_eq!(parse(r#"{"requestMetadata":{}} "#), Ok(()));
        assert!(matches!(parse(r#"{"requestMetadata":{}} {}"#), Err(InvalidBody::Syntax { .. })));
        for body in
            [r#"[{}]"#, r#"{"requestMetadata":[]}"#, r#"{"requestMetadata":["a","b","c","d","e","f","g"]}"#]
        {
            assert!(matches!(parse(body), Err(InvalidBody::WrongType { .. })), "{body}");
        }
    }

    #[test]
    fn a_refusal_repeats_nothing_of_the_body() {
        for body in [
            r#"{"requestMetadata":"hunter2"}"#,
            r#"{"requestMetadata":"missing field `hunter2`"}"#,
            r#"{"hunter2":1,"hunter2":1}"#,
        ] {
            let refusal = refusal(body);
            assert!(!format!("{refusal} {refusal:?}").contains("hunter2"));
        }
    }

    #[test]
    fn deep_nesting_is_a_refusal_and_not_a_crash() {
        let body = format!(r#"{{"x":{}"#, "[".repeat(100_000));
        assert!(matches!(refusal(&body), InvalidBody::Syntax { .. }));
    }
}
