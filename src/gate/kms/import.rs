//! Key material that callers bring: parameters for its import, the import, and its end.

use std::sync::Arc;
use std::time::Instant;

use subtle::ConstantTimeEq;

use crate::domain::kms::{
    Import, ImportToken, ImportType, KeptKey, Key, KeyId, KeySpec, LifecycleEventKind, MATERIAL_ID_BYTES,
    Material, MaterialId, MaterialSource, Scope, UnixMillis, WrappingAlgorithm, WrappingKeySpec,
    WrappingRefusal, check_wrapping,
};
use crate::gate::kms::changes::to_the_end;
use crate::gate::kms::cipher::backing_key;
use crate::gate::kms::material::random;
use crate::gate::kms::service_event::ServiceAct;
use crate::gate::kms::{Kms, OpenKey, Refused};
use crate::key_manager::HsmError;
use crate::key_manager::backing_key::{BackingKey, ImportedKey, KeyOrder, ToImport};
use crate::secret::SecretBytes;

/// How long a wrapping key and its import token can be used (GetParametersForImport).
const TOKEN_HOURS: i64 = 24;
const MILLIS_PER_HOUR: i64 = 60 * 60 * 1000;

/// Why material is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportRefused {
    /// `ExpiredImportTokenException`.
    ExpiredToken,
    /// `IncorrectKeyMaterialException`: no material of the kind, or not the same as before.
    IncorrectMaterial(&'static str),
    /// `InvalidCiphertextException`: it cannot be unwrapped.
    InvalidCiphertext,
    /// `InvalidImportTokenException`: not made here, or for another key.
    InvalidToken,
    /// `KMSInvalidStateException`: other new material waits for its rotation already.
    IsPendingRotation,
    /// `KMSInvalidStateException`: a replica can only have the material that its primary key has.
    NotOfThePrimary,
    /// `KMSInvalidStateException`: there is none that a rotation could bring into use.
    NothingToRotateTo,
    /// `NotFoundException`: the key has no such material.
    UnknownMaterial,
    Wrapping(WrappingRefusal),
}

/// What GetParametersForImport answers with.
pub struct ImportParameters {
    pub public_key: Vec<u8>,
    pub token: Vec<u8>,
    pub valid_to: UnixMillis,
}

/// What ImportKeyMaterial brings.
pub struct BroughtMaterial {
    pub token: Vec<u8>,
    pub encrypted: Vec<u8>,
    pub terms: ImportTerms,
}

/// How it is to be kept.
pub struct ImportTerms {
    /// Without one it does not expire.
    pub valid_to: Option<UnixMillis>,
    pub kind: ImportType,
    pub description: Option<String>,
    /// Which material it is to be.
    pub material_id: Option<MaterialId>,
}

impl OpenKey<'_> {
    /// A new wrapping key, and the token that it is known by.
    pub async fn parameters_for_import(
        &self,
        algorithm: WrappingAlgorithm,
        wrapping_key_spec: WrappingKeySpec,
    ) -> Result<ImportParameters, Refused> {
        check_wrapping(self.key().spec, algorithm, wrapping_key_spec).map_err(ImportRefused::Wrapping)?;
        let (backing_keys, deadline) = (&self.call().kms.backing_keys, self.call().deadline());
        let made = backing_keys.generate_wrapping_key(wrapping_key_spec, deadline).await.result?;
        let valid_to = UnixMillis(self.call().now().0.saturating_add(TOKEN_HOURS * MILLIS_PER_HOUR));
        let token = ImportToken { valid_to, algorithm, wrapping_key_spec, wrapping_key: made.private_key };
        let secret = SecretBytes::new(token.to_bytes());
        let token = backing_keys.seal(secret, self.token_context(), deadline).await.result?;
        Ok(ImportParameters { public_key: made.public_key, token, valid_to })
    }

    /// Takes material up, or takes it back; which material of the key it is then.
    pub async fn import_material(&self, brought: BroughtMaterial) -> Result<MaterialId, Refused> {
        let BroughtMaterial { token, encrypted, terms } = brought;
        let token = self.open_token(token).await?;
        self.check_terms(&terms)?;
        // What is made in the HSM may be durable there.
        self.call().announce().await?;
        let order = KeyOrder { id: self.id_to_import()?, kind: self.key().kind() };
        let to_import = ToImport {
            wrapping_key: token.wrapping_key,
            wrapping_key_spec: token.wrapping_key_spec,
            algorithm: token.algorithm,
            encrypted,
            order,
        };
        let (backing_keys, deadline) = (&self.call().kms.backing_keys, self.call().deadline());
        let imported = backing_keys.import(to_import, deadline).await.result.map_err(unwrapped)?;
        let fresh = BackingKey { id: order.id, kind: order.kind, kept: Arc::new(imported.made.kept.clone()) };
        let taken_up = match &imported.made.kept {
            // Related keys name their material by one id, and would have one object.
            KeptKey::TokenObject if self.key().multi_region.is_some() => {
                Err(Refused::KeyManager(HsmError::Unsupported(OBJECT_OF_SEVERAL.to_owned())))
            }
            KeptKey::Software { .. } | KeptKey::TokenObject | KeptKey::Wrapped(_) => {
                self.take_up(imported, order.id, terms).await
            }
        };
        if !taken_up.as_ref().is_ok_and(|taken_up| taken_up.is_kept) {
            self.call().kms.discard(fresh, deadline).await;
        }
        taken_up.map(|taken_up| taken_up.id)
    }

    /// What the material is to be called. An object in the token, and what is sealed, go by the id: of a key that can only
    /// have the material that it had, that one.
    fn id_to_import(&self) -> Result<MaterialId, Refused> {
        match self.key().materials.as_slice() {
            [only] if only.is_absent() && !has_generations(self.key()) => Ok(only.id),
            _ => Ok(MaterialId::new(random::<MATERIAL_ID_BYTES>()?)),
        }
    }

    /// Ends the use of imported material, now: of the current one, if none is named. Which it was.
    pub async fn delete_material(&self, named: Option<MaterialId>) -> Result<Option<MaterialId>, Refused> {
        let material = match named {
            Some(id) => Some(self.key().material(&id).ok_or(ImportRefused::UnknownMaterial)?),
            None => self.key().current_material(),
        };
        let Some(material) = material.filter(|material| !material.is_absent()) else {
            return Ok(material.map(|material| material.id));
        };
        let (id, now) = (material.id, self.call().now());
        let gone = backing_key(self.key(), material)?;
        self.replace(|key| key.lose_material(&id, now)).await?;
        self.call().kms.backing_keys.forget(&id);
        self.call().kms.discard(gone, self.call().deadline()).await;
        Ok(Some(id))
    }

    fn token_context(&self) -> Vec<u8> {
        format!("import token of {}", self.arn()).into_bytes()
    }

    /// Of this key, and not too old.
    async fn open_token(&self, token: Vec<u8>) -> Result<ImportToken, Refused> {
        let (backing_keys, deadline) = (&self.call().kms.backing_keys, self.call().deadline());
        let opened = backing_keys.unseal(token, self.token_context(), deadline).await.result;
        let opened = opened.map_err(|error| {
            if error == HsmError::BadCiphertext {
                Refused::Import(ImportRefused::InvalidToken)
            } else {
                Refused::KeyManager(error)
            }
        })?;
        let token = ImportToken::parse(opened.expose()).ok_or(ImportRefused::InvalidToken)?;
        if token.valid_to <= self.call().now() {
            return Err(ImportRefused::ExpiredToken.into());
        }
        Ok(token)
    }

    /// What can be refused before the HSM unwraps anything.
    fn check_terms(&self, terms: &ImportTerms) -> Result<(), Refused> {
        if terms.kind == ImportType::New && self.key().is_replica() {
            return Err(ImportRefused::NotOfThePrimary.into());
        }
        if terms.kind == ImportType::New && self.key().pending_material().is_some() {
            return Err(ImportRefused::IsPendingRotation.into());
        }
        if terms.material_id.is_some_and(|id| self.key().material(&id).is_none()) {
            return Err(ImportRefused::UnknownMaterial.into());
        }
        Ok(())
    }

    async fn take_up(
        &self,
        imported: ImportedKey,
        fresh_id: MaterialId,
        terms: ImportTerms,
    ) -> Result<TakenUp, Refused> {
        let same = self.material_with(&imported.fingerprint).await?;
        let same = same.map(|material| material.id);
        match (terms.kind, same) {
            (ImportType::New, Some(_)) if !self.key().materials.is_empty() => {
                Err(ImportRefused::IncorrectMaterial(NOT_NEW).into())
            }
            (ImportType::New, _) => self.add_material(imported, fresh_id, terms).await,
            (ImportType::Existing, Some(id)) if terms.material_id.is_none_or(|named| named == id) => {
                self.restore_material(imported, id, terms).await
            }
            (ImportType::Existing, _) => Err(ImportRefused::IncorrectMaterial(NOT_THE_SAME).into()),
        }
    }

    /// The material of the key that has this fingerprint.
    async fn material_with(&self, fingerprint: &SecretBytes) -> Result<Option<&Material>, Refused> {
        for material in &self.key().materials {
            let Some(import) = &material.import else { continue };
            let (backing_keys, deadline) = (&self.call().kms.backing_keys, self.call().deadline());
            let sealed = import.fingerprint.clone();
            let known = backing_keys.unseal(sealed, self.fingerprint_context(), deadline).await.result;
            let damaged = || HsmError::Device("a fingerprint in the database is damaged".to_owned());
            let known =
                known.map_err(|error| if error == HsmError::BadCiphertext { damaged() } else { error })?;
            if bool::from(known.expose().ct_eq(fingerprint.expose())) {
                return Ok(Some(material));
            }
        }
        Ok(None)
    }

    /// Related multi-Region keys have the same id, and the same material.
    fn fingerprint_context(&self) -> Vec<u8> {
        fingerprint_context(self.key())
    }

    /// The first material of the key, or the next generation.
    async fn add_material(
        &self,
        imported: ImportedKey,
        id: MaterialId,
        terms: ImportTerms,
    ) -> Result<TakenUp, Refused> {
        let (backing_keys, deadline) = (&self.call().kms.backing_keys, self.call().deadline());
        let sealed = backing_keys.seal(imported.fingerprint, self.fingerprint_context(), deadline);
        let fingerprint = sealed.await.result?;
        let ImportTerms { valid_to, description, .. } = terms;
        let now = self.call().now();
        self.replace(|key| {
            let is_pending_rotation = !key.materials.is_empty();
            key.materials.push(Material {
                id,
                created: now,
                rotation: None,
                encryptions: 0,
                source: MaterialSource::Kept(Arc::new(imported.made.kept)),
                public_key: imported.made.public_key.map(Arc::from),
                import: Some(Import { description, valid_to, is_pending_rotation, fingerprint }),
            });
            key.gain_material(now);
        })
        .await?;
        Ok(TakenUp { id, is_kept: true })
    }

    /// Material that the key has, on new terms, or that it had.
    async fn restore_material(
        &self,
        imported: ImportedKey,
        id: MaterialId,
        terms: ImportTerms,
    ) -> Result<TakenUp, Refused> {
        let is_there = self.key().material(&id).is_some_and(|material| !material.is_absent());
        let now = self.call().now();
        self.replace(|key| {
            let Some(material) = key.materials.iter_mut().find(|material| material.id == id) else { return };
            if !is_there {
                material.source = MaterialSource::Kept(Arc::new(imported.made.kept));
            }
            if let Some(import) = &mut material.import {
                import.valid_to = terms.valid_to;
                import.description = terms.description.or(import.description.take());
            }
            key.gain_material(now);
        })
        .await?;
        Ok(TakenUp { id, is_kept: !is_there })
    }
}

/// Which material of the key it is now, and whether what was imported is what is kept of it.
struct TakenUp {
    id: MaterialId,
    is_kept: bool,
}

const OBJECT_OF_SEVERAL: &str =
    "The HSM cannot wrap keys of this key spec, which multi-Region keys with imported material need.";
const NOT_NEW: &str = "The key material is not new: it was imported into this KMS key before.";
const NOT_THE_SAME: &str = "The key material is not the same that was imported into this KMS key before.";
const NOT_OF_THE_KIND: &str = "The key material is not valid for the key spec of this KMS key.";

/// What the HSM says of the caller's material; nothing that tells how far unwrapping came.
fn unwrapped(error: HsmError) -> Refused {
    if matches!(error, HsmError::BadCiphertext | HsmError::TooLong) {
        return ImportRefused::InvalidCiphertext.into();
    }
    if error == HsmError::BadKeyMaterial {
        return ImportRefused::IncorrectMaterial(NOT_OF_THE_KIND).into();
    }
    error.into()
}

/// What `ImportType` means if it is not said.
pub fn import_type_of(key: &Key) -> ImportType {
    if key.materials.is_empty() { ImportType::New } else { ImportType::Existing }
}

/// Only these keys have generations of imported material.
pub fn has_generations(key: &Key) -> bool {
    key.spec == KeySpec::SymmetricDefault
}

impl From<ImportRefused> for Refused {
    fn from(refused: ImportRefused) -> Self {
        Self::Import(refused)
    }
}

impl Kms {
    /// Destroys what was made in the token of material that no key has.
    pub(super) async fn discard(&self, key: BackingKey, deadline: Instant) {
        if *key.kept != KeptKey::TokenObject {
            return;
        }
        let id = key.id;
        if let Err(error) = self.backing_keys.destroy(key, deadline).await.result {
            tracing::warn!(reason = %error, "the key object {id} that no key has is left in the HSM: {error}");
        }
    }

    /// Deletes what has expired of a key: true if something had.
    pub(super) async fn expire_if_due(
        &self,
        (scope, id): (&Scope, &KeyId),
        now: UnixMillis,
        deadline: Instant,
    ) -> Result<bool, Refused> {
        let Some(key) = self.store.key(scope, id).await? else { return Ok(false) };
        let is_expired = |material: &&Material| material.is_expired(now);
        let Some(material) = key.materials.iter().find(is_expired) else { return Ok(false) };
        let (material_id, gone) = (material.id, backing_key(&key, material)?);
        let mut next = key.clone();
        next.lose_material(&material_id, now);
        next.revision += 1;
        let event = self.service_event(ServiceAct::DeleteExpiredKeyMaterial, &key)?;
        let changes = self.changes(event.announce().await?);
        let kind = LifecycleEventKind::MaterialExpiration;
        let next = Arc::new(next);
        let replaced = match self.lifecycle_event(kind, &key)? {
            Some(told) => to_the_end(changes.rotate_key(Arc::clone(&next), told)).await,
            None => to_the_end(changes.replace_key(Arc::clone(&next))).await.map(|()| 0),
        };
        let replaced = replaced.map_err(Refused::from);
        event.end(&replaced);
        self.note_lifecycle_event(kind, replaced?);
        self.backing_keys.forget(&material_id);
        self.discard(gone, deadline).await;
        tracing::info!(
            key.id = %id, account = %scope.account, region = %scope.region,
            "imported material of key {id} has expired and was deleted"
        );
        Ok(true)
    }
}

/// What the fingerprints of a key's material are bound to.
pub(super) fn fingerprint_context(key: &Key) -> Vec<u8> {
    format!("fingerprint of material of {}/{}", key.scope.account, key.id).into_bytes()
}
