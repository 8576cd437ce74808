//! Request bodies, right ones, which a case then spoils member by member.

use proxy_api::client::Sealed;
use proxy_api::wire::{CDIV_ALGORITHM, ENCRYPTION_ALGORITHM, encode_base64};
use serde_json::{Map, Value, json};

/// The examples of the specification, with its stray slash: the official client sends exactly this ARN.
pub(crate) const KMS_KEY_ARN: &str =
    "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab";
const PRINCIPAL_ARN: &str = "arn:aws:iam::123456789012:user/Alice";
const REQUEST_ID: &str = "4112f4d6-db54-4af4-ae30-c55a22a8dfae";

/// A JSON object that can be spoiled.
#[derive(Clone)]
pub struct Body(Map<String, Value>);

impl Body {
    pub fn health() -> Self {
        Self::of(
            json!({ "requestMetadata": { "kmsOperation": "KmsHealthCheck", "kmsRequestId": REQUEST_ID } }),
        )
    }

    /// With the two members that only the official client sends.
    pub fn metadata() -> Self {
        Self::of(json!({ "requestMetadata": {
            "awsPrincipalArn": PRINCIPAL_ARN, "kmsKeyArn": KMS_KEY_ARN, "kmsOperation": "CreateKey",
            "kmsRequestId": REQUEST_ID, "kmsViaService": "ebs",
        } }))
    }

    pub fn encrypt(plaintext: &[u8], aad: Option<&[u8]>) -> Self {
        Self::of(json!({
            "requestMetadata": crypto_metadata("Encrypt"),
            "plaintext": encode_base64(plaintext),
            "encryptionAlgorithm": ENCRYPTION_ALGORITHM,
        }))
        .with_aad(aad)
    }

    pub fn decrypt(sealed: &Sealed, aad: Option<&[u8]>) -> Self {
        let body = Self::of(json!({
            "requestMetadata": crypto_metadata("Decrypt"),
            "ciphertext": encode_base64(&sealed.ciphertext),
            "encryptionAlgorithm": ENCRYPTION_ALGORITHM,
            "initializationVector": encode_base64(&sealed.iv),
            "authenticationTag": encode_base64(&sealed.tag),
        }))
        .with_aad(aad);
        match &sealed.metadata {
            Some(metadata) => body.with("ciphertextMetadata", encode_base64(metadata)),
            None => body,
        }
    }

    pub fn with_cdiv(self) -> Self {
        self.with("ciphertextDataIntegrityValueAlgorithm", CDIV_ALGORITHM)
    }

    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.insert(member.to_owned(), value.into());
        self
    }

    pub fn without(mut self, member: &str) -> Self {
        self.0.remove(member);
        self
    }

    /// Changes a member of `requestMetadata`.
    pub fn with_metadata(self, member: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.edit_metadata(|metadata| {
            metadata.insert(member.to_owned(), value);
        })
    }

    pub fn without_metadata(self, member: &str) -> Self {
        self.edit_metadata(|metadata| {
            metadata.remove(member);
        })
    }

    pub fn into_text(self) -> String {
        Value::Object(self.0).to_string()
    }

    fn with_aad(self, aad: Option<&[u8]>) -> Self {
        match aad {
            Some(aad) => self.with("additionalAuthenticatedData", encode_base64(aad)),
            None => self,
        }
    }

    fn edit_metadata(mut self, edit: impl FnOnce(&mut Map<String, Value>)) -> Self {
        if let Some(Value::Object(metadata)) = self.0.get_mut("requestMetadata") {
            edit(metadata);
        }
        self
    }

    fn of(value: Value) -> Self {
        match value {
            Value::Object(members) => Self(members),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Self(Map::new())
            }
        }
    }
}

impl From<Body> for Vec<u8> {
    fn from(body: Body) -> Self {
        body.into_text().into_bytes()
    }
}

fn crypto_metadata(kms_operation: &str) -> Value {
    json!({
        "awsPrincipalArn": PRINCIPAL_ARN, "kmsKeyArn": KMS_KEY_ARN, "kmsOperation": kms_operation,
        "kmsRequestId": REQUEST_ID, "kmsViaService": "ebs",
    })
}
