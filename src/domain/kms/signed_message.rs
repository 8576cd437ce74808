//! What goes into Sign and Verify: which types of message an algorithm takes, and of which length.

use crate::domain::kms::{MessageType, SigningAlgorithm};

/// FIPS 204, algorithm 7: the length of µ.
const EXTERNAL_MU_BYTES: usize = 64;

/// Why a message cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitMessage {
    /// No digest of the algorithm's hash, or no µ.
    Length,
    /// The algorithm takes these types only.
    Type(&'static [MessageType]),
}

impl SigningAlgorithm {
    /// The types of message that it takes (AWS KMS API Reference, Sign). Ed25519ph signs what is hashed already, and
    /// Ed25519 and ML-DSA hash by themselves.
    pub const fn message_types(self) -> &'static [MessageType] {
        match self {
            Self::Ed25519PhSha512 => &[MessageType::Digest],
            Self::Ed25519Sha512 | Self::Sm2Dsa => &[MessageType::Raw],
            Self::MlDsaShake256 => &[MessageType::Raw, MessageType::ExternalMu],
            Self::EcdsaSha256
            | Self::EcdsaSha384
            | Self::EcdsaSha512
            | Self::RsassaPkcs1V15Sha256
            | Self::RsassaPkcs1V15Sha384
            | Self::RsassaPkcs1V15Sha512
            | Self::RsassaPssSha256
            | Self::RsassaPssSha384
            | Self::RsassaPssSha512 => &[MessageType::Raw, MessageType::Digest],
        }
    }

    /// Whether it signs a message of this type and length. Raw messages are as long as requests let them be.
    pub fn check_message(self, message_type: MessageType, bytes: usize) -> Result<(), UnfitMessage> {
        let types = self.message_types();
        if !types.contains(&message_type) {
            return Err(UnfitMessage::Type(types));
        }
        let expected = match message_type {
            MessageType::Digest => self.hash().map(|hash| hash.bytes()),
            MessageType::ExternalMu => Some(EXTERNAL_MU_BYTES),
            MessageType::Raw => None,
        };
        if expected.is_none_or(|expected| expected == bytes) { Ok(()) } else { Err(UnfitMessage::Length) }
    }
}
