//! Request bodies. Text is borrowed from the body where JSON needed no escape.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use super::body::object;
use super::{Operation, SecretText};

/// Who called AWS KMS, and how. The proxy validates nothing in it but the presence of what is required
/// (XKS v1, GetKeyMetadata); unknown members are ignored, an unknown `kmsOperation` is accepted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMetadata<'a> {
    /// The caller of AWS KMS. Not always an ARN: a service principal, or `AWS Internal`.
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub aws_principal_arn: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub aws_source_vpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub aws_source_vpce: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<Cow<'a, str>>,
    /// The KMS API operation behind this request.
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub kms_operation: Option<Cow<'a, str>>,
    /// Opaque; finds the request in CloudTrail.
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub kms_request_id: Option<Cow<'a, str>>,
    /// The AWS service on whose behalf AWS KMS was called.
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub kms_via_service: Option<Cow<'a, str>>,
}

/// GetHealthStatus.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthRequest<'a> {
    #[serde(borrow, deserialize_with = "object")]
    pub request_metadata: RequestMetadata<'a>,
}

/// GetKeyMetadata.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataRequest<'a> {
    #[serde(borrow, deserialize_with = "object")]
    pub request_metadata: RequestMetadata<'a>,
}

/// Encrypt. Byte strings are still in Base64.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptRequest<'a> {
    #[serde(borrow, deserialize_with = "object")]
    pub request_metadata: RequestMetadata<'a>,
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub additional_authenticated_data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub plaintext: SecretText<'a>,
    #[serde(borrow)]
    pub encryption_algorithm: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub ciphertext_data_integrity_value_algorithm: Option<Cow<'a, str>>,
}

/// Decrypt. Byte strings are still in Base64.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecryptRequest<'a> {
    #[serde(borrow, deserialize_with = "object")]
    pub request_metadata: RequestMetadata<'a>,
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub additional_authenticated_data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub ciphertext: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "borrowed", skip_serializing_if = "Option::is_none")]
    pub ciphertext_metadata: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub encryption_algorithm: Cow<'a, str>,
    #[serde(borrow)]
    pub initialization_vector: Cow<'a, str>,
    #[serde(borrow)]
    pub authentication_tag: Cow<'a, str>,
}

impl RequestMetadata<'_> {
    /// The wire name of the first member that `operation` requires and that is absent. Health requires its two
    /// against the table of errors, because the official client does.
    #[must_use]
    pub fn missing_member(&self, operation: Operation) -> Option<&'static str> {
        let (principal_required, key_required) = match operation {
            Operation::Decrypt | Operation::Encrypt => (true, true),
            Operation::GetHealthStatus => (false, false),
            Operation::GetKeyMetadata => (true, false),
        };
        [
            ("awsPrincipalArn", principal_required, &self.aws_principal_arn),
            ("kmsKeyArn", key_required, &self.kms_key_arn),
            ("kmsOperation", true, &self.kms_operation),
            ("kmsRequestId", true, &self.kms_request_id),
        ]
        .into_iter()
        .find_map(|(member, required, value)| (required && value.is_none()).then_some(member))
    }
}

/// `Option<Cow<str>>` that borrows; what serde derives for it copies.
fn borrowed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    Ok(Option::<Text<'_>>::deserialize(deserializer)?.map(|text| text.0))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{DecryptRequest, EncryptRequest, RequestMetadata};
    use crate::wire::{Operation, parse_body};

    const ENCRYPT: &str = r#"{
        "requestMetadata": {
            "awsPrincipalArn": "AWS Internal", "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:/key/1234",
            "kmsOperation": "BulkEncrypt", "kmsRequestId": "not a UUID", "kmsViaService": "ebs", "tags": [1, {}]
        },
        "additionalAuthenticatedData": "cHJvamVjdA==", "plaintext": "SGVsbG8gV29ybGQh",
        "encryptionAlgorithm": "AES_GCM", "ciphertextDataIntegrityValueAlgorithm": "SHA_256", "later": null
    }"#;

    #[test]
    fn encrypt_is_read_without_copies_and_ignores_unknown_members() {
        let request: EncryptRequest<'_> = parse_body(ENCRYPT.as_bytes()).unwrap();
        assert_eq!(&*request.plaintext, "SGVsbG8gV29ybGQh");
        for text in [
            request.request_metadata.aws_principal_arn,
            request.request_metadata.kms_operation,
            request.additional_authenticated_data,
            request.ciphertext_data_integrity_value_algorithm,
        ] {
            assert!(matches!(text, Some(Cow::Borrowed(_))));
        }
    }

    #[test]
    fn escaped_base64_is_still_the_same_text() {
        let body = ENCRYPT.replace("SGVsbG8gV29ybGQh", r"ab\/c");
        assert_eq!(&*parse_body::<EncryptRequest<'_>>(body.as_bytes()).unwrap().plaintext, "ab/c");
    }

    #[test]
    fn debug_hides_the_plaintext() {
        let request: EncryptRequest<'_> = parse_body(ENCRYPT.as_bytes()).unwrap();
        assert!(!format!("{request:?}").contains("SGVs"));
    }

    #[test]
    fn what_is_written_reads_the_same_and_absent_members_stay_absent() {
        let request = DecryptRequest {
            request_metadata: RequestMetadata { kms_operation: Some("Decrypt".into()), ..Default::default() },
            additional_authenticated_data: None,
            ciphertext: "AAAA".into(),
            ciphertext_metadata: Some("AQ==".into()),
            encryption_algorithm: "AES_GCM".into(),
            initialization_vector: "AAAA".into(),
            authentication_tag: "AAAA".into(),
        };
        let body = serde_json::to_string(&request).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"requestMetadata":{"kmsOperation":"Decrypt"},"ciphertext":"AAAA","ciphertextMetadata":"AQ==","#,
                r#""encryptionAlgorithm":"AES_GCM","initializationVector":"AAAA","authenticationTag":"AAAA"}"#
            )
        );
        assert_eq!(parse_body::<DecryptRequest<'_>>(body.as_bytes()).unwrap(), request);
    }

    #[test]
    fn each_required_member_is_missed_in_turn() {
        let whole: RequestMetadata<'_> =
            parse_body(br#"{"awsPrincipalArn":"","kmsKeyArn":"","kmsOperation":"","kmsRequestId":""}"#)
                .unwrap();
        let (mut health, mut metadata, mut encrypt) = (whole.clone(), whole.clone(), whole);
        for operation in [Operation::Decrypt, Operation::Encrypt] {
            assert_eq!(encrypt.missing_member(operation), None);
        }
        encrypt.kms_key_arn = None;
        assert_eq!(encrypt.missing_member(Operation::Encrypt), Some("kmsKeyArn"));
        assert_eq!(encrypt.missing_member(Operation::GetKeyMetadata), None);
        metadata.aws_principal_arn = None;
        assert_eq!(metadata.missing_member(Operation::GetKeyMetadata), Some("awsPrincipalArn"));
        assert_eq!(metadata.missing_member(Operation::GetHealthStatus), None);
        health.kms_request_id = None;
        assert_eq!(health.missing_member(Operation::GetHealthStatus), Some("kmsRequestId"));
        health.kms_operation = None;
        assert_eq!(health.missing_member(Operation::GetHealthStatus), Some("kmsOperation"));
    }
}
