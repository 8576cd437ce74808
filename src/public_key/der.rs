//! As much of DER (ITU-T X.690) as keys and signatures need: written strictly, read with any definite length.

pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT_IDENTIFIER: u8 = 0x06;
pub const SEQUENCE: u8 = 0x30;

const LONG_FORM: u8 = 0x80;
const MULTI_BYTE_TAG: u8 = 0x1f;

/// Tag, length and the parts, in one allocation: nothing of a secret part stays behind.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let digits = length.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = digits.get(zeros..).unwrap_or_default();
    let mut out = Vec::with_capacity(2 + digits.len() + length);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < LONG_FORM => out.push(short),
        _ => {
            // A length has eight bytes at most.
            out.push(LONG_FORM | u8::try_from(digits.len()).unwrap_or_default());
            out.extend_from_slice(digits);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, parts)
}

/// An INTEGER that is not negative, from its big-endian bytes.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = without_leading_zeros(bytes);
    let is_signed = bytes.first().is_none_or(|byte| byte & 0x80 != 0);
    element(INTEGER, &[if is_signed { &[0] } else { &[] }, bytes])
}

/// A BIT STRING of whole bytes.
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bytes])
}

pub fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// Takes elements off the front. Nothing means: that is not what was expected.
#[derive(Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is: its tag and contents.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & MULTI_BYTE_TAG == MULTI_BYTE_TAG {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < LONG_FORM {
            (usize::from(first), rest)
        } else {
            let (digits, rest) = rest.split_at_checked(usize::from(first & !LONG_FORM))?;
            // No digits: an indefinite length.
            if digits.is_empty() {
                return None;
            }
            let digits = without_leading_zeros(digits);
            if digits.len() > size_of::<u32>() {
                return None;
            }
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let contents = ahead.any().filter(|(found, _)| *found == tag)?.1;
        *self = ahead;
        Some(contents)
    }

    pub fn sequence(&mut self) -> Option<Self> {
        self.expect(SEQUENCE).map(Self)
    }

    /// An INTEGER that is not negative, without leading zeros.
    pub fn integer(&mut self) -> Option<&'a [u8]> {
        let contents = self.expect(INTEGER)?;
        let is_negative = contents.first().is_none_or(|byte| byte & 0x80 != 0);
        (!is_negative).then(|| without_leading_zeros(contents))
    }

    /// A BIT STRING of whole bytes.
    pub fn bit_string(&mut self) -> Option<&'a [u8]> {
        self.expect(BIT_STRING)?.strip_prefix(&[0])
    }
}

/// The one element that these bytes are.
pub fn only_sequence(bytes: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes);
    let inner = reader.sequence()?;
    reader.is_empty().then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::{Reader, SEQUENCE, element, integer, only_sequence};

    #[test]
    fn lengths_are_as_short_as_they_can_be_and_read_back() {
        for (length, head) in
            [(0, &[0][..]), (127, &[127]), (128, &[0x81, 128]), (255, &[0x81, 255]), (256, &[0x82, 1, 0])]
        {
            let contents = vec![7; length];
            let written = element(SEQUENCE, &[&contents]);
            assert_eq!(&written[1..=head.len()], head);
            assert_eq!(Reader::new(&written).any(), Some((SEQUENCE, contents.as_slice())));
        }
    }

    #[test]
    fn integers_are_as_short_as_they_can_be_and_not_negative() {
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(Reader::new(&[2, 1, 0x80]).integer(), None);
        assert_eq!(Reader::new(&integer(&[0x80])).integer(), Some(&[0x80][..]));
    }

    #[test]
    fn what_is_cut_off_or_has_no_length_is_not_read() {
        for bytes in
            [&[][..], &[0x30], &[0x30, 1], &[0x30, 0x80, 0, 0], &[0x30, 0x85, 1, 0, 0, 0, 0], &[0x1f, 0]]
        {
            assert_eq!(Reader::new(bytes).any(), None, "{bytes:?}");
        }
        assert!(only_sequence(&[0x30, 0, 0]).is_none() && only_sequence(&[0x30, 0x81, 0]).is_some());
    }
}
