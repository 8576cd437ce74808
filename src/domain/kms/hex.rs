//! Lower-case hexadecimal, written in one piece: formatting digit by digit costs a request more than its policies do.

use std::fmt;

/// The most bytes that are written at once.
const BYTES_MAX: usize = 32;
const UUID_CHARS: usize = 36;
const UUID_BYTES: usize = 16;

/// Bytes as digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

/// Sixteen bytes as a UUID is written (RFC 9562, section 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uuid([u8; UUID_CHARS]);

impl Uuid {
    /// Of version 4 (RFC 9562, section 5.4).
    pub fn from_random(mut random: [u8; UUID_BYTES]) -> Self {
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut random;
        *version = (*version & 0x0f) | 0x40;
        *variant = (*variant & 0x3f) | 0x80;
        Self::of(&random)
    }

    pub fn of(bytes: &[u8; UUID_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes.map(digits);
        let dash = [b'-'];
        let parts: [&[u8]; 20] =
            [&a, &b, &c, &d, &dash, &e, &f, &dash, &g, &h, &dash, &i, &j, &dash, &k, &l, &m, &n, &o, &p];
        let mut text = [b'-'; UUID_CHARS];
        let mut rest = &mut text[..];
        for part in parts {
            if let Some((place, behind)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
                place.copy_from_slice(part);
                rest = behind;
            }
        }
        Self(text)
    }

    /// Of what [`Uuid::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        let text = <[u8; UUID_CHARS]>::try_from(text.as_bytes()).ok()?;
        let is_right = text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
        is_right.then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bytes in self.0.chunks(BYTES_MAX) {
            let mut text = [0; 2 * BYTES_MAX];
            text.iter_mut()
                .zip(bytes.iter().copied().flat_map(digits))
                .for_each(|(place, digit)| *place = digit);
            let digits = text.get(..2 * bytes.len()).and_then(|text| str::from_utf8(text).ok());
            f.write_str(digits.unwrap_or_default())?;
        }
        Ok(())
    }
}

const fn digits(byte: u8) -> [u8; 2] {
    [digit(byte >> 4), digit(byte & 0x0f)]
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::{Hex, Uuid};

    #[test]
    fn bytes_of_any_number_are_pairs_of_digits() {
        assert_eq!(Hex(&[]).to_string(), "");
        let bytes: Vec<_> = (0..=255).collect();
        let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Hex(&bytes).to_string(), expected);
    }

    #[test]
    fn a_uuid_has_its_dashes() {
        let bytes = std::array::from_fn(|index| u8::try_from(index).unwrap() * 17);
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(Uuid::of(&bytes).as_str(), text);
        assert_eq!(Uuid::parse(text), Some(Uuid::of(&bytes)));
        for wrong in ["", "00112233-4455-6677-8899-aabbccddeefF", "00112233445566778899-aabbccddeeff-----"] {
            assert_eq!(Uuid::parse(wrong), None, "{wrong}");
        }
    }
}
