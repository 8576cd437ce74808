//! A digest that somebody else made, for code that wants to make it itself: Ed25519ph (RFC 8032, 5.1).

use digest::consts::U64;
use digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update};

pub const PREHASHED_BYTES: usize = 64;

/// A finished digest of 512 bits.
#[derive(Clone, Debug)]
pub struct Prehashed(pub [u8; PREHASHED_BYTES]);

impl Prehashed {
    /// Nothing if it is not as long as a SHA-512 digest.
    pub fn new(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }
}

/// Demanded by the traits, and of no use.
impl Default for Prehashed {
    fn default() -> Self {
        Self([0; PREHASHED_BYTES])
    }
}

impl HashMarker for Prehashed {}

impl OutputSizeUser for Prehashed {
    type OutputSize = U64;
}

impl Update for Prehashed {
    /// It is finished.
    fn update(&mut self, _data: &[u8]) {}
}

impl FixedOutput for Prehashed {
    fn finalize_into(self, out: &mut Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}
