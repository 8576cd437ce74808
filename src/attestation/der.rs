//! DER (ITU-T X.690) of what has a tag and a length.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]` around something, or instead of a constructed tag.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[0]` instead of the tag of a string.
pub(super) const CONTEXT_0_PRIMITIVE: u8 = 0x80;

/// One value, whose content is these one after another.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 10);
    out.push(tag);
    let digits = length.to_be_bytes();
    let significant = digits.iter().position(|digit| *digit != 0).and_then(|start| digits.get(start..));
    match significant {
        None | Some([0..=0x7f]) => out.push(u8::try_from(length).unwrap_or_default()),
        Some(digits) => {
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
            out.extend_from_slice(digits);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::{OCTET_STRING, value};

    #[test]
    fn lengths_have_as_many_bytes_as_they_need() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65_536, &[4, 0x83, 1, 0, 0]),
        ] {
            let content = vec![7; length];
            let expected: Vec<_> = head.iter().copied().chain(content.iter().copied()).collect();
            assert_eq!(value(OCTET_STRING, &[&content]), expected, "{length}");
        }
    }
}
