//! Response bodies. Optional members that are absent are left out, never `null`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::SecretText;

/// GetHealthStatus.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthResponse<'a> {
    /// Proxies behind the endpoint; at least one.
    pub xks_proxy_fleet_size: u32,
    #[serde(borrow)]
    pub xks_proxy_vendor: Cow<'a, str>,
    #[serde(borrow)]
    pub xks_proxy_model: Cow<'a, str>,
    #[serde(borrow)]
    pub ekm_vendor: Cow<'a, str>,
    /// One to ten entries.
    #[serde(borrow)]
    pub ekm_fleet_details: Vec<EkmFleetDetail<'a>>,
}

/// One external key manager of the fleet, for example one HSM.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EkmFleetDetail<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    pub health_status: HealthStatus,
}

/// `healthStatus` of one external key manager.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthStatus {
    /// Healthy.
    Active,
    /// Unhealthy, but serves.
    Degraded,
    /// Cannot serve.
    Unavailable,
}

/// GetKeyMetadata.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataResponse<'a> {
    #[serde(borrow)]
    pub key_spec: Cow<'a, str>,
    /// At most ten values; others than `ENCRYPT` and `DECRYPT` are allowed.
    #[serde(borrow)]
    pub key_usage: Vec<Cow<'a, str>>,
    pub key_status: KeyStatus,
}

/// `keyStatus`. `DISABLED` is an answer with status 200, not an error.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyStatus {
    Disabled,
    Enabled,
}

/// Encrypt. Byte strings are in Base64.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptResponse<'a> {
    #[serde(borrow)]
    pub ciphertext: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub ciphertext_metadata: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub initialization_vector: Cow<'a, str>,
    #[serde(borrow)]
    pub authentication_tag: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub ciphertext_data_integrity_value: Option<Cow<'a, str>>,
}

/// Decrypt.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct DecryptResponse<'a> {
    /// In Base64.
    #[serde(borrow)]
    pub plaintext: SecretText<'a>,
}

#[cfg(test)]
mod tests {
    use super::{
        DecryptResponse, EkmFleetDetail, EncryptResponse, HealthResponse, HealthStatus, KeyStatus,
        MetadataResponse,
    };

    #[test]
    fn health_on_the_wire() {
        let detail =
            |health_status| EkmFleetDetail { id: "hsm-1".into(), model: "SoftHSM".into(), health_status };
        let response = HealthResponse {
            xks_proxy_fleet_size: 2,
            xks_proxy_vendor: "v".into(),
            xks_proxy_model: "m".into(),
            ekm_vendor: "e".into(),
            ekm_fleet_details: vec![detail(HealthStatus::Active), detail(HealthStatus::Unavailable)],
        };
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            concat!(
                r#"{"xksProxyFleetSize":2,"xksProxyVendor":"v","xksProxyModel":"m","ekmVendor":"e","#,
                r#""ekmFleetDetails":[{"id":"hsm-1","model":"SoftHSM","healthStatus":"ACTIVE"},"#,
                r#"{"id":"hsm-1","model":"SoftHSM","healthStatus":"UNAVAILABLE"}]}"#
            )
        );
        assert_eq!(serde_json::to_string(&HealthStatus::Degraded).unwrap(), r#""DEGRADED""#);
    }

    #[test]
    fn metadata_on_the_wire() {
        let response = MetadataResponse {
            key_spec: "AES_256".into(),
            key_usage: vec!["ENCRYPT".into(), "DECRYPT".into()],
            key_status: KeyStatus::Enabled,
        };
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"keySpec":"AES_256","keyUsage":["ENCRYPT","DECRYPT"],"keyStatus":"ENABLED"}"#
        );
        assert_eq!(serde_json::to_string(&KeyStatus::Disabled).unwrap(), r#""DISABLED""#);
    }

    #[test]
    fn encrypt_leaves_out_what_is_absent() {
        let response = EncryptResponse {
            ciphertext: "AAAA".into(),
            ciphertext_metadata: None,
            initialization_vector: "AAAA".into(),
            authentication_tag: "AAAA".into(),
            ciphertext_data_integrity_value: None,
        };
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"ciphertext":"AAAA","initializationVector":"AAAA","authenticationTag":"AAAA"}"#
        );
    }

    #[test]
    fn a_decrypted_plaintext_is_not_in_debug() {
        let response = DecryptResponse { plaintext: "aHVudGVyMg==".into() };
        assert_eq!(serde_json::to_string(&response).unwrap(), r#"{"plaintext":"aHVudGVyMg=="}"#);
        assert!(!format!("{response:?}").contains("aHVu"));
    }
}
