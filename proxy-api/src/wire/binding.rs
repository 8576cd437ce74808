//! What ties the parts of a ciphertext together: the AAD given to the HSM, and the data integrity value.

use aws_lc_rs::digest::{Context, SHA256};

use super::{CDIV_BYTES, METADATA_BYTES_MAX};

/// The AAD for the HSM: both parts, each behind its length, so that neither can pass for the other
/// (XKS v1, Encrypt, note on `ciphertextMetadata`). An absent part is an empty one. Nothing if a part is
/// longer than its length field or the API allows.
#[must_use]
pub fn bound_aad(aad: &[u8], metadata: &[u8]) -> Option<Vec<u8>> {
    if metadata.len() > METADATA_BYTES_MAX {
        return None;
    }
    let aad_length = u16::try_from(aad.len()).ok()?;
    let metadata_length = u8::try_from(metadata.len()).ok()?;
    let mut bound = Vec::with_capacity(aad.len() + metadata.len() + 3);
    bound.extend_from_slice(&aad_length.to_be_bytes());
    bound.extend_from_slice(aad);
    bound.push(metadata_length);
    bound.extend_from_slice(metadata);
    Some(bound)
}

/// The ciphertext data integrity value (XKS v1, Appendix C), over the AAD of the request, not the bound one.
#[must_use]
pub fn cdiv(aad: &[u8], metadata: &[u8], iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> [u8; CDIV_BYTES] {
    let mut context = Context::new(&SHA256);
    for part in [aad, metadata, iv, ciphertext, tag] {
        context.update(part);
    }
    let mut value = [0; CDIV_BYTES];
    value.copy_from_slice(context.finish().as_ref());
    value
}

#[cfg(test)]
mod tests {
    use super::{bound_aad, cdiv};
    use crate::wire::encode_base64;

    const AAD: &[u8] = b"project=nile,department=marketing";
    const METADATA: &[u8] = b"key_version=1";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_cdiv_of_appendix_c() {
        let value = cdiv(
            AAD,
            METADATA,
            &unhex("1ccae5470f39700254779031"),
            &unhex("821c642b5b71783367deaf18"),
            &unhex("bc1c4dda7707d6812447c5955e99b261"),
        );
        assert_eq!(encode_base64(&value), "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc=");
    }

    #[test]
    fn the_bound_aad_of_the_example_request() {
        let expected = unhex(concat!(
            "0021",
            "70726f6a6563743d6e696c652c6465706172746d656e743d6d61726b6574696e67",
            "0d",
            "6b65795f76657273696f6e3d31"
        ));
        assert_eq!(bound_aad(AAD, METADATA).unwrap(), expected);
    }

    #[test]
    fn absent_parts_leave_their_lengths() {
        assert_eq!(bound_aad(b"", b"").unwrap(), [0, 0, 0]);
    }

    #[test]
    fn metadata_cannot_pass_for_aad() {
        assert_ne!(bound_aad(METADATA, b""), bound_aad(b"", METADATA));
    }

    #[test]
    fn what_no_length_can_express_is_refused() {
        assert_eq!(bound_aad(&[0; 65_535], b"").unwrap().len(), 65_538);
        assert_eq!(bound_aad(&[0; 65_536], b""), None);
        assert!(bound_aad(b"", &[0; 20]).is_some());
        assert_eq!(bound_aad(b"", &[0; 21]), None);
    }
}
