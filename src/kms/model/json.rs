//! JSON as a tree that borrows from the body, so that a secret in it is not copied to memory that nobody wipes.

use std::collections::HashSet;
use std::ops::Deref;

use zeroize::Zeroizing;

/// A JSON value. Numbers keep their spelling.
#[derive(Debug)]
pub(in crate::kms) enum Value<'b> {
    Array(Vec<Value<'b>>),
    Bool(bool),
    Null,
    Number(&'b str),
    Object(Vec<(Text<'b>, Value<'b>)>),
    String(Text<'b>),
}

/// A string: copied only where it was escaped.
pub(in crate::kms) enum Text<'b> {
    Borrowed(&'b str),
    Unescaped(Zeroizing<String>),
}

/// Not JSON, or not JSON that anybody should send. Says nothing of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) what: &'static str,
    pub(super) byte: usize,
}

/// The deepest request of the API has four levels; members that nobody knows may have more.
const DEPTH_MAX: usize = 32;
/// Up to here, comparing each name with each costs less than hashing them.
const NAMES_COMPARED_MAX: usize = 12;

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Unescaped(text) => text,
        }
    }
}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.len())
    }
}

/// Reads the whole of `body` as one value. Nothing at all counts as an object without members.
pub(super) fn parse(body: &[u8]) -> Result<Value<'_>, Unreadable> {
    let text = str::from_utf8(body)
        .map_err(|error| Unreadable { what: "the request is not UTF-8", byte: error.valid_up_to() })?;
    let mut parser = Parser { text, at: 0 };
    parser.skip_blanks();
    if parser.peek().is_none() {
        return Ok(Value::Object(Vec::new()));
    }
    let value = parser.value(0)?;
    parser.skip_blanks();
    if parser.peek().is_some() {
        return Err(parser.fail("unexpected characters after the request"));
    }
    Ok(value)
}

struct Parser<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Parser<'b> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    const fn fail(&self, what: &'static str) -> Unreadable {
        Unreadable { what, byte: self.at }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: usize) -> Result<Value<'b>, Unreadable> {
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.fail("unexpected character")),
            None => Err(self.fail("unexpected end of the request")),
        }
    }

    fn literal(&mut self, word: &str, value: Value<'b>) -> Result<Value<'b>, Unreadable> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.fail("unexpected character"))
    }

    fn number(&mut self) -> Result<Value<'b>, Unreadable> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(Value::Number(self.text.get(start..self.at).unwrap_or_default()))
    }

    fn digits(&mut self) -> Result<(), Unreadable> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.fail("unexpected character in a number")) } else { Ok(()) }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'b>, Unreadable> {
        self.open(depth)?;
        let mut members = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(members));
        }
        loop {
            members.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.eat(b']') {
                return Ok(Value::Array(members));
            }
            self.comma()?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'b>, Unreadable> {
        self.open(depth)?;
        if self.eat(b'}') {
            return Ok(Value::Object(Vec::new()));
        }
        let mut members = Vec::with_capacity(4);
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fail("expected the name of a member"));
            }
            let name = self.string()?;
            self.skip_blanks();
            if !self.eat(b':') {
                return Err(self.fail("expected a colon"));
            }
            self.skip_blanks();
            members.push((name, self.value(depth + 1)?));
            self.skip_blanks();
            if self.eat(b'}') {
                break;
            }
            self.comma()?;
        }
        if has_duplicates(&members) {
            return Err(self.fail("a member is there twice"));
        }
        Ok(Value::Object(members))
    }

    fn open(&mut self, depth: usize) -> Result<(), Unreadable> {
        if depth >= DEPTH_MAX {
            return Err(self.fail("nested too deeply"));
        }
        self.at += 1;
        self.skip_blanks();
        Ok(())
    }

    fn comma(&mut self) -> Result<(), Unreadable> {
        if !self.eat(b',') {
            return Err(self.fail("expected a comma"));
        }
        self.skip_blanks();
        Ok(())
    }

    /// What is next is a quotation mark.
    fn string(&mut self) -> Result<Text<'b>, Unreadable> {
        self.at += 1;
        let start = self.at;
        match self.plain()? {
            b'"' => {
                let text = self.text.get(start..self.at).unwrap_or_default();
                self.at += 1;
                Ok(Text::Borrowed(text))
            }
            _ => self.escaped(start),
        }
    }

    /// Goes to the next quotation mark or backslash, and says which it is.
    fn plain(&mut self) -> Result<u8, Unreadable> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ') else {
            self.at = self.text.len();
            return Err(self.fail("unexpected end of the request"));
        };
        self.at += length;
        match self.peek() {
            Some(byte @ (b'"' | b'\\')) => Ok(byte),
            Some(_) | None => Err(self.fail("a control character in a string")),
        }
    }

    /// The string that began at `start` and has its first backslash here.
    fn escaped(&mut self, start: usize) -> Result<Text<'b>, Unreadable> {
        // As long as the string can become, so that it never moves and leaves a copy behind.
        let mut end = self.at;
        let bytes = self.text.as_bytes();
        while bytes.get(end).is_some_and(|&byte| byte != b'"') {
            end += if bytes.get(end) == Some(&b'\\') { 2 } else { 1 };
        }
        let mut text = Zeroizing::new(String::with_capacity(end.saturating_sub(start)));
        let mut copied = start;
        loop {
            let mark = self.plain()?;
            text.push_str(self.text.get(copied..self.at).unwrap_or_default());
            self.at += 1;
            if mark == b'"' {
                return Ok(Text::Unescaped(text));
            }
            text.push(self.escape()?);
            copied = self.at;
        }
    }

    fn escape(&mut self) -> Result<char, Unreadable> {
        let byte = self.peek().ok_or_else(|| self.fail("unexpected end of the request"))?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.fail("an escape that JSON does not have")),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, Unreadable> {
        let first = self.four_hex()?;
        let is_high = (0xd800..0xdc00).contains(&first);
        let code = if is_high && self.eat(b'\\') && self.eat(b'u') {
            let second = self.four_hex()?;
            let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
            low.map(|low| 0x1_0000 + ((first - 0xd800) << 10) + low)
        } else {
            Some(first)
        };
        code.and_then(char::from_u32).ok_or_else(|| self.fail("half of a surrogate pair"))
    }

    fn four_hex(&mut self) -> Result<u32, Unreadable> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.fail("not four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }
}

fn has_duplicates(members: &[(Text<'_>, Value<'_>)]) -> bool {
    if members.len() > NAMES_COMPARED_MAX {
        let mut names = HashSet::with_capacity(members.len());
        return members.iter().any(|(name, _)| !names.insert(&**name));
    }
    let mut rest = members;
    while let Some(((name, _), others)) = rest.split_first() {
        if others.iter().any(|(other, _)| **other == **name) {
            return true;
        }
        rest = others;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DEPTH_MAX, Text, Value, parse};

    /// As `serde_json` would hold it.
    fn plain(value: &Value<'_>) -> serde_json::Value {
        match value {
            Value::Array(members) => members.iter().map(plain).collect(),
            Value::Bool(is) => (*is).into(),
            Value::Null => serde_json::Value::Null,
            Value::Number(number) => serde_json::from_str(number).unwrap_or(serde_json::Value::Null),
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.to_string(), plain(value))).collect()
            }
            Value::String(text) => (&**text).into(),
        }
    }

    #[test]
    fn a_string_without_escapes_is_not_copied() {
        let Value::String(Text::Borrowed(text)) = parse(b" \"a/b\" ").unwrap() else { panic!() };
        assert_eq!(text, "a/b");
        let Value::String(Text::Unescaped(text)) = parse(br#""a\/b\u00e9\ud83d\ude00\n""#).unwrap() else {
            panic!()
        };
        assert_eq!(text.as_str(), "a/b\u{e9}\u{1f600}\n");
    }

    #[test]
    fn nothing_is_an_empty_object() {
        for body in ["", " \n", "{}", "{ }"] {
            assert!(matches!(parse(body.as_bytes()), Ok(Value::Object(members)) if members.is_empty()));
        }
    }

    #[test]
    fn what_json_does_not_have_is_refused() {
        for body in [
            "{",
            "}",
            "{]",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u+123\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\n\"",
            "01",
            "1.",
            "-",
            "1e",
            ".5",
            "+1",
            "NaN",
            "nul",
            "tru",
            "{} {}",
            "\"\\",
            "\"\\u12",
        ] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_however_it_is_spelled() {
        assert_eq!(parse(br#"{"a":1,"\u0061":2}"#).unwrap_err().what, "a member is there twice");
        let many: Vec<_> = (0..40).map(|number| format!("\"{}\":0", number % 39)).collect();
        assert!(parse(format!("{{{}}}", many.join(",")).as_bytes()).is_err());
        assert!(parse(format!("{{{}}}", many[..39].join(",")).as_bytes()).is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(parse(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err().what, "nested too deeply");
        assert!(parse("[".repeat(300_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn it_reads_what_another_parser_reads(text in r#"[\[\]{},:"\\ntrueul0-9.eE+\- /\u{e9}a]{0,24}"#) {
            let ours = parse(text.as_bytes());
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(theirs) if !text.trim().is_empty() => match ours {
                    Ok(ours) => prop_assert_eq!(plain(&ours), theirs),
                    Err(error) => prop_assert_eq!(error.what, "a member is there twice"),
                },
                // Numbers too large for a double are ours to read: no member of the API takes one.
                Err(error) if error.to_string().starts_with("number out of range") => {}
                _ => prop_assert!(ours.is_err() || text.trim().is_empty()),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
