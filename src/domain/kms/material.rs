//! Key material: what is known of each generation of it, and where it is.

use std::fmt;
use std::sync::Arc;

use crate::domain::kms::{MaterialId, RootKeyId, SealedParts, UnixMillis, words};

words! {
    /// Why there is a further generation of key material.
    pub enum RotationType {
        Automatic = "AUTOMATIC",
        OnDemand = "ON_DEMAND",
    }
}

/// One generation of key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    pub id: MaterialId,
    pub created: UnixMillis,
    /// Absent for the material that the key was made with.
    pub rotation: Option<RotationType>,
    /// Encryptions made with it (NIST SP 800-38D, section 8.3), as last written down.
    pub encryptions: u64,
    pub source: MaterialSource,
    /// SubjectPublicKeyInfo in DER (RFC 5280), of a key pair.
    pub public_key: Option<Arc<[u8]>>,
    /// Present exactly if it was imported.
    pub import: Option<Import>,
}

/// Where one generation of key material is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaterialSource {
    /// It was imported, and has expired or was deleted: only the same material can come back.
    Absent,
    /// In the cluster of the key's custom key store.
    ClusterObject,
    /// In the HSM of the KMS API, or as good as there.
    Kept(Arc<KeptKey>),
}

/// How the HSM of the KMS API gets at key material.
#[derive(Clone, PartialEq, Eq)]
pub enum KeptKey {
    /// Kept outside, and unwrapped when it is used.
    Wrapped(WrappedKey),
    /// A token object, whose `CKA_ID` is the material's id: of a kind that the token cannot wrap.
    TokenObject,
    /// Of a kind that the HSM cannot compute with: sealed under its root key, opened in memory by the software
    /// provider when it is used.
    Software { sealed: Vec<u8> },
}

/// Key material as it leaves the HSM: under the HSM's root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which one; absent if it was wrapped before root keys could be rotated.
    pub root_key: Option<RootKeyId>,
    /// The PKCS#11 mechanism that wrapped it and will unwrap it: numbers mean other things to other tokens.
    pub mechanism: u64,
    pub bytes: Vec<u8>,
}

/// What was said when material was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// `KeyMaterialDescription`.
    pub description: Option<String>,
    /// `ValidTo`; absent: it does not expire.
    pub valid_to: Option<UnixMillis>,
    /// It encrypts only after the next rotation on demand.
    pub is_pending_rotation: bool,
    /// Sealed: what tells the same material from another.
    pub fingerprint: Vec<u8>,
}

impl KeptKey {
    /// Whether the daemon computes with it, not the HSM.
    pub const fn is_software(&self) -> bool {
        matches!(self, Self::Software { .. })
    }
}

impl Material {
    /// Whether the daemon computes with it, not the HSM.
    pub fn is_software(&self) -> bool {
        matches!(&self.source, MaterialSource::Kept(kept) if kept.is_software())
    }

    /// Whether neither the material nor its fingerprint is under another root key than this one.
    pub fn is_under(&self, root: RootKeyId) -> bool {
        let names = |sealed: &[u8]| SealedParts::parse(sealed).and_then(|parts| parts.root_key);
        let is_kept = match &self.source {
            MaterialSource::Absent | MaterialSource::ClusterObject => true,
            MaterialSource::Kept(kept) => match &**kept {
                KeptKey::Software { sealed } => names(sealed) == Some(root),
                KeptKey::TokenObject => true,
                KeptKey::Wrapped(wrapped) => wrapped.root_key == Some(root),
            },
        };
        is_kept && self.import.as_ref().is_none_or(|import| names(&import.fingerprint) == Some(root))
    }

    pub const fn is_absent(&self) -> bool {
        matches!(self.source, MaterialSource::Absent)
    }

    pub fn is_pending_rotation(&self) -> bool {
        self.import.as_ref().is_some_and(|import| import.is_pending_rotation)
    }
}

impl fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wrapped(_) => "Wrapped",
            Self::TokenObject => "TokenObject",
            Self::Software { .. } => "Software",
        })
    }
}
