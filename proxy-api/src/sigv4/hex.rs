//! Lower-case hexadecimal, as SigV4 writes digests.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hexadecimal of `bytes`.
#[must_use]
pub fn encode_hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    String::from_utf8(text).unwrap_or_default()
}

pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend([byte >> 4, byte & 0x0f].into_iter().filter_map(|nibble| DIGITS.get(usize::from(nibble))));
    }
}

/// The `N` bytes behind exactly `2 * N` lower-case digits.
pub(super) fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = digits else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{decode_hex, encode_hex};

    #[test]
    fn hex_goes_both_ways_in_lower_case_only() {
        assert_eq!(encode_hex(&[0x00, 0x9a, 0xff]), "009aff");
        assert_eq!(decode_hex("009aff"), Some([0x00, 0x9a, 0xff]));
        for text in ["009AFF", "009af", "009aff0", "009ag0", "é9af", ""] {
            assert_eq!(decode_hex::<3>(text), None, "{text}");
        }
    }
}
