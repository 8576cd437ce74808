//! The rules of imported key material: how it may be wrapped, and what its import means for a key.

use crate::domain::kms::{
    Hash, Key, KeySpec, KeyState, Material, MaterialId, MaterialSource, UnixMillis, WrappingAlgorithm,
    WrappingKeySpec, words,
};

words! {
    /// `ExpirationModelType` of the service model.
    pub enum ExpirationModel {
        Expires = "KEY_MATERIAL_EXPIRES",
        DoesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
}

words! {
    /// `ImportType` of the service model.
    pub enum ImportType {
        /// The first material, or the next generation.
        New = "NEW_KEY_MATERIAL",
        /// Material that the key has or had.
        Existing = "EXISTING_KEY_MATERIAL",
    }
}

words! {
    /// `KeyMaterialState` of the service model.
    pub enum KeyMaterialState {
        NonCurrent = "NON_CURRENT",
        Current = "CURRENT",
        PendingRotation = "PENDING_ROTATION",
        PendingMultiRegionImportAndRotation = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
    }
}

/// Why a wrapping key and algorithm are not for material of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrappingRefusal {
    /// RSAES_PKCS1_V1_5, since 10 October 2023.
    NoLongerSupported,
    /// Outside the Regions in China.
    Sm2,
    /// The material does not fit into what RSA encrypts.
    TooLong,
    /// RSA private keys are never encrypted by RSA itself.
    NotForRsa,
}

/// Table T4: whether material of a kind may be wrapped so.
pub const fn check_wrapping(
    material: KeySpec,
    algorithm: WrappingAlgorithm,
    wrapping_key: WrappingKeySpec,
) -> Result<(), WrappingRefusal> {
    if matches!(algorithm, WrappingAlgorithm::Sm2Pke) || matches!(wrapping_key, WrappingKeySpec::Sm2) {
        return Err(WrappingRefusal::Sm2);
    }
    match algorithm {
        WrappingAlgorithm::RsaesPkcs1V15 => Err(WrappingRefusal::NoLongerSupported),
        WrappingAlgorithm::RsaesOaepSha1 | WrappingAlgorithm::RsaesOaepSha256 => match material {
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Err(WrappingRefusal::NotForRsa),
            KeySpec::EccNistP521 if matches!(wrapping_key, WrappingKeySpec::Rsa2048) => {
                Err(WrappingRefusal::TooLong)
            }
            KeySpec::SymmetricDefault
            | KeySpec::Hmac224
            | KeySpec::Hmac256
            | KeySpec::Hmac384
            | KeySpec::Hmac512
            | KeySpec::EccNistP256
            | KeySpec::EccNistP384
            | KeySpec::EccNistP521
            | KeySpec::EccSecgP256k1
            | KeySpec::EccNistEdwards25519
            | KeySpec::MlDsa44
            | KeySpec::MlDsa65
            | KeySpec::MlDsa87
            | KeySpec::MlKem512
            | KeySpec::MlKem768
            | KeySpec::MlKem1024
            | KeySpec::Sm2 => Ok(()),
        },
        WrappingAlgorithm::RsaAesKeyWrapSha1
        | WrappingAlgorithm::RsaAesKeyWrapSha256
        | WrappingAlgorithm::Sm2Pke => Ok(()),
    }
}

impl WrappingAlgorithm {
    /// Of OAEP, and of its MGF1.
    pub const fn oaep_hash(self) -> Option<Hash> {
        match self {
            Self::RsaesOaepSha1 | Self::RsaAesKeyWrapSha1 => Some(Hash::Sha1),
            Self::RsaesOaepSha256 | Self::RsaAesKeyWrapSha256 => Some(Hash::Sha256),
            Self::RsaesPkcs1V15 | Self::Sm2Pke => None,
        }
    }
}

impl KeySpec {
    /// Whether keys of this spec can have imported material (AWS KMS Developer Guide, Importing key material).
    pub const fn is_importable(self) -> bool {
        match self {
            Self::SymmetricDefault
            | Self::Hmac224
            | Self::Hmac256
            | Self::Hmac384
            | Self::Hmac512
            | Self::Rsa2048
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::EccNistP256
            | Self::EccNistP384
            | Self::EccNistP521
            | Self::EccSecgP256k1
            | Self::EccNistEdwards25519 => true,
            Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87
            | Self::MlKem512
            | Self::MlKem768
            | Self::MlKem1024
            | Self::Sm2 => false,
        }
    }
}

impl Material {
    pub fn expiration_model(&self) -> Option<ExpirationModel> {
        let import = self.import.as_ref()?;
        Some(if import.valid_to.is_some() {
            ExpirationModel::Expires
        } else {
            ExpirationModel::DoesNotExpire
        })
    }

    /// Whether it was imported and its time is over, be it that nobody has deleted it yet.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        let valid_to = self.import.as_ref().and_then(|import| import.valid_to);
        !self.is_absent() && valid_to.is_some_and(|valid_to| valid_to <= now)
    }

    /// Whether it can be used: material that waits for its rotation is not needed yet.
    fn is_lacking(&self, now: UnixMillis) -> bool {
        !self.is_pending_rotation() && (self.is_absent() || self.is_expired(now))
    }
}

impl Key {
    /// Whether every generation of material that the key has had is there.
    pub fn has_all_material(&self, now: UnixMillis) -> bool {
        self.current_material().is_some() && !self.materials.iter().any(|material| material.is_lacking(now))
    }

    /// The state at this time: material that has expired is as good as deleted.
    pub fn state_at(&self, now: UnixMillis) -> KeyState {
        let is_in_use = matches!(self.state, KeyState::Disabled | KeyState::Enabled);
        if is_in_use && !self.has_all_material(now) { KeyState::PendingImport } else { self.state }
    }

    /// After material came.
    pub fn gain_material(&mut self, now: UnixMillis) {
        if self.state == KeyState::PendingImport && self.has_all_material(now) {
            self.state = KeyState::Enabled;
        }
    }

    /// Material that was deleted or has expired: only what tells it from others stays. What never encrypted leaves
    /// nothing, but in a replica, whose primary key has it.
    pub fn lose_material(&mut self, id: &MaterialId, now: UnixMillis) {
        let stays = self.is_replica();
        self.materials.retain(|material| material.id != *id || !material.is_pending_rotation() || stays);
        if let Some(material) = self.materials.iter_mut().find(|material| material.id == *id) {
            material.source = MaterialSource::Absent;
        }
        if matches!(self.state, KeyState::Disabled | KeyState::Enabled) && !self.has_all_material(now) {
            self.state = KeyState::PendingImport;
        }
    }

    /// Material that the next rotation on demand brings into use.
    pub fn pending_material(&self) -> Option<&Material> {
        self.materials.iter().find(|material| material.is_pending_rotation())
    }

    pub fn material_state(&self, id: &MaterialId) -> Option<KeyMaterialState> {
        let material = self.material(id)?;
        let is_current = self.current_material().is_some_and(|current| current.id == *id);
        Some(if material.is_pending_rotation() {
            KeyMaterialState::PendingRotation
        } else if is_current {
            KeyMaterialState::Current
        } else {
            KeyMaterialState::NonCurrent
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{WrappingRefusal, check_wrapping};
    use crate::domain::kms::{KeySpec, WrappingAlgorithm, WrappingKeySpec};

    #[test]
    fn wrapping_goes_by_table_t4() {
        use WrappingAlgorithm as A;
        for spec in KeySpec::ALL.iter().copied().filter(|spec| spec.is_importable()) {
            for algorithm in A::ALL.iter().copied() {
                for key in WrappingKeySpec::ALL.iter().copied() {
                    let refused = check_wrapping(spec, algorithm, key).err();
                    let is_oaep = matches!(algorithm, A::RsaesOaepSha1 | A::RsaesOaepSha256);
                    let expected = if algorithm == A::Sm2Pke || key == WrappingKeySpec::Sm2 {
                        Some(WrappingRefusal::Sm2)
                    } else if algorithm == A::RsaesPkcs1V15 {
                        Some(WrappingRefusal::NoLongerSupported)
                    } else if is_oaep && spec.rsa_bits().is_some() {
                        Some(WrappingRefusal::NotForRsa)
                    } else if is_oaep && spec == KeySpec::EccNistP521 && key == WrappingKeySpec::Rsa2048 {
                        Some(WrappingRefusal::TooLong)
                    } else {
                        None
                    };
                    assert_eq!(refused, expected, "{spec} {algorithm} {key}");
                }
            }
        }
    }
}
