//! A KMS key: what is stored of it, and what follows from that.

use std::sync::Arc;

use crate::domain::kms::{
    AliasName, CustomKeyStoreId, KeyId, KeyKind, Material, MaterialId, RotationType, Scope, UnixMillis,
    XksKeyId, words,
};

words! {
    /// What kind of key it is.
    pub enum KeySpec {
        Rsa2048 = "RSA_2048",
        Rsa3072 = "RSA_3072",
        Rsa4096 = "RSA_4096",
        EccNistP256 = "ECC_NIST_P256",
        EccNistP384 = "ECC_NIST_P384",
        EccNistP521 = "ECC_NIST_P521",
        EccSecgP256k1 = "ECC_SECG_P256K1",
        SymmetricDefault = "SYMMETRIC_DEFAULT",
        Hmac224 = "HMAC_224",
        Hmac256 = "HMAC_256",
        Hmac384 = "HMAC_384",
        Hmac512 = "HMAC_512",
        Sm2 = "SM2",
        MlDsa44 = "ML_DSA_44",
        MlDsa65 = "ML_DSA_65",
        MlDsa87 = "ML_DSA_87",
        EccNistEdwards25519 = "ECC_NIST_EDWARDS25519",
        MlKem512 = "ML_KEM_512",
        MlKem768 = "ML_KEM_768",
        MlKem1024 = "ML_KEM_1024",
    }
}

words! {
    /// What it may be used for.
    pub enum KeyUsage {
        SignVerify = "SIGN_VERIFY",
        EncryptDecrypt = "ENCRYPT_DECRYPT",
        GenerateVerifyMac = "GENERATE_VERIFY_MAC",
        KeyAgreement = "KEY_AGREEMENT",
        EncapsulateDecapsulate = "ENCAPSULATE_DECAPSULATE",
    }
}

words! {
    /// Where its material comes from.
    pub enum Origin {
        AwsKms = "AWS_KMS",
        External = "EXTERNAL",
        AwsCloudHsm = "AWS_CLOUDHSM",
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

words! {
    /// The state of a key, as `DescribeKey` shows it.
    pub enum KeyState {
        Creating = "Creating",
        Disabled = "Disabled",
        Enabled = "Enabled",
        PendingDeletion = "PendingDeletion",
        PendingImport = "PendingImport",
        PendingReplicaDeletion = "PendingReplicaDeletion",
        Unavailable = "Unavailable",
        Updating = "Updating",
    }
}

words! {
    /// Which of related multi-Region keys it is.
    pub enum MultiRegionKeyType {
        /// The one that is replicated, and rotates for all.
        Primary = "PRIMARY",
        Replica = "REPLICA",
    }
}

/// Everything that is stored of a key, but its grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub scope: Scope,
    pub id: KeyId,
    /// Goes up with every change: a change made to an older revision is refused.
    pub revision: u64,
    pub created: UnixMillis,
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub place: KeyPlace,
    /// Absent for a key of one Region.
    pub multi_region: Option<MultiRegionKeyType>,
    /// Of a key in a custom key store, what it is while the store is connected.
    pub state: KeyState,
    /// Present exactly while the state is `PendingDeletion` or `PendingReplicaDeletion`.
    pub deletion: Option<Deletion>,
    /// Present exactly while automatic rotation is enabled.
    pub rotation: Option<Rotation>,
    /// The key policy, as its author wrote it.
    pub policy: Arc<str>,
    /// In the order of their keys.
    pub tags: Vec<Tag>,
    /// In the order of their names.
    pub aliases: Vec<AliasName>,
    /// Every generation of key material, in their order; what waits for its rotation last. Empty until material is
    /// imported.
    pub materials: Vec<Material>,
}

/// In which key store a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// The default key store: the HSM of the KMS API.
    Default,
    /// A token object of a cluster, labelled with the key id, computes.
    CloudHsm { store: CustomKeyStoreId },
    /// Material in the HSM of the KMS API and an external key compute, one after the other.
    External { store: CustomKeyStoreId, xks_key_id: XksKeyId },
}

/// A deletion to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Absent while replicas are left: the window begins when the last one is deleted.
    pub due: Option<UnixMillis>,
    pub window_days: u16,
}

/// Automatic rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub period_days: u16,
    pub next: UnixMillis,
}

/// One tag: case-sensitive texts, the value perhaps empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

impl Deletion {
    /// Once its window begins.
    #[must_use]
    pub const fn begun_at(self, now: UnixMillis) -> Self {
        Self { due: Some(now.plus_days(self.window_days)), ..self }
    }
}

impl KeyPlace {
    /// The custom key store, if it is in one.
    pub const fn custom_key_store(&self) -> Option<&CustomKeyStoreId> {
        match self {
            Self::Default => None,
            Self::CloudHsm { store } | Self::External { store, .. } => Some(store),
        }
    }

    /// The external key, if there is one.
    pub const fn xks_key_id(&self) -> Option<&XksKeyId> {
        match self {
            Self::CloudHsm { .. } | Self::Default => None,
            Self::External { xks_key_id, .. } => Some(xks_key_id),
        }
    }
}

impl Key {
    pub fn arn(&self) -> String {
        self.scope.arn(&format!("key/{}", self.id))
    }

    /// The material that encrypts.
    pub fn current_material(&self) -> Option<&Material> {
        self.materials.iter().rev().find(|material| !material.is_pending_rotation())
    }

    pub const fn kind(&self) -> KeyKind {
        KeyKind { spec: self.spec, usage: self.usage }
    }

    pub const fn is_replica(&self) -> bool {
        matches!(self.multi_region, Some(MultiRegionKeyType::Replica))
    }

    pub fn material(&self, id: &MaterialId) -> Option<&Material> {
        self.materials.iter().rev().find(|material| material.id == *id)
    }

    /// Whether callers are told which generation of material was used: of symmetric keys in the default key store.
    pub const fn has_material_ids(&self) -> bool {
        matches!(self.spec, KeySpec::SymmetricDefault) && matches!(self.place, KeyPlace::Default)
    }

    pub fn on_demand_rotations(&self) -> usize {
        let is_on_demand = |material: &&Material| material.rotation == Some(RotationType::OnDemand);
        self.materials.iter().filter(is_on_demand).count()
    }
}
