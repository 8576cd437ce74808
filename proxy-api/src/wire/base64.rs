//! Base64 as the API has it: standard alphabet, padded, nothing else (XKS v1, Background).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The text is not canonical standard Base64. Says nothing of the text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBase64;

/// The bytes behind `text`. Refuses the URL-safe alphabet, blanks, missing padding and stray last bits.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, InvalidBase64> {
    STANDARD.decode(text).map_err(|_| InvalidBase64)
}

/// The Base64 of `bytes`.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// How many bytes `text` decodes to if it is valid, so that a limit can be checked before decoding.
#[must_use]
pub fn decoded_bytes(text: &str) -> usize {
    let padding = text.bytes().rev().take(2).take_while(|&byte| byte == b'=').count();
    (text.len() / 4).saturating_mul(3).saturating_sub(padding)
}

impl fmt::Display for InvalidBase64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not standard Base64 with padding")
    }
}

impl std::error::Error for InvalidBase64 {}

#[cfg(test)]
mod tests {
    use super::{decode_base64, decoded_bytes, encode_base64};

    #[test]
    fn only_canonical_standard_base64_is_accepted() {
        for text in ["QQ", "QQ=", "QR==", "_-8=", "Q Q=", "QQ==\n", "=", "QQ===", "QUJD QUJD", "\u{e9}"] {
            assert!(decode_base64(text).is_err(), "{text:?}");
        }
        assert_eq!(decode_base64("").unwrap(), b"");
        assert_eq!(decode_base64("QQ==").unwrap(), b"A");
        assert_eq!(decode_base64("/+8=").unwrap(), [0xff, 0xef]);
    }

    #[test]
    fn the_length_is_known_before_decoding() {
        for length in 0..70 {
            assert_eq!(decoded_bytes(&encode_base64(&vec![7; length])), length);
        }
    }
}
