//! Encrypt, Decrypt, GenerateDataKey and Sign of the KMS API, with blobs as long as those of Holdfast.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use crossbeam_channel::Sender;
use proxy_api::wire::{decode_base64, encode_base64};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::workers::{Job, Sealed};

/// The service in the scope of a signature.
pub const SERVICE: &str = "kms";
/// Which key made a blob: the AAD, too.
const HEADER: [u8; 70] = [7; 70];
const IV_BYTES: usize = 12;
const KEY_ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const MATERIAL_ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'b> {
    #[serde(borrow)]
    plaintext: Option<Cow<'b, str>>,
    #[serde(borrow)]
    ciphertext_blob: Option<Cow<'b, str>>,
    number_of_bytes: Option<usize>,
    #[serde(borrow)]
    message: Option<Cow<'b, str>>,
    #[serde(borrow)]
    signing_algorithm: Option<Cow<'b, str>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<String>,
    key_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_algorithm: Option<String>,
}

/// Does what the body asks for: which operation it is shows in its members.
pub async fn answer(jobs: &Sender<Job>, body: &[u8]) -> Vec<u8> {
    let request: Request<'_> = serde_json::from_slice(body).unwrap();
    let usual = Response { key_id: KEY_ARN, ..Response::default() };
    let response = match request {
        Request { plaintext: Some(plaintext), .. } => {
            let (reply, answer) = oneshot::channel();
            jobs.send(Job::Encrypt(decode_base64(&plaintext).unwrap(), HEADER.to_vec(), reply)).unwrap();
            Response {
                ciphertext_blob: Some(blob(&answer.await.unwrap())),
                encryption_algorithm: Some("SYMMETRIC_DEFAULT"),
                ..usual
            }
        }
        Request { ciphertext_blob: Some(blob), .. } => {
            let blob = decode_base64(&blob).unwrap();
            let (iv, sealed) = blob[HEADER.len() + 1..].split_at(IV_BYTES);
            let (reply, answer) = oneshot::channel();
            jobs.send(Job::Decrypt(iv.to_vec(), sealed.to_vec(), HEADER.to_vec(), reply)).unwrap();
            Response {
                plaintext: Some(encode_base64(&answer.await.unwrap().unwrap())),
                encryption_algorithm: Some("SYMMETRIC_DEFAULT"),
                key_material_id: Some(MATERIAL_ID),
                ..usual
            }
        }
        // A message as it is: hashed here.
        Request { message: Some(message), signing_algorithm: Some(algorithm), .. } => {
            let digest = digest(&SHA256, &decode_base64(&message).unwrap());
            let (reply, answer) = oneshot::channel();
            let job = Job::Sign(algorithm.parse().unwrap(), digest.as_ref().to_vec(), reply);
            jobs.send(job).unwrap();
            Response {
                signature: Some(encode_base64(&answer.await.unwrap())),
                signing_algorithm: Some(algorithm.into_owned()),
                ..usual
            }
        }
        Request { number_of_bytes, .. } => {
            let (reply, answer) = oneshot::channel();
            jobs.send(Job::DataKey(number_of_bytes.unwrap_or(32), HEADER.to_vec(), reply)).unwrap();
            let (plaintext, sealed) = answer.await.unwrap();
            Response {
                ciphertext_blob: Some(blob(&sealed)),
                plaintext: Some(encode_base64(&plaintext)),
                key_material_id: Some(MATERIAL_ID),
                ..usual
            }
        }
    };
    serde_json::to_vec(&response).unwrap()
}

fn blob((iv, sealed): &Sealed) -> String {
    encode_base64(&[HEADER.as_slice(), &[IV_BYTES as u8], iv.as_slice(), sealed].concat())
}
