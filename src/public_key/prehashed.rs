//! A digest that was computed elsewhere, for Ed25519ph (RFC 8032, 5.1), whose implementation wants a hash.

use digest::consts::U64;
use digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update};

const SHA512_BYTES: usize = 64;

/// A SHA-512 digest in the clothes of a hash that has taken its input.
#[derive(Clone, Debug)]
pub struct Prehashed([u8; SHA512_BYTES]);

impl Prehashed {
    /// Nothing if it is not as long as a SHA-512 digest.
    pub fn new(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }
}

impl Default for Prehashed {
    fn default() -> Self {
        Self([0; SHA512_BYTES])
    }
}

impl OutputSizeUser for Prehashed {
    type OutputSize = U64;
}

impl HashMarker for Prehashed {}

impl Update for Prehashed {
    /// Nothing is hashed any more.
    fn update(&mut self, _data: &[u8]) {}
}

impl FixedOutput for Prehashed {
    fn finalize_into(self, out: &mut Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}
