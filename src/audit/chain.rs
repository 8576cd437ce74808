//! What every line of the trail ends with: its number, and the hash of the line before it.

use std::io::Write;

use aws_lc_rs::digest::{SHA256, digest};

const HASH_BYTES: usize = 32;
const HASH_DIGITS: usize = 2 * HASH_BYTES;
const MEMBER: &[u8] = b"\"chain\":{\"sequence\":";
const PREVIOUS: &[u8] = b",\"previous\":\"";
const END: &[u8] = b"\"}}";

/// More than there is time for: whatever is added to one is a number still.
pub(super) const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// SHA-256 of the bytes of a line, without its newline.
pub type Hash = [u8; HASH_BYTES];

/// What the first line of a trail follows.
pub(super) const ORIGIN: Link = Link { sequence: 0, hash: [0; HASH_BYTES] };

/// A line, as the next one names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub sequence: u64,
    pub hash: Hash,
}

/// A line taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The object without its `chain`, and without the brace that ends it.
    pub body: &'a [u8],
    pub sequence: u64,
    pub previous: Hash,
}

/// Appends an object as the line that follows `before`, with its newline.
pub(super) fn push_line(out: &mut Vec<u8>, object: &[u8], before: Link) -> Link {
    let start = out.len();
    let body = object.strip_suffix(b"}").unwrap_or(object);
    out.extend_from_slice(body);
    if body.len() > 1 {
        out.push(b',');
    }
    let sequence = before.sequence + 1;
    out.extend_from_slice(MEMBER);
    // Nothing that is written to memory fails.
    let _ = write!(out, "{sequence}");
    out.extend_from_slice(PREVIOUS);
    push_hexadecimal(out, &before.hash);
    out.extend_from_slice(END);
    let hash = hash_of(out.get(start..).unwrap_or_default());
    out.push(b'\n');
    Link { sequence, hash }
}

pub(super) fn hash_of(line: &[u8]) -> Hash {
    let mut hash = [0; HASH_BYTES];
    hash.iter_mut().zip(digest(&SHA256, line).as_ref()).for_each(|(place, byte)| *place = *byte);
    hash
}

impl<'a> Line<'a> {
    /// Nothing if it is not byte by byte what [`push_line`] writes around an object.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(END)?;
        let (rest, previous) = rest.split_at_checked(rest.len().checked_sub(HASH_DIGITS)?)?;
        let previous = parse_hash(previous)?;
        let rest = rest.strip_suffix(PREVIOUS)?;
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (rest, number) = rest.split_at_checked(rest.len() - digits)?;
        let sequence = parse_sequence(number)?;
        let rest = rest.strip_suffix(MEMBER)?;
        let body = match rest {
            b"{" => rest,
            _ => rest.strip_suffix(b",").filter(|body| body.len() > 1 && body.starts_with(b"{"))?,
        };
        Some(Self { body, sequence, previous })
    }

    /// The line, without its newline, if it follows this one.
    pub fn written_after(&self, before: Link) -> Vec<u8> {
        let mut line = Vec::new();
        push_line(&mut line, &self.object(), before);
        line.pop();
        line
    }

    /// The object without its `chain`.
    pub fn object(&self) -> Vec<u8> {
        [self.body, b"}"].concat()
    }
}

/// Without leading zeros, and never zero.
fn parse_sequence(digits: &[u8]) -> Option<u64> {
    if digits.first() == Some(&b'0') {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok().filter(|sequence| *sequence <= SEQUENCE_MAX)
}

pub fn hexadecimal(hash: &Hash) -> String {
    let mut text = Vec::with_capacity(HASH_DIGITS);
    push_hexadecimal(&mut text, hash);
    String::from_utf8(text).unwrap_or_default()
}

fn push_hexadecimal(out: &mut Vec<u8>, hash: &Hash) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    out.extend(hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]));
}

/// Lower case only: every hash is written in one way.
pub fn parse_hash(digits: &[u8]) -> Option<Hash> {
    if digits.len() != HASH_DIGITS {
        return None;
    }
    let value = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; HASH_BYTES];
    for (place, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *place = (value(high)? << 4) | value(low)?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Line, Link, ORIGIN, SEQUENCE_MAX, hash_of, hexadecimal, parse_hash, push_line};

    #[test]
    fn a_line_is_the_object_with_one_more_member() {
        let mut out = Vec::new();
        let first = push_line(&mut out, br#"{"a":1}"#, ORIGIN);
        let second = push_line(&mut out, b"{}", first);
        let zeros = "0".repeat(64);
        let line = format!(r#"{{"a":1,"chain":{{"sequence":1,"previous":"{zeros}"}}}}"#);
        let hash = hexadecimal(&hash_of(line.as_bytes()));
        let expected = format!("{line}\n{{\"chain\":{{\"sequence\":2,\"previous\":\"{hash}\"}}}}\n");
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        assert_eq!((first.sequence, second.sequence), (1, 2));
        let lines: Vec<_> = out.split(|byte| *byte == b'\n').collect();
        let parsed = Line::parse(lines[1]).unwrap();
        assert_eq!((parsed.object(), parsed.previous), (b"{}".to_vec(), first.hash));
        assert_eq!(Line::parse(lines[0]).unwrap().object(), br#"{"a":1}"#);
    }

    #[test]
    fn what_is_not_written_so_is_no_line() {
        let zeros = "0".repeat(64);
        for wrong in [
            String::new(),
            "{}".to_owned(),
            format!(r#"{{"chain":{{"sequence":0,"previous":"{zeros}"}}}}"#),
            format!(r#"{{"chain":{{"sequence":01,"previous":"{zeros}"}}}}"#),
            format!(r#"{{"chain":{{"sequence":,"previous":"{zeros}"}}}}"#),
            format!(r#"{{"chain":{{"sequence":9223372036854775808,"previous":"{zeros}"}}}}"#),
            format!(r#"{{"chain":{{"sequence":1,"previous":"{}"}}}}"#, "A".repeat(64)),
            format!(r#"{{"chain":{{"sequence":1,"previous":"{zeros}"}}}} "#),
            format!(r#",{{"chain":{{"sequence":1,"previous":"{zeros}"}}}}"#),
            format!(r#"{{,"chain":{{"sequence":1,"previous":"{zeros}"}}}}"#),
            format!(r#""a":1,"chain":{{"sequence":1,"previous":"{zeros}"}}}}"#),
        ] {
            assert_eq!(Line::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(sequence in 0..SEQUENCE_MAX, hash in any::<[u8; 32]>()) {
            let mut out = Vec::new();
            push_line(&mut out, br#"{"x":"y"}"#, Link { sequence, hash });
            let line = Line::parse(out.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!((line.sequence, line.previous), (sequence + 1, hash));
            assert_eq!(parse_hash(hexadecimal(&hash).as_bytes()), Some(hash));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in any::<Vec<u8>>()) {
            let _ = Line::parse(&bytes);
        }
    }
}
