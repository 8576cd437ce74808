//! `KeyMetadata`: what DescribeKey, CreateKey and ReplicateKey say of a key.

use serde::Serialize;

use crate::domain::kms::{
    CustomKeyStore, EncapsulationAlgorithm, EncryptionAlgorithm, Key, KeyAgreementAlgorithm, KeyPlace,
    KeySpec, KeyState, KeyStoreBacking, KeyUsage, MacAlgorithm, Origin, SigningAlgorithm, UnixMillis,
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
    multi_region_key_type: &'static str,
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
        let primary = MultiRegionConfiguration {
            multi_region_key_type: "PRIMARY",
            primary_key: MultiRegionKey { arn: key.arn(), region: key.scope.region.to_string() },
            replica_keys: Vec::new(),
        };
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
            multi_region_configuration: key.multi_region.map(|_| primary),
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
}

fn cluster_id(key_store: &CustomKeyStore) -> Option<String> {
    match &key_store.backing {
        KeyStoreBacking::CloudHsm(backing) => Some(backing.cluster_id.clone()),
        KeyStoreBacking::External(_) => None,
    }
}
