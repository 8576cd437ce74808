//! Encrypt, with and without an integrity value, and Decrypt of the XKS API, under a key whose value is known here:
//! every ciphertext is opened, and those that are sent for decryption are made, by another implementation of AES-GCM.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use http::Method;
use proxy_api::client::{Answer, Endpoint, Outgoing, Signer};
use proxy_api::wire::{bound_aad, cdiv, decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::clock::unix_seconds;
use crate::load::record::Outcome;
use crate::load::{Judge, Prepared, Work};
use crate::site::{KNOWN_KEY, KNOWN_KEY_LABEL};

/// As long as data keys, and now and then as long as what is encrypted directly.
const PLAINTEXT_BYTES: [usize; 5] = [32, 32, 0, 64, 2048];
const AAD_BYTES: [usize; 3] = [0, 33, 200];
const VARIANTS: usize = PLAINTEXT_BYTES.len() * AAD_BYTES.len();
const TAG_BYTES: usize = 16;

/// Which of these requests is the how manieth of ten.
const MIX: [Operation; 10] = [
    Operation::Encrypt,
    Operation::Decrypt,
    Operation::EncryptWithCdiv,
    Operation::Decrypt,
    Operation::Encrypt,
    Operation::EncryptWithCdiv,
    Operation::Decrypt,
    Operation::Encrypt,
    Operation::Decrypt,
    Operation::EncryptWithCdiv,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Encrypt,
    EncryptWithCdiv,
    Decrypt,
}

/// Which encryptions ask for an integrity value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cdiv {
    Some,
    All,
}

/// What a run sends to one key store.
pub struct Xks {
    endpoint: Endpoint,
    signer: Signer,
    path: String,
    cdiv: Cdiv,
    cases: Vec<Case>,
}

/// Requests that no HSM is asked for: what they take, the machine takes.
pub struct Control {
    endpoint: Endpoint,
    signer: Signer,
    path: String,
    body: Vec<u8>,
}

impl Control {
    pub fn new(endpoint: Endpoint, signer: Signer, key_store: &str) -> Self {
        let path = format!("/{key_store}/kms/xks/v1/keys/{KNOWN_KEY_LABEL}/metadata");
        let body = serde_json::to_vec(&json!({"requestMetadata": metadata("DescribeKey")})).unwrap();
        Self { endpoint, signer, path, body }
    }
}

impl Work for Control {
    fn prepare(&self, _index: u64) -> Prepared {
        let path = self.path.parse().unwrap();
        let mut outgoing = Outgoing::new(Method::POST, path, self.endpoint.host(), self.body.clone().into());
        self.signer.sign(&mut outgoing, unix_seconds()).unwrap();
        let judge = |answer: &Answer| members(answer).map_or_else(|outcome| outcome, |_| Outcome::Good);
        Prepared { outgoing, judge: Box::new(judge) }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

struct Case {
    plaintext: Vec<u8>,
    aad: Vec<u8>,
    encrypt: Vec<u8>,
    encrypt_with_cdiv: Vec<u8>,
    decrypt: Vec<u8>,
}

impl Xks {
    pub fn new(endpoint: Endpoint, signer: Signer, key_store: &str, cdiv: Cdiv) -> Self {
        let path = format!("/{key_store}/kms/xks/v1/keys/{KNOWN_KEY_LABEL}");
        let cases = (0..VARIANTS).map(Case::new).collect();
        Self { endpoint, signer, path, cdiv, cases }
    }
}

impl Work for Xks {
    fn prepare(&self, index: u64) -> Prepared {
        let index = usize::try_from(index).unwrap();
        let case = &self.cases[index / MIX.len() % VARIANTS];
        let (plaintext, aad) = (case.plaintext.clone(), case.aad.clone());
        let operation = match (MIX[index % MIX.len()], self.cdiv) {
            (Operation::Encrypt, Cdiv::All) => Operation::EncryptWithCdiv,
            (operation, _) => operation,
        };
        let (kind, body, judge): (_, _, Judge) = match operation {
            Operation::EncryptWithCdiv => {
                let judge = Box::new(move |answer: &Answer| judge_encrypted(answer, &plaintext, &aad, true));
                ("encrypt", &case.encrypt_with_cdiv, judge)
            }
            Operation::Encrypt => {
                let judge = Box::new(move |answer: &Answer| judge_encrypted(answer, &plaintext, &aad, false));
                ("encrypt", &case.encrypt, judge)
            }
            Operation::Decrypt => (
                "decrypt",
                &case.decrypt,
                Box::new(move |answer: &Answer| judge_decrypted(answer, &plaintext)),
            ),
        };
        let path = format!("{}/{kind}", self.path).parse().unwrap();
        let mut outgoing = Outgoing::new(Method::POST, path, self.endpoint.host(), body.clone().into());
        self.signer.sign(&mut outgoing, unix_seconds()).unwrap();
        Prepared { outgoing, judge }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Case {
    fn new(variant: usize) -> Self {
        let bytes =
            |count: usize| (0..count).map(|at| ((at * 31 + variant * 7) % 251) as u8).collect::<Vec<_>>();
        let plaintext = bytes(PLAINTEXT_BYTES[variant % PLAINTEXT_BYTES.len()]);
        let aad = bytes(AAD_BYTES[variant / PLAINTEXT_BYTES.len()]);
        let encrypt = json!({
            "requestMetadata": metadata("Encrypt"),
            "plaintext": encode_base64(&plaintext),
            "additionalAuthenticatedData": encode_base64(&aad),
            "encryptionAlgorithm": "AES_GCM",
        });
        let mut with_cdiv = encrypt.clone();
        with_cdiv["ciphertextDataIntegrityValueAlgorithm"] = json!("SHA_256");
        let iv = [variant as u8 + 1; 12];
        let payload = Payload { msg: &plaintext, aad: &bound_aad(&aad, &[]).unwrap() };
        let mut sealed = cipher().encrypt(&Nonce::from(iv), payload).unwrap();
        let tag = sealed.split_off(plaintext.len());
        let decrypt = json!({
            "requestMetadata": metadata("Decrypt"),
            "ciphertext": encode_base64(&sealed),
            "initializationVector": encode_base64(&iv),
            "authenticationTag": encode_base64(&tag),
            "additionalAuthenticatedData": encode_base64(&aad),
            "encryptionAlgorithm": "AES_GCM",
        });
        let [encrypt, encrypt_with_cdiv, decrypt] =
            [encrypt, with_cdiv, decrypt].map(|body| serde_json::to_vec(&body).unwrap());
        Self { plaintext, aad, encrypt, encrypt_with_cdiv, decrypt }
    }
}

fn cipher() -> Aes256Gcm {
    Aes256Gcm::new_from_slice(KNOWN_KEY.as_bytes()).unwrap()
}

/// `requestMetadata` as AWS KMS sends it.
fn metadata(kms_operation: &str) -> Value {
    json!({
        "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
        "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "kmsOperation": kms_operation,
        "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        "kmsViaService": "ebs",
    })
}

/// The members of a good answer, or what it was instead.
fn members(answer: &Answer) -> Result<Value, Outcome> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.as_u16() == 200 {
        return Ok(body);
    }
    let status = answer.status.as_u16();
    Err(match body["errorName"].as_str() {
        Some(name) => Outcome::Refused(format!("{status} {name}")),
        None => Outcome::Lost(format!("{status} without an error name")),
    })
}

fn bytes(body: &Value, member: &str) -> Vec<u8> {
    body[member].as_str().and_then(|text| decode_base64(text).ok()).unwrap_or_default()
}

fn judge_encrypted(answer: &Answer, plaintext: &[u8], aad: &[u8], with_cdiv: bool) -> Outcome {
    let body = match members(answer) {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    let [iv, ciphertext, tag] =
        ["initializationVector", "ciphertext", "authenticationTag"].map(|member| bytes(&body, member));
    if tag.len() != TAG_BYTES || ciphertext.len() != plaintext.len() {
        return Outcome::Wrong("parts of other lengths".to_owned());
    }
    let Ok(nonce) = Nonce::try_from(iv.as_slice()) else {
        return Outcome::Wrong("an IV of another length".to_owned());
    };
    let value = cdiv(aad, &[], &iv, &ciphertext, &tag);
    if with_cdiv && bytes(&body, "ciphertextDataIntegrityValue") != value {
        return Outcome::Wrong("another integrity value".to_owned());
    }
    let sealed = [ciphertext, tag].concat();
    let payload = Payload { msg: &sealed, aad: &bound_aad(aad, &[]).unwrap() };
    match cipher().decrypt(&nonce, payload) {
        Ok(opened) if opened == plaintext => Outcome::Good,
        Ok(_) => Outcome::Wrong("a ciphertext of another plaintext".to_owned()),
        Err(_) => Outcome::Wrong("a ciphertext that does not decrypt".to_owned()),
    }
}

fn judge_decrypted(answer: &Answer, plaintext: &[u8]) -> Outcome {
    match members(answer) {
        Ok(body) if body["plaintext"].is_string() && bytes(&body, "plaintext") == plaintext => Outcome::Good,
        Ok(_) => Outcome::Wrong("another plaintext".to_owned()),
        Err(outcome) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode, Version};
    use proxy_api::client::Answer;
    use proxy_api::wire::{cdiv, decode_base64, encode_base64};
    use serde_json::{Value, json};

    use super::{Case, VARIANTS, judge_decrypted, judge_encrypted};
    use crate::load::record::Outcome;

    fn answer(status: u16, body: &Value) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            version: Version::HTTP_11,
            headers: HeaderMap::new(),
            body: serde_json::to_vec(body).unwrap().into(),
        }
    }

    /// What a proxy would answer: each case has a ciphertext that was made for its Decrypt.
    fn encrypted(case: &Case) -> Value {
        let request: Value = serde_json::from_slice(&case.decrypt).unwrap();
        let part = |member: &str| decode_base64(request[member].as_str().unwrap()).unwrap();
        let [iv, ciphertext, tag] = ["initializationVector", "ciphertext", "authenticationTag"].map(part);
        json!({
            "ciphertext": request["ciphertext"],
            "initializationVector": request["initializationVector"],
            "authenticationTag": request["authenticationTag"],
            "ciphertextDataIntegrityValue": encode_base64(&cdiv(&case.aad, &[], &iv, &ciphertext, &tag)),
        })
    }

    #[test]
    fn right_answers_are_good_in_every_case() {
        for case in (0..VARIANTS).map(Case::new) {
            let body = encrypted(&case);
            assert_eq!(judge_encrypted(&answer(200, &body), &case.plaintext, &case.aad, true), Outcome::Good);
            let body = json!({"plaintext": encode_base64(&case.plaintext)});
            assert_eq!(judge_decrypted(&answer(200, &body), &case.plaintext), Outcome::Good);
        }
    }

    #[test]
    fn one_flipped_bit_is_noticed_wherever_it_is() {
        let case = Case::new(0);
        let members =
            ["ciphertext", "initializationVector", "authenticationTag", "ciphertextDataIntegrityValue"];
        for member in members {
            let mut body = encrypted(&case);
            let mut bytes = decode_base64(body[member].as_str().unwrap()).unwrap();
            bytes[0] ^= 1;
            body[member] = json!(encode_base64(&bytes));
            let outcome = judge_encrypted(&answer(200, &body), &case.plaintext, &case.aad, true);
            assert!(matches!(outcome, Outcome::Wrong(_)), "{member}: {outcome:?}");
        }
        let other = json!({"plaintext": encode_base64(b"another")});
        assert!(matches!(judge_decrypted(&answer(200, &other), &case.plaintext), Outcome::Wrong(_)));
        assert!(matches!(judge_decrypted(&answer(200, &json!({})), b""), Outcome::Wrong(_)));
    }

    #[test]
    fn an_error_is_told_by_status_and_name() {
        let body = json!({"errorName": "InternalException"});
        let refused = Outcome::Refused("500 InternalException".to_owned());
        assert_eq!(judge_decrypted(&answer(500, &body), b""), refused);
        assert!(matches!(judge_decrypted(&answer(502, &json!({})), b""), Outcome::Lost(_)));
    }
}
