//! Whether a text is Base64, without decoding it: what it stands for may be a secret.

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// [`is_digit`] as a table: half as long a loop.
const DIGITS: [bool; 256] = {
    let mut digits = [false; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        #[expect(clippy::indexing_slicing, reason = "a byte is always below 256")]
        {
            digits[byte as usize] = is_digit(byte);
        }
        byte += 1;
    }
    digits
};

/// The number of bytes behind `text`; nothing unless it is canonical Base64 with padding.
pub(super) fn decoded_bytes(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let padding = bytes.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let (digits, _) = bytes.split_at_checked(bytes.len() - padding)?;
    let is_digit = |byte: &u8| DIGITS.get(usize::from(*byte)).copied().unwrap_or(false);
    // No early end, so that the loop is a straight one.
    let are_digits = digits.iter().fold(true, |are, byte| are & is_digit(byte));
    if !bytes.len().is_multiple_of(4) || !are_digits {
        return None;
    }
    // The last digit before the padding has two or four bits that stand for nothing, and are zero.
    let last_is_canonical = match (padding, digits.last()) {
        (0, _) => true,
        (1, Some(last)) => b"AEIMQUYcgkosw048".contains(last),
        (2, Some(last)) => b"AQgw".contains(last),
        _ => false,
    };
    last_is_canonical.then(|| bytes.len() / 4 * 3 - padding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::decoded_bytes;

    proptest! {
        #[test]
        fn it_accepts_what_the_decoder_accepts(text in "[A-Za-z0-9+/=_\\- \u{e9}]{0,12}", bytes: Vec<u8>) {
            let decoded = proxy_api::wire::decode_base64(&text).ok().map(|bytes| bytes.len());
            prop_assert_eq!(decoded_bytes(&text), decoded);
            let encoded = proxy_api::wire::encode_base64(&bytes);
            prop_assert_eq!(decoded_bytes(&encoded), Some(bytes.len()));
        }

        #[test]
        fn it_accepts_the_same_last_digits(last in "[A-Za-z0-9+/]", is_two: bool) {
            let text = if is_two { format!("A{last}==") } else { format!("AA{last}=") };
            prop_assert_eq!(decoded_bytes(&text).is_some(), proxy_api::wire::decode_base64(&text).is_ok());
        }
    }
}
