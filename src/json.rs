//! Writes JSON into bytes, member after member: no tree, and no allocation but that of the bytes.

use std::fmt;
use std::io::Write;

/// An object that is being written.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    /// `{`; it ends with [`Self::end`].
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    pub fn end(self) {
        self.out.push(b'}');
    }

    /// The name of a member, of ours, so that it needs no escapes; its value is to be written into what this returns.
    pub fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(if self.is_empty { b"\"" } else { b",\"" });
        self.is_empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A member whose name the caller chose.
    pub fn named_by_caller(&mut self, name: &str, value: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        push_text(self.out, name);
        self.out.push(b':');
        push_text(self.out, value);
    }

    pub fn text(&mut self, name: &'static str, value: &str) {
        push_text(self.member(name), value);
    }

    pub fn text_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A value that is JSON already.
    pub fn json(&mut self, name: &'static str, value: &[u8]) {
        self.member(name).extend_from_slice(value);
    }

    pub fn number(&mut self, name: &'static str, number: u64) {
        push_number(self.member(name), number);
    }

    /// A value by the text that it displays as, which needs no escapes.
    pub fn display(&mut self, name: &'static str, value: impl fmt::Display) {
        let out = self.member(name);
        // Nothing that is written to memory fails.
        let _ = write!(out, "\"{value}\"");
    }

    pub fn boolean(&mut self, name: &'static str, value: bool) {
        self.json(name, if value { b"true" } else { b"false" });
    }

    pub fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.member(name));
        write(&mut object);
        object.end();
    }
}

/// `[…]` with what `write` writes for each.
pub fn push_array<T>(out: &mut Vec<u8>, of: impl IntoIterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, value) in of.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, value);
    }
    out.push(b']');
}

/// In decimal digits.
pub fn push_number(out: &mut Vec<u8>, mut number: u64) {
    /// Of the largest.
    const DIGITS_MAX: usize = 20;
    let mut digits = [b'0'; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    for (at, place) in digits.iter_mut().enumerate().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        start = at;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// So many bytes are looked at at once.
const CHUNK_BYTES: usize = 32;

/// A string with its quotation marks.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, behind) = rest.split_at(plain_bytes(rest));
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = behind.split_first() else { break };
        push_escaped(out, byte);
        rest = behind;
    }
    out.push(b'"');
}

/// How many bytes at the start are written as they are.
fn plain_bytes(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks();
    let plain = CHUNK_BYTES * chunks.iter().take_while(|chunk| is_plain(chunk)).count();
    let rest = bytes.get(plain..).unwrap_or_default();
    let mut filled_up = [b' '; CHUNK_BYTES];
    if let Some(place) = filled_up.get_mut(..rest.len()) {
        place.copy_from_slice(rest);
        if is_plain(&filled_up) {
            return bytes.len();
        }
    }
    plain + rest.iter().position(|&byte| needs_escape(byte)).unwrap_or(rest.len())
}

/// No branch for a byte, and nothing wider than one, so that the compiler looks at all of them at once.
fn is_plain(chunk: &[u8; CHUNK_BYTES]) -> bool {
    chunk.iter().fold(0, |found, &byte| found | u8::from(needs_escape(byte))) == 0
}

const fn needs_escape(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }
}
