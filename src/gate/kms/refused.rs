//! Why a key is not handed out or not used.

use std::fmt;

use crate::attestation::Invalid;
use crate::audit::Unkept;
use crate::authorizer::evaluation::{Denial, Explicit, Layer};
use crate::domain::kms::{CapabilityRefusal, Region, StateRefusal};
use crate::gate::kms::MultiRegionRefused;
use crate::gate::kms::import::ImportRefused;
use crate::gate::kms::key_store_refused::KeyStoreRefused;
use crate::key_manager::HsmError;
use crate::store::StoreError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    AliasMissing {
        arn: String,
    },
    /// This operation takes ids and ARNs of keys only.
    AliasNotAccepted {
        reference: String,
    },
    Capability {
        arn: String,
        refusal: CapabilityRefusal,
    },
    /// No key that the caller can see made this ciphertext.
    CiphertextKeyMissing,
    /// The key was changed meanwhile: the request is worth another try.
    Conflict,
    ContextTooLong,
    /// NIST SP 800-38D, section 8.3: the material must not encrypt any more.
    EncryptionsUsedUp {
        arn: String,
    },
    Forbidden(Forbidden),
    /// Of imported material.
    Import(ImportRefused),
    /// The attestation document of the recipient.
    InvalidAttestation(Invalid),
    InvalidCiphertext,
    /// Names no key at all.
    InvalidReference {
        reference: String,
    },
    KeyManager(HsmError),
    /// Of a custom key store.
    KeyStore(KeyStoreRefused),
    KeyMissing {
        arn: String,
    },
    /// Nobody's attestation documents are believed.
    NoAttestationRoots,
    /// Of related keys.
    MultiRegion(MultiRegionRefused),
    OtherRegion {
        region: Region,
    },
    State {
        arn: String,
        refusal: StateRefusal,
    },
    Store(StoreError),
    /// The audit trail does not take the record of a change, so nothing was changed.
    Unkept(Unkept),
}

/// For the log; callers are told in the words of AWS, elsewhere.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AliasMissing { arn } | Self::KeyMissing { arn } => write!(f, "{arn} does not exist"),
            Self::AliasNotAccepted { reference } => write!(f, "{reference} is an alias"),
            Self::Capability { arn, .. } => write!(f, "{arn} is of a kind that cannot do this"),
            Self::CiphertextKeyMissing => f.write_str("no key made the ciphertext"),
            Self::Conflict => f.write_str("it was changed meanwhile"),
            Self::ContextTooLong => f.write_str("the encryption context is too long"),
            Self::EncryptionsUsedUp { arn } => write!(f, "{arn} must not encrypt any more"),
            Self::Forbidden(forbidden) => forbidden.fmt(f),
            Self::Import(_) => f.write_str("its imported material does not permit it"),
            Self::InvalidAttestation(invalid) => invalid.fmt(f),
            Self::InvalidCiphertext => f.write_str("the ciphertext is not valid"),
            Self::InvalidReference { reference } => write!(f, "{reference} names no key"),
            Self::KeyManager(error) => error.fmt(f),
            Self::KeyStore(refused) => refused.fmt(f),
            Self::MultiRegion(_) => f.write_str("its related keys do not permit it"),
            Self::NoAttestationRoots => f.write_str("nobody's attestation documents are believed"),
            Self::OtherRegion { region } => write!(f, "it is in the Region {region}"),
            Self::State { arn, .. } => write!(f, "the state of {arn} does not permit it"),
            Self::Store(error) => error.fmt(f),
            Self::Unkept(unkept) => unkept.fmt(f),
        }
    }
}

/// Who may not do what, and which policies say so: in the words of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    pub caller_arn: String,
    pub permission: String,
    /// Absent where the action is not about one resource.
    pub resource: Option<String>,
    pub denial: Denial,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller_arn, permission, resource, denial } = self;
        let resource = resource.as_deref().unwrap_or("*");
        write!(
            f,
            "User: {caller_arn} is not authorized to perform: kms:{permission} on resource: {resource}"
        )?;
        let layer = denial.layer;
        if denial.explicit.is_some() {
            let article = if matches!(layer, Layer::Identity) { "an" } else { "a" };
            write!(f, " with an explicit deny in {article} {layer}")
        } else {
            write!(f, " because no {layer} allows the kms:{permission} action")
        }
    }
}

impl Forbidden {
    /// Which statement of which policy says so, for whoever runs the daemon: callers are not told.
    pub fn explanation(&self) -> String {
        let Denial { layer, explicit } = &self.denial;
        match explicit {
            None => format!("implicit deny: no {layer} allows it"),
            Some(Explicit { policy: None, statement }) => {
                format!("explicit deny: `{statement}` of the {layer}")
            }
            Some(Explicit { policy: Some(policy), statement }) => {
                format!("explicit deny: `{statement}` of the {layer} `{policy}`")
            }
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        if error == StoreError::Conflict { Self::Conflict } else { Self::Store(error) }
    }
}

impl From<KeyStoreRefused> for Refused {
    fn from(refused: KeyStoreRefused) -> Self {
        Self::KeyStore(refused)
    }
}

impl From<HsmError> for Refused {
    fn from(error: HsmError) -> Self {
        Self::KeyManager(error)
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyStoreRefused, Refused, StoreError};

    #[test]
    fn the_log_has_sentences() {
        for (refused, said) in [
            (
                Refused::Store(StoreError::Unavailable("database: disk full".to_owned())),
                "database: disk full",
            ),
            (Refused::from(StoreError::Conflict), "it was changed meanwhile"),
            (Refused::KeyStore(KeyStoreRefused::HasKeys), "there are keys in the key store"),
        ] {
            assert_eq!(refused.to_string(), said);
        }
    }
}
