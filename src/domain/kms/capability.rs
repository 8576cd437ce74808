//! What origin, spec and usage of a key allow, whatever its state.

use crate::domain::kms::{Key, KeyAction, KeySpec, KeyState, KeyUsage, Origin, StateRefusal, check_state};

/// Why a key can never do what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityRefusal {
    /// `InvalidKeyUsageException`.
    Usage { usage: KeyUsage, operation: &'static str },
    /// `UnsupportedOperationException`, with the origin in the message.
    Origin(Origin),
    /// `UnsupportedOperationException`, with an empty message: the spec has no such thing.
    Spec,
}

/// Whether this kind of key can do this at all.
pub fn check_capability(key: &Key, action: KeyAction) -> Result<(), CapabilityRefusal> {
    match action {
        KeyAction::DisableKeyRotation
        | KeyAction::EnableKeyRotation
        | KeyAction::GetKeyRotationStatus
        | KeyAction::ListKeyRotations
        | KeyAction::RotateKeyOnDemand => check_rotation(key),
        KeyAction::DeleteImportedKeyMaterial
        | KeyAction::GetParametersForImport
        | KeyAction::ImportKeyMaterial => match key.origin {
            Origin::External => Ok(()),
            Origin::AwsCloudHsm | Origin::AwsKms | Origin::ExternalKeyStore => {
                Err(CapabilityRefusal::Origin(key.origin))
            }
        },
        _ => match needed_usage(action) {
            Some(usages) if !usages.contains(&key.usage) => {
                Err(CapabilityRefusal::Usage { usage: key.usage, operation: action.as_str() })
            }
            Some(_) | None => check_spec(key.spec, action),
        },
    }
}

/// Notes 6 and 7 of the key state table.
fn check_rotation(key: &Key) -> Result<(), CapabilityRefusal> {
    match (key.spec, key.origin) {
        (KeySpec::SymmetricDefault, Origin::AwsKms) => Ok(()),
        (KeySpec::SymmetricDefault, origin) => Err(CapabilityRefusal::Origin(origin)),
        _ => Err(CapabilityRefusal::Spec),
    }
}

/// The usages that permit a cryptographic action; nothing for the others.
const fn needed_usage(action: KeyAction) -> Option<&'static [KeyUsage]> {
    match action {
        KeyAction::Decrypt
        | KeyAction::Encrypt
        | KeyAction::GenerateDataKey
        | KeyAction::GenerateDataKeyPair
        | KeyAction::GenerateDataKeyPairWithoutPlaintext
        | KeyAction::GenerateDataKeyWithoutPlaintext
        | KeyAction::ReEncryptFrom
        | KeyAction::ReEncryptTo => Some(&[KeyUsage::EncryptDecrypt]),
        KeyAction::Sign | KeyAction::Verify => Some(&[KeyUsage::SignVerify]),
        KeyAction::GenerateMac | KeyAction::VerifyMac => Some(&[KeyUsage::GenerateVerifyMac]),
        KeyAction::DeriveSharedSecret => Some(&[KeyUsage::KeyAgreement]),
        KeyAction::Decapsulate | KeyAction::Encapsulate => Some(&[KeyUsage::EncapsulateDecapsulate]),
        _ => None,
    }
}

/// Data keys are protected by symmetric keys only; public keys are of asymmetric ones only.
fn check_spec(spec: KeySpec, action: KeyAction) -> Result<(), CapabilityRefusal> {
    let is_right = match action {
        KeyAction::GenerateDataKey
        | KeyAction::GenerateDataKeyPair
        | KeyAction::GenerateDataKeyPairWithoutPlaintext
        | KeyAction::GenerateDataKeyWithoutPlaintext => spec == KeySpec::SymmetricDefault,
        KeyAction::GetPublicKey => spec.is_asymmetric(),
        _ => true,
    };
    if is_right { Ok(()) } else { Err(CapabilityRefusal::Spec) }
}

impl KeySpec {
    /// Whether keys of this spec can have the usage (AWS KMS Developer Guide, Key spec reference).
    pub const fn permits(self, usage: KeyUsage) -> bool {
        use KeyUsage::{EncapsulateDecapsulate, EncryptDecrypt, GenerateVerifyMac, KeyAgreement, SignVerify};
        match self {
            Self::SymmetricDefault => matches!(usage, EncryptDecrypt),
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => matches!(usage, EncryptDecrypt | SignVerify),
            Self::EccNistP256 | Self::EccNistP384 | Self::EccNistP521 => {
                matches!(usage, SignVerify | KeyAgreement)
            }
            Self::EccSecgP256k1
            | Self::EccNistEdwards25519
            | Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87 => matches!(usage, SignVerify),
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => {
                matches!(usage, GenerateVerifyMac)
            }
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => matches!(usage, EncapsulateDecapsulate),
            Self::Sm2 => matches!(usage, EncryptDecrypt | SignVerify | KeyAgreement),
        }
    }

    pub const fn is_asymmetric(self) -> bool {
        match self {
            Self::SymmetricDefault | Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => false,
            Self::Rsa2048
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::EccNistP256
            | Self::EccNistP384
            | Self::EccNistP521
            | Self::EccSecgP256k1
            | Self::Sm2
            | Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87
            | Self::EccNistEdwards25519
            | Self::MlKem512
            | Self::MlKem768
            | Self::MlKem1024 => true,
        }
    }
}

/// Everything that kind and state of a key say about an action, in the order in which AWS KMS looks.
pub fn check(key: &Key, state: KeyState, action: KeyAction) -> Result<(), Refusal> {
    if state == KeyState::Creating {
        check_state(state, action).map_err(Refusal::State)?;
    }
    check_capability(key, action).map_err(Refusal::Capability)?;
    check_state(state, action).map_err(Refusal::State)
}

/// Why a key does not do what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Capability(CapabilityRefusal),
    State(StateRefusal),
}
