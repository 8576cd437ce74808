//! `KeyMetadata`: what DescribeKey, CreateKey and ReplicateKey say of a key.

use serde::Serialize;

use crate::domain::kms::{
    CustomKeyStore, EncapsulationAlgorithm, EncryptionAlgorithm, ExpirationModel, Key, KeyAgreementAlgorithm,
    KeyPlace, KeySpec, KeyState, KeyStoreBacking, KeyUsage, MacAlgorithm, Material, MultiRegionKeyType,
    Origin, RelatedKeys, SigningAlgorithm, UnixMillis,
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyMetadata {
    #[serde(rename = "AWSAccountId")]
    account_id: String,
    key_id: String,
    arn: String,
    creation_date: UnixMillis,
    enabled: bool,
    description: String,
    key_usage: KeyUsage,
    key_state: KeyState,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_date: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_to: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_model: Option<ExpirationModel>,
    origin: Origin,
    key_manager: &'static str,
    customer_master_key_spec: KeySpec,
    key_spec: KeySpec,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    encryption_algorithms: &'static [EncryptionAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    signing_algorithms: &'static [SigningAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    key_agreement_algorithms: &'static [KeyAgreementAlgorithm],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    encapsulation_algorithms: &'static [EncapsulationAlgorithm],
    multi_region: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_region_configuration: Option<MultiRegionConfiguration>,
    /// Of a primary key that waits for the deletion of its replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_deletion_window_in_days: Option<u16>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mac_algorithms: &'static [MacAlgorithm],
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_key_store_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_hsm_cluster_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xks_key_configuration: Option<XksKeyConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_key_material_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct XksKeyConfiguration {
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MultiRegionConfiguration {
    multi_region_key_type: MultiRegionKeyType,
    primary_key: MultiRegionKey,
    replica_keys: Vec<MultiRegionKey>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MultiRegionKey {
    arn: String,
    region: String,
}

impl KeyMetadata {
    /// Of a key that shows this state, and the custom key store that it is in.
    pub(super) fn of(key: &Key, state: KeyState, key_store: Option<&CustomKeyStore>) -> Self {
        let material = key.current_material();
        Self {
            account_id: key.scope.account.to_string(),
            key_id: key.id.to_string(),
            arn: key.arn(),
            creation_date: key.created,
            enabled: state == KeyState::Enabled,
            description: key.description.clone(),
            key_usage: key.usage,
            key_state: state,
            deletion_date: key.deletion.and_then(|deletion| deletion.due),
            valid_to: material.and_then(|material| material.import.as_ref()?.valid_to),
            expiration_model: material.and_then(Material::expiration_model),
            origin: key.origin,
            key_manager: "CUSTOMER",
            customer_master_key_spec: key.spec,
            key_spec: key.spec,
            encryption_algorithms: key.kind().encryption_algorithms(),
            signing_algorithms: key.kind().signing_algorithms(),
            key_agreement_algorithms: key.kind().key_agreement_algorithms(),
            encapsulation_algorithms: key.kind().encapsulation_algorithms(),
            mac_algorithms: key.kind().mac_algorithms(),
            multi_region: key.multi_region.is_some(),
            multi_region_configuration: None,
            pending_deletion_window_in_days: key
                .deletion
                .filter(|deletion| deletion.due.is_none())
                .map(|deletion| deletion.window_days),
            custom_key_store_id: key.place.custom_key_store().map(ToString::to_string),
            cloud_hsm_cluster_id: key_store.and_then(cluster_id),
            xks_key_configuration: match &key.place {
                KeyPlace::External { xks_key_id, .. } => {
                    Some(XksKeyConfiguration { id: xks_key_id.to_string() })
                }
                KeyPlace::CloudHsm { .. } | KeyPlace::Default => None,
            },
            current_key_material_id: key
                .has_material_ids()
                .then(|| key.current_material().map(|material| material.id.to_string()))
                .flatten(),
        }
    }

    /// With what is told of a multi-Region key: the same lists for each of the related keys.
    pub(super) fn related_to(self, related: &RelatedKeys) -> Self {
        let own = related.iter().find(|own| own.arn() == self.arn);
        let configuration = || {
            Some(MultiRegionConfiguration {
                multi_region_key_type: own?.multi_region?,
                primary_key: MultiRegionKey::of(related.primary()?),
                replica_keys: related.replicas().map(MultiRegionKey::of).collect(),
            })
        };
        Self { multi_region_configuration: configuration(), ..self }
    }
}

impl MultiRegionKey {
    fn of(key: &Key) -> Self {
        Self { arn: key.arn(), region: key.scope.region.to_string() }
    }
}

fn cluster_id(key_store: &CustomKeyStore) -> Option<String> {
    match &key_store.backing {
        KeyStoreBacking::CloudHsm(backing) => Some(backing.cluster_id.clone()),
        KeyStoreBacking::External(_) => None,
    }
}
