//! Material wrapped for import, as its owner would: by aws-lc-rs, which the daemon's HSM knows nothing of.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use serde_json::{Value, json};

use super::Site;
use super::kms::KmsReply;

/// A wrapping key and its token.
pub struct Parameters {
    pub public_key: Vec<u8>,
    pub token: String,
    algorithm: String,
}

pub fn base64(bytes: &[u8]) -> String {
    proxy_api::wire::encode_base64(bytes)
}

pub fn decode(text: &Value) -> Vec<u8> {
    proxy_api::wire::decode_base64(text.as_str().unwrap()).unwrap()
}

impl Parameters {
    #[track_caller]
    pub fn of(site: &Site, key: &str, algorithm: &str, spec: &str) -> Self {
        let request = json!({"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": spec});
        Self::from(&site.kms("GetParametersForImport", &request).ok(), algorithm)
    }

    pub fn from(answer: &Value, algorithm: &str) -> Self {
        Self {
            public_key: decode(&answer["PublicKey"]),
            token: answer["ImportToken"].as_str().unwrap().to_owned(),
            algorithm: algorithm.to_owned(),
        }
    }

    pub fn wrap(&self, material: &[u8]) -> Vec<u8> {
        if !self.algorithm.starts_with("RSA_AES_KEY_WRAP") {
            return self.oaep(material);
        }
        let key = [0x5a; 32];
        let mut wrapped = vec![0; material.len() + 16];
        let kek = AesKek::new(&AES_256, &key).unwrap();
        let wrapped = kek.wrap_with_padding(material, &mut wrapped).unwrap();
        [self.oaep(&key).as_slice(), wrapped].concat()
    }

    fn oaep(&self, plaintext: &[u8]) -> Vec<u8> {
        let key = PublicEncryptingKey::from_der(&self.public_key).unwrap();
        let key = OaepPublicEncryptingKey::new(key).unwrap();
        let algorithm =
            if self.algorithm.ends_with("SHA_1") { &OAEP_SHA1_MGF1SHA1 } else { &OAEP_SHA256_MGF1SHA256 };
        let mut ciphertext = vec![0; key.ciphertext_size()];
        key.encrypt(algorithm, plaintext, &mut ciphertext, None).unwrap().to_vec()
    }
}

impl Site {
    /// A key that waits for its material.
    #[track_caller]
    pub fn create_key_to_import(&self, request: &Value) -> String {
        self.create_key_with(&super::site::merged(json!({"Origin": "EXTERNAL"}), request.clone()))
    }

    /// Imports material in the way that works for every kind of it; `more` are further members.
    pub fn import(&self, key: &str, material: &[u8], more: &Value) -> KmsReply {
        let parameters = Parameters::of(self, key, "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048");
        self.import_with(&parameters, key, material, more)
    }

    pub fn import_with(&self, parameters: &Parameters, key: &str, material: &[u8], more: &Value) -> KmsReply {
        let request = json!({
            "KeyId": key, "ImportToken": parameters.token,
            "EncryptedKeyMaterial": base64(&parameters.wrap(material)),
        });
        self.kms("ImportKeyMaterial", &super::site::merged(request, more.clone()))
    }
}

/// What does not expire.
pub fn lasting() -> Value {
    json!({"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"})
}
