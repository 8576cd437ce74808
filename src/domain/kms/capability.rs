//! What origin, spec and usage of a key allow, whatever its state: the acceptance matrix, with table T1 in `algorithm`.

use crate::domain::kms::{
    Algorithm, Key, KeyAction, KeySpec, KeyState, KeyUsage, MultiRegionKeyType, Origin, StateRefusal,
    check_state,
};

/// Why a key can never do what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityRefusal {
    /// `InvalidKeyUsageException`: keys of the spec and usage lack the algorithm.
    Algorithm { algorithm: &'static str, spec: KeySpec },
    /// `UnsupportedOperationException`: it is no key pair.
    NoKeyPair { spec: KeySpec },
    /// `InvalidKeyUsageException`: it encrypts, but it is no symmetric encryption key.
    NotSymmetric { spec: KeySpec, operation: &'static str },
    /// `UnsupportedOperationException`, with the origin in the message.
    Origin(Origin),
    /// `UnsupportedOperationException`: a key of one Region, or a replica, where a multi-Region primary key is asked for.
    NotPrimary,
    /// `UnsupportedOperationException`, with an empty message: the spec has no such thing.
    Spec,
    /// `InvalidKeyUsageException`.
    Usage { usage: KeyUsage, operation: &'static str },
}

/// What an action demands of the kind of a key.
enum Demand {
    Asymmetric,
    /// A symmetric encryption key in the default key store, whose material KMS made or its owner imports.
    HasGenerations,
    /// The same that is no replica.
    HasGenerationsByItself,
    ImportedMaterial,
    MultiRegion,
    None,
    /// A multi-Region key that is no replica.
    Primary,
    /// Whether it rotates can be said of every key in the default key store, but for one that waits for its material
    /// (note 6 of the key state table).
    RotationStatus,
    /// A symmetric encryption key whose material KMS made (notes 6 and 7 of the key state table), and that is no
    /// replica: these rotate with their primary key.
    RotatableByItself,
    SymmetricEncryption,
    /// The same, in the default key store.
    SymmetricEncryptionHere,
    Usage(KeyUsage),
}

const fn demand(action: KeyAction) -> Demand {
    match action {
        KeyAction::DisableKeyRotation | KeyAction::EnableKeyRotation => Demand::RotatableByItself,
        KeyAction::GetKeyRotationStatus => Demand::RotationStatus,
        KeyAction::ListKeyRotations => Demand::HasGenerations,
        KeyAction::RotateKeyOnDemand => Demand::HasGenerationsByItself,
        KeyAction::ReplicateKey => Demand::Primary,
        KeyAction::UpdatePrimaryRegion => Demand::MultiRegion,
        KeyAction::DeleteImportedKeyMaterial
        | KeyAction::GetParametersForImport
        | KeyAction::ImportKeyMaterial => Demand::ImportedMaterial,
        KeyAction::Decrypt | KeyAction::Encrypt | KeyAction::ReEncryptFrom | KeyAction::ReEncryptTo => {
            Demand::Usage(KeyUsage::EncryptDecrypt)
        }
        KeyAction::GenerateDataKey | KeyAction::GenerateDataKeyWithoutPlaintext => {
            Demand::SymmetricEncryption
        }
        KeyAction::GenerateDataKeyPair | KeyAction::GenerateDataKeyPairWithoutPlaintext => {
            Demand::SymmetricEncryptionHere
        }
        KeyAction::Sign | KeyAction::Verify => Demand::Usage(KeyUsage::SignVerify),
        KeyAction::GenerateMac | KeyAction::VerifyMac => Demand::Usage(KeyUsage::GenerateVerifyMac),
        KeyAction::DeriveSharedSecret => Demand::Usage(KeyUsage::KeyAgreement),
        KeyAction::Decapsulate | KeyAction::Encapsulate => Demand::Usage(KeyUsage::EncapsulateDecapsulate),
        KeyAction::GetPublicKey => Demand::Asymmetric,
        KeyAction::CancelKeyDeletion
        | KeyAction::CreateAlias
        | KeyAction::CreateGrant
        | KeyAction::DeleteAlias
        | KeyAction::DescribeKey
        | KeyAction::DisableKey
        | KeyAction::EnableKey
        | KeyAction::GetKeyLastUsage
        | KeyAction::GetKeyPolicy
        | KeyAction::ListAliases
        | KeyAction::ListGrants
        | KeyAction::ListKeyPolicies
        | KeyAction::ListResourceTags
        | KeyAction::PutKeyPolicy
        | KeyAction::RetireGrant
        | KeyAction::RevokeGrant
        | KeyAction::ScheduleKeyDeletion
        | KeyAction::TagResource
        | KeyAction::UntagResource
        | KeyAction::UpdateAlias
        | KeyAction::UpdateAliasFrom
        | KeyAction::UpdateKeyDescription => Demand::None,
    }
}

/// Whether this kind of key can do this at all.
pub fn check_capability(key: &Key, action: KeyAction) -> Result<(), CapabilityRefusal> {
    let is_symmetric = key.spec == KeySpec::SymmetricDefault;
    let demand_usage = |usage: KeyUsage| {
        let refusal = CapabilityRefusal::Usage { usage: key.usage, operation: action.as_str() };
        if key.usage == usage { Ok(()) } else { Err(refusal) }
    };
    let demand_of_spec = |is_right: bool| if is_right { Ok(()) } else { Err(CapabilityRefusal::Spec) };
    let demand_of_origin =
        |is_right: bool| if is_right { Ok(()) } else { Err(CapabilityRefusal::Origin(key.origin)) };
    let demand_symmetric = || {
        demand_usage(KeyUsage::EncryptDecrypt)?;
        let refusal = CapabilityRefusal::NotSymmetric { spec: key.spec, operation: action.as_str() };
        if is_symmetric { Ok(()) } else { Err(refusal) }
    };
    let demand_primary = |is_right: bool| if is_right { Ok(()) } else { Err(CapabilityRefusal::NotPrimary) };
    let demand_rotatable =
        || demand_of_spec(is_symmetric).and_then(|()| demand_of_origin(key.origin == Origin::AwsKms));
    // Before its first material came there is nothing to tell (note 6 of the key state table).
    let has_had_material = key.origin == Origin::External && !key.materials.is_empty();
    let demand_generations = || {
        demand_of_spec(is_symmetric)?;
        demand_of_origin(key.origin == Origin::AwsKms || has_had_material)
    };
    let is_here = key.place.custom_key_store().is_none();
    match demand(action) {
        Demand::Asymmetric if key.spec.is_asymmetric() => Ok(()),
        Demand::Asymmetric => Err(CapabilityRefusal::NoKeyPair { spec: key.spec }),
        Demand::ImportedMaterial => demand_of_origin(key.origin == Origin::External),
        Demand::HasGenerations => demand_generations(),
        Demand::HasGenerationsByItself => {
            demand_generations().and_then(|()| demand_primary(!key.is_replica()))
        }
        Demand::MultiRegion => demand_primary(key.multi_region.is_some()),
        Demand::None => Ok(()),
        Demand::Primary => demand_primary(key.multi_region == Some(MultiRegionKeyType::Primary)),
        Demand::RotatableByItself => demand_rotatable().and_then(|()| demand_primary(!key.is_replica())),
        Demand::RotationStatus => demand_of_origin(is_here && key.state != KeyState::PendingImport),
        Demand::SymmetricEncryption => demand_symmetric(),
        Demand::SymmetricEncryptionHere => demand_symmetric().and_then(|()| demand_of_origin(is_here)),
        Demand::Usage(usage) => demand_usage(usage),
    }
}

/// Whether the key has the algorithm that a request names.
pub fn check_algorithm(key: &Key, algorithm: Algorithm) -> Result<(), CapabilityRefusal> {
    let refusal = CapabilityRefusal::Algorithm { algorithm: algorithm.as_str(), spec: key.spec };
    if key.kind().has(algorithm) { Ok(()) } else { Err(refusal) }
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
