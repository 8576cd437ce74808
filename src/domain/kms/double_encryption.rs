//! The two layers of a ciphertext of a key in an external key store: what KMS encrypted with material of its own is
//! the plaintext of the proxy, so that neither side can decrypt alone.
//!
//! The inner layer is the length of the IV in one byte, IV, ciphertext and tag: with 4,096 bytes of plaintext at most
//! 4,129 bytes, of the 4,300 that every proxy takes (XKS v1, Encrypt). The AAD of the outer layer has a fixed length,
//! since the longest encryption context would not fit into it: what the blob begins with, and the SHA-256 of the
//! canonical encryption context.

use aws_lc_rs::digest::{SHA256, digest};

use crate::domain::kms::{ENCRYPTION_CONTEXT_BYTES_MAX, EncryptionContext};

const TAG_BYTES: usize = 16;
/// Of 4,096 bytes of plaintext, with the longest IV.
pub(super) const INNER_LAYER_BYTES_MAX: usize = 1 + 16 + 4096 + TAG_BYTES;

/// What a proxy makes of the inner layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterLayer {
    pub iv: Vec<u8>,
    pub metadata: Option<Vec<u8>>,
    pub ciphertext: Vec<u8>,
    pub tag: Vec<u8>,
}

/// What KMS makes of the plaintext.
#[derive(Debug, PartialEq, Eq)]
pub struct InnerLayer<'a> {
    pub iv: &'a [u8],
    pub ciphertext_and_tag: &'a [u8],
}

/// The inner layer in one piece.
pub fn inner_layer(iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> Vec<u8> {
    [&[u8::try_from(iv.len()).unwrap_or(u8::MAX)], iv, ciphertext, tag].concat()
}

impl<'a> InnerLayer<'a> {
    /// None if it is not one that KMS made.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (iv_bytes @ (12 | 16), rest) = bytes.split_first()? else { return None };
        let (iv, ciphertext_and_tag) = rest.split_at_checked(usize::from(*iv_bytes))?;
        (ciphertext_and_tag.len() >= TAG_BYTES).then_some(Self { iv, ciphertext_and_tag })
    }
}

/// None if the context is too long.
pub(super) fn outer_aad(blob_start: &[u8], context: &EncryptionContext) -> Option<Vec<u8>> {
    let context = context.canonical(ENCRYPTION_CONTEXT_BYTES_MAX)?;
    Some([blob_start, digest(&SHA256, &context).as_ref()].concat())
}

#[cfg(test)]
mod tests {
    use super::{InnerLayer, inner_layer};

    #[test]
    fn an_inner_layer_is_taken_apart_as_it_was_put_together() {
        for iv in [&[1; 12][..], &[1; 16]] {
            let bytes = inner_layer(iv, b"text", &[2; 16]);
            let parsed = InnerLayer::parse(&bytes).unwrap();
            assert_eq!((parsed.iv, parsed.ciphertext_and_tag), (iv, &bytes[1 + iv.len()..]));
            for length in 0..bytes.len() - 4 {
                assert_eq!(InnerLayer::parse(&bytes[..length]), None, "{length} bytes");
            }
        }
        assert_eq!(InnerLayer::parse(&[13; 64]), None);
    }
}
