//! Encrypt and Decrypt of the XKS API.

use crossbeam_channel::Sender;
use proxy_api::wire::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, bound_aad, decode_base64,
    encode_base64, parse_body,
};
use tokio::sync::oneshot;

use crate::workers::Job;

pub async fn encrypt(jobs: &Sender<Job>, body: &[u8]) -> Vec<u8> {
    let request: EncryptRequest<'_> = parse_body(body).unwrap();
    let aad = decode_base64(request.additional_authenticated_data.as_deref().unwrap_or_default()).unwrap();
    let plaintext = decode_base64(&request.plaintext).unwrap();
    let (reply, answer) = oneshot::channel();
    jobs.send(Job::Encrypt(plaintext, bound_aad(&aad, &[]).unwrap(), reply)).unwrap();
    let (iv, sealed) = answer.await.unwrap();
    let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    let response = EncryptResponse {
        ciphertext: encode_base64(ciphertext).into(),
        ciphertext_metadata: None,
        initialization_vector: encode_base64(&iv).into(),
        authentication_tag: encode_base64(tag).into(),
        ciphertext_data_integrity_value: None,
    };
    serde_json::to_vec(&response).unwrap()
}

pub async fn decrypt(jobs: &Sender<Job>, body: &[u8]) -> Vec<u8> {
    let request: DecryptRequest<'_> = parse_body(body).unwrap();
    let aad = decode_base64(request.additional_authenticated_data.as_deref().unwrap_or_default()).unwrap();
    let mut sealed = decode_base64(&request.ciphertext).unwrap();
    sealed.extend(decode_base64(&request.authentication_tag).unwrap());
    let iv = decode_base64(&request.initialization_vector).unwrap();
    let (reply, answer) = oneshot::channel();
    jobs.send(Job::Decrypt(iv, sealed, bound_aad(&aad, &[]).unwrap(), reply)).unwrap();
    let plaintext = answer.await.unwrap().unwrap();
    serde_json::to_vec(&DecryptResponse { plaintext: encode_base64(&plaintext).into() }).unwrap()
}
