//! What is wrong with an attestation document, in words for whoever sent it.

use std::fmt;

use crate::attestation::cbor::Malformed;

/// Why an attestation document is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Signed by another algorithm than ES384, or by none.
    Algorithm,
    /// The certificate that it is signed with.
    Certificate,
    Expired,
    /// A field is absent, twice, of another type or out of bounds.
    Field(Field),
    /// Of a time that is still to come.
    FromTheFuture,
    /// A certificate of the chain may not issue the next one.
    Issuer,
    NotYetValid,
    NoPublicKey,
    /// What is signed is no attestation document.
    Payload,
    PublicKey,
    Signature,
    Stale,
    /// Not even the form of something signed.
    Structure,
    UnknownField,
    Untrusted,
}

/// A field of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    CaBundle,
    Certificate,
    Digest,
    ModuleId,
    Nonce,
    Pcrs,
    PublicKey,
    Timestamp,
    UserData,
}

impl Field {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaBundle => "cabundle",
            Self::Certificate => "certificate",
            Self::Digest => "digest",
            Self::ModuleId => "module_id",
            Self::Nonce => "nonce",
            Self::Pcrs => "pcrs",
            Self::PublicKey => "public_key",
            Self::Timestamp => "timestamp",
            Self::UserData => "user_data",
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Algorithm => "it is not signed with ES384",
            Self::Certificate => "its certificate is not one of a P-384 key for digital signatures",
            Self::Expired => "a certificate of its chain has expired",
            Self::Field(field) => {
                return write!(f, "its field {} is absent or not as it must be", field.as_str());
            }
            Self::FromTheFuture => "its timestamp is in the future",
            Self::Issuer => "a certificate of its chain may not issue the next one",
            Self::NotYetValid => "a certificate of its chain is not valid yet",
            Self::NoPublicKey => "it has no public key to encrypt with",
            Self::Payload => "what is signed is not the CBOR of an attestation document",
            Self::PublicKey => "its public key is not an RSA key of 2048 to 4096 bits in DER",
            Self::Signature => "its signature does not verify",
            Self::Stale => "it is older than five minutes",
            Self::Structure => "it is not a COSE_Sign1 structure",
            Self::UnknownField => "it has a field that attestation documents do not have",
            Self::Untrusted => "its certificate chain does not lead to a trusted root certificate",
        })
    }
}

/// Between the fields.
impl From<Malformed> for Invalid {
    fn from(Malformed: Malformed) -> Self {
        Self::Payload
    }
}
