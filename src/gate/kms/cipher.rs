//! Where a key computes: in the HSM of the KMS API, in a cluster, or there first and then behind a proxy.

use std::sync::Arc;

use crate::domain::kms::{
    BlobStart, Ciphertext, CustomKeyStore, EncryptionContext, InnerLayer, Key, KeyPlace, Layers, Material,
    MaterialSource, OuterLayer, XksKeyId, inner_layer,
};
use crate::gate::kms::key_store_refused::{ClusterRefused, KeyStoreRefused, ProxyUse};
use crate::gate::kms::known_key_stores::KnownKeyStore;
use crate::gate::kms::open_key::tracked_name;
use crate::gate::kms::{OpenKey, Refused};
use crate::key_manager::backing_key::{BackingKey, DataKeyUnder, DecryptUnder, EncryptUnder};
use crate::key_manager::cluster::{Cluster, ClusterSealed};
use crate::key_manager::xks_proxy::{Origin, ProxyFailure};
use crate::key_manager::{Encrypted, HsmError};
use crate::secret::SecretBytes;

/// What encrypts, and what the ciphertext begins with.
#[derive(Clone, Copy)]
pub(super) struct Sealing<'k> {
    pub(super) material: &'k Material,
    pub(super) blob_start: &'k BlobStart,
    pub(super) context: &'k EncryptionContext,
}

impl Sealing<'_> {
    pub(super) fn aad(&self) -> Result<Vec<u8>, Refused> {
        self.blob_start.aad(self.context).ok_or(Refused::ContextTooLong)
    }

    fn blob(&self, encrypted: &Encrypted) -> Vec<u8> {
        self.blob_start.assemble(&encrypted.iv, &encrypted.ciphertext, &encrypted.tag)
    }
}

impl OpenKey<'_> {
    pub(super) async fn seal(
        &self,
        sealing: Sealing<'_>,
        plaintext: SecretBytes,
    ) -> Result<Vec<u8>, Refused> {
        let aad = sealing.aad()?;
        let deadline = self.call().deadline();
        if let KeyPlace::CloudHsm { .. } = &self.key().place {
            let (cluster, label) = self.cluster()?;
            let encrypted = cluster.encrypt(label, plaintext, &aad, deadline).await.result;
            return Ok(sealing.blob(&encrypted.map_err(|error| used(&*cluster, error))?));
        }
        let request = EncryptUnder { key: backing_key(self.key(), sealing.material)?, plaintext, aad };
        let encrypted = async { self.call().kms.backing_keys.encrypt(request, deadline).await.result };
        match &self.key().place {
            KeyPlace::External { xks_key_id, .. } => {
                self.admit_to_proxy()?;
                self.seal_outside(sealing, xks_key_id, &encrypted.await?).await
            }
            KeyPlace::CloudHsm { .. } | KeyPlace::Default => Ok(sealing.blob(&encrypted.await?)),
        }
    }

    /// Fresh random bytes, and their ciphertext.
    pub(super) async fn seal_fresh(
        &self,
        sealing: Sealing<'_>,
        bytes: usize,
    ) -> Result<(SecretBytes, Vec<u8>), Refused> {
        let aad = sealing.aad()?;
        let deadline = self.call().deadline();
        if let KeyPlace::CloudHsm { .. } = &self.key().place {
            let (cluster, label) = self.cluster()?;
            let data_key = cluster.generate_data_key(label, bytes, &aad, deadline).await.result;
            let data_key = data_key.map_err(|error| used(&*cluster, error))?;
            return Ok((data_key.plaintext, sealing.blob(&data_key.encrypted)));
        }
        let request = DataKeyUnder { key: backing_key(self.key(), sealing.material)?, bytes, aad };
        let data_key =
            async { self.call().kms.backing_keys.generate_data_key(request, deadline).await.result };
        match &self.key().place {
            KeyPlace::External { xks_key_id, .. } => {
                self.admit_to_proxy()?;
                let data_key = data_key.await?;
                let blob = self.seal_outside(sealing, xks_key_id, &data_key.encrypted).await?;
                Ok((data_key.plaintext, blob))
            }
            KeyPlace::CloudHsm { .. } | KeyPlace::Default => {
                let data_key = data_key.await?;
                let blob = sealing.blob(&data_key.encrypted);
                Ok((data_key.plaintext, blob))
            }
        }
    }

    pub(super) async fn unseal(
        &self,
        material: &Material,
        ciphertext: &Ciphertext<'_>,
        context: &EncryptionContext,
    ) -> Result<SecretBytes, Refused> {
        // A context that is too long was never encrypted with.
        let aad = ciphertext.aad(context).ok_or(Refused::InvalidCiphertext)?;
        let deadline = self.call().deadline();
        let decrypt = async |iv: &[u8], ciphertext_and_tag: &[u8]| {
            let key = backing_key(self.key(), material)?;
            let (iv, ciphertext_and_tag) = (iv.to_vec(), ciphertext_and_tag.to_vec());
            let request = DecryptUnder { key, iv, ciphertext_and_tag, aad: aad.clone() };
            Ok::<_, Refused>(self.call().kms.backing_keys.decrypt(request, deadline).await.result?)
        };
        match (&self.key().place, ciphertext.header.layers) {
            (KeyPlace::Default, Layers::One) => decrypt(ciphertext.iv, ciphertext.sealed).await,
            (KeyPlace::CloudHsm { .. }, Layers::One) => {
                let (cluster, label) = self.cluster()?;
                let sealed = ClusterSealed { iv: ciphertext.iv, ciphertext_and_tag: ciphertext.sealed };
                let decrypted = cluster.decrypt(label, sealed, &aad, deadline).await.result;
                decrypted.map_err(|error| used(&*cluster, error))
            }
            (KeyPlace::External { xks_key_id, .. }, Layers::Two) => {
                self.admit_to_proxy()?;
                let inner = self.unseal_outside(xks_key_id, ciphertext, context).await?;
                let layer = InnerLayer::parse(inner.expose()).ok_or(KeyStoreRefused::InnerLayer)?;
                decrypt(layer.iv, layer.ciphertext_and_tag).await.map_err(|refused| {
                    if refused == Refused::InvalidCiphertext
                        || refused == Refused::KeyManager(HsmError::BadCiphertext)
                    {
                        KeyStoreRefused::InnerLayer.into()
                    } else {
                        refused
                    }
                })
            }
            (KeyPlace::CloudHsm { .. } | KeyPlace::Default, Layers::Two)
            | (KeyPlace::External { .. }, Layers::One) => Err(Refused::InvalidCiphertext),
        }
    }

    async fn seal_outside(
        &self,
        sealing: Sealing<'_>,
        xks_key_id: &XksKeyId,
        inner: &Encrypted,
    ) -> Result<Vec<u8>, Refused> {
        let aad = sealing.blob_start.outer_aad(sealing.context).ok_or(Refused::ContextTooLong)?;
        let layer = inner_layer(&inner.iv, &inner.ciphertext, &inner.tag);
        let call = self.call();
        let proxy = call.kms.proxy_of(self.known_key_store()?, call.deadline()).await?;
        let request_id = call.id().to_string();
        let origin = self.origin(&request_id);
        let outer = proxy.encrypt(xks_key_id.as_str(), &layer, &aad, origin).await.map_err(proxy_refused)?;
        Ok(sealing.blob_start.assemble_outer(&outer))
    }

    async fn unseal_outside(
        &self,
        xks_key_id: &XksKeyId,
        ciphertext: &Ciphertext<'_>,
        context: &EncryptionContext,
    ) -> Result<SecretBytes, Refused> {
        let aad = ciphertext.outer_aad(context).ok_or(Refused::InvalidCiphertext)?;
        let (sealed, tag) = ciphertext.split_tag();
        let outer = OuterLayer {
            iv: ciphertext.iv.to_vec(),
            metadata: ciphertext.metadata.map(<[u8]>::to_vec),
            ciphertext: sealed.to_vec(),
            tag: tag.to_vec(),
        };
        let call = self.call();
        let proxy = call.kms.proxy_of(self.known_key_store()?, call.deadline()).await?;
        let request_id = call.id().to_string();
        let origin = self.origin(&request_id);
        proxy.decrypt(xks_key_id.as_str(), &outer, &aad, origin).await.map_err(proxy_refused)
    }

    /// XKS v1, request metadata.
    fn origin<'o>(&'o self, request_id: &'o str) -> Origin<'o> {
        Origin {
            kms_operation: tracked_name(self.action()),
            kms_request_id: request_id,
            aws_principal_arn: Some(&self.call().caller().arn),
            kms_key_arn: Some(self.arn()),
        }
    }

    fn admit_to_proxy(&self) -> Result<(), Refused> {
        let operation = tracked_name(self.action());
        self.call().kms.key_stores.admit(&self.known_key_store()?.store, operation)
    }

    /// The cluster, and the label of the key in it.
    fn cluster(&self) -> Result<(Arc<dyn Cluster>, &str), Refused> {
        let known = self.known_key_store()?;
        self.call().kms.key_stores.admit(&known.store, tracked_name(self.action()))?;
        let cluster = self.call().kms.cluster_of(known).map_err(|refused| {
            let Refused::KeyStore(KeyStoreRefused::Cluster(ClusterRefused::NotFound { cluster_id })) =
                refused
            else {
                return refused;
            };
            // The configuration has it no more: to whoever uses the key it is a cluster that does not answer.
            let gone = HsmError::Unavailable(format!("the configuration has no cluster {cluster_id}"));
            KeyStoreRefused::Cluster(ClusterRefused::Use(gone)).into()
        })?;
        Ok((cluster, self.key().id.as_str()))
    }

    /// Every key in a custom key store was opened with it.
    fn known_key_store(&self) -> Result<&KnownKeyStore, Refused> {
        self.key_store().ok_or_else(|| {
            let named = self.key().place.custom_key_store().map(ToString::to_string).unwrap_or_default();
            KeyStoreRefused::Missing { named }.into()
        })
    }

    /// The custom key store that the key is in.
    pub fn custom_key_store(&self) -> Option<&CustomKeyStore> {
        self.key_store().map(|known| &known.store)
    }
}

fn proxy_refused(failure: ProxyFailure) -> Refused {
    KeyStoreRefused::Proxy { while_: ProxyUse::Cryptography, failure }.into()
}

/// What went wrong when a cluster was to compute: it is no fault of the HSM of the KMS API.
fn used(cluster: &dyn Cluster, error: HsmError) -> Refused {
    if error == HsmError::BadCiphertext {
        return Refused::InvalidCiphertext;
    }
    let is_locked_out = matches!(error, HsmError::Unavailable(_)) && cluster.is_user_locked_out();
    let refused = if is_locked_out { ClusterRefused::LockedOut } else { ClusterRefused::Use(error) };
    KeyStoreRefused::Cluster(refused).into()
}

/// Key material as the HSM of the KMS API knows it.
pub(super) fn backing_key(key: &Key, material: &Material) -> Result<BackingKey, Refused> {
    let elsewhere = |what: &str| Err(Refused::KeyManager(HsmError::Device(what.to_owned())));
    match &material.source {
        MaterialSource::Absent => elsewhere("the material of the key is gone"),
        MaterialSource::ClusterObject => elsewhere("the material of the key is in a cluster"),
        MaterialSource::Kept(kept) => {
            Ok(BackingKey { id: material.id, kind: key.kind(), kept: Arc::clone(kept) })
        }
    }
}
