//! Encrypt, GenerateDataKey and Decrypt of the KMS API: what was encrypted is decrypted again by later requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{HeaderValue, Method};
use proxy_api::client::{Answer, Endpoint, Outgoing};
use proxy_api::sigv4::{self, Credential, Scope, SigningKey, Timestamp, X_AMZ_DATE};
use proxy_api::wire::encode_base64;
use serde_json::{Value, json};

use crate::clock::unix_seconds;
use crate::load::record::Outcome;
use crate::load::{Prepared, Work};

const SIGNED_HEADERS: &str = "content-type;host;x-amz-date;x-amz-target";
/// Ciphertexts that wait to be decrypted.
const KEPT_MAX: usize = 512;
/// Old enough that another member may have to open them.
const KEPT_MIN: usize = 8;

/// A ciphertext blob and its plaintext, both in Base64.
type Encrypted = (String, String);

/// What a run sends to the KMS API.
pub struct Kms {
    pub endpoint: Endpoint,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub region: String,
    pub key_id: String,
    pub kept: Arc<Mutex<VecDeque<Encrypted>>>,
}

impl Work for Kms {
    fn prepare(&self, index: u64) -> Prepared {
        let old = if index % 5 >= 3 {
            let mut kept = self.kept.lock().unwrap();
            (kept.len() > KEPT_MIN).then(|| kept.pop_front()).flatten()
        } else {
            None
        };
        if let Some((blob, plaintext)) = old {
            let outgoing = self.signed("Decrypt", &json!({"CiphertextBlob": blob}));
            let judge = move |answer: &Answer| match members(answer) {
                Ok(body) if body["Plaintext"] == plaintext.as_str() => Outcome::Good,
                Ok(_) => Outcome::Wrong("another plaintext".to_owned()),
                // What was handed out as good was not.
                Err(Outcome::Refused(text)) if text.contains("InvalidCiphertext") => Outcome::Wrong(text),
                Err(outcome) => outcome,
            };
            return Prepared { outgoing, judge: Box::new(judge) };
        }
        let kept = Arc::clone(&self.kept);
        if index % 5 == 2 {
            let body = json!({"KeyId": self.key_id, "KeySpec": "AES_256"});
            let judge = move |answer: &Answer| match members(answer) {
                Ok(body) => keep(&kept, &body, body["Plaintext"].as_str()),
                Err(outcome) => outcome,
            };
            let outgoing = self.signed("GenerateDataKey", &body);
            return Prepared { outgoing, judge: Box::new(judge) };
        }
        let plaintext = encode_base64(&index.to_be_bytes().repeat(8));
        let outgoing = self.signed("Encrypt", &json!({"KeyId": self.key_id, "Plaintext": plaintext}));
        let judge = move |answer: &Answer| match members(answer) {
            Ok(body) => keep(&kept, &body, Some(&plaintext)),
            Err(outcome) => outcome,
        };
        Prepared { outgoing, judge: Box::new(judge) }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Kms {
    pub fn signed(&self, operation: &str, body: &Value) -> Outgoing {
        let body = serde_json::to_vec(body).unwrap();
        let path = "/".parse().unwrap();
        let mut outgoing = Outgoing::new(Method::POST, path, self.endpoint.host(), body.into());
        let signed_at = Timestamp::from_unix_seconds(i64::try_from(unix_seconds()).unwrap()).unwrap();
        outgoing.headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
        outgoing.headers.insert(X_AMZ_DATE, signed_at.as_str().parse().unwrap());
        outgoing.headers.insert("x-amz-target", format!("TrentService.{operation}").parse().unwrap());
        let scope = Scope { date: signed_at.date(), region: &self.region, service: "kms" };
        let credential =
            Credential { access_key_id: &self.access_key_id, scope, signed_headers: SIGNED_HEADERS };
        let key = SigningKey::derive(self.secret_access_key.as_bytes(), &scope);
        let authorization = sigv4::sign(&outgoing.signable(), &credential, signed_at.as_str(), &key).unwrap();
        outgoing.headers.insert("authorization", authorization.parse().unwrap());
        outgoing
    }
}

/// The members of a good answer, or what it was instead.
pub fn members(answer: &Answer) -> Result<Value, Outcome> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status.as_u16();
    match body["__type"].as_str() {
        _ if status == 200 => Ok(body),
        Some(name) => Err(Outcome::Refused(format!("{status} {name}"))),
        None => Err(Outcome::Lost(format!("{status} without an error type"))),
    }
}

fn keep(kept: &Mutex<VecDeque<Encrypted>>, body: &Value, plaintext: Option<&str>) -> Outcome {
    let (Some(blob), Some(plaintext)) = (body["CiphertextBlob"].as_str(), plaintext) else {
        return Outcome::Wrong("an answer without its members".to_owned());
    };
    let mut kept = kept.lock().unwrap();
    if kept.len() < KEPT_MAX {
        kept.push_back((blob.to_owned(), plaintext.to_owned()));
    }
    Outcome::Good
}
