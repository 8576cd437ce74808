//! `Encrypt`: AES-256-GCM in the HSM, with the key version bound into what the tag covers.

use bytes::Bytes;
use proxy_api::wire::{self, EncryptRequest, EncryptResponse, Operation, encode_base64};

use crate::domain::Action;
use crate::gate::{Call, Sealed};
use crate::key_manager::external_key::KeyVersion;
use crate::secret::SecretBytes;
use crate::xks::error::Error;
use crate::xks::operations::{
    Context, decode, decode_aad, parse, require_algorithm, require_metadata, to_json,
};
use crate::xks::record::Record;

pub(in crate::xks) async fn run<'b>(
    context: &Context<'_>,
    body: &'b [u8],
    record: &mut Record<'b>,
) -> Result<Bytes, Error> {
    let request: EncryptRequest<'b> = parse(body)?;
    record.metadata = Some(request.request_metadata.clone());
    require_metadata(&request.request_metadata, Operation::Encrypt)?;
    require_algorithm(&request.encryption_algorithm)?;
    let integrity_value = wants_integrity_value(&request)?;
    let aad = decode_aad(request.additional_authenticated_data.as_deref(), context.limits)?;
    let plaintext =
        SecretBytes::new(decode("plaintext", &request.plaintext, context.limits.plaintext_bytes_max)?);

    let call = Call {
        key_store: context.key_store,
        metadata: &request.request_metadata,
        deadline: context.deadline,
    };
    let action = if integrity_value { Action::EncryptWithIntegrityValue } else { Action::Encrypt };
    let key = call.open(action, context.external_key_id).await?;
    record.policy_statement.clone_from(&key.policy_statement);
    record.key_version = key.newest().map(KeyVersion::number);
    let sealed = record.note(key.encrypt(plaintext, &aad, integrity_value).await?)?;
    respond(&sealed)
}

fn wants_integrity_value(request: &EncryptRequest<'_>) -> Result<bool, Error> {
    match request.ciphertext_data_integrity_value_algorithm.as_deref() {
        None => Ok(false),
        Some(wire::CDIV_ALGORITHM) => Ok(true),
        Some(_) => {
            Err(Error::Validation("`ciphertextDataIntegrityValueAlgorithm` must be `SHA_256`".to_owned()))
        }
    }
}

fn respond(sealed: &Sealed) -> Result<Bytes, Error> {
    let Sealed { encrypted, metadata } = sealed;
    to_json(&EncryptResponse {
        ciphertext: encode_base64(&encrypted.ciphertext).into(),
        ciphertext_metadata: metadata.as_deref().map(|metadata| encode_base64(metadata).into()),
        initialization_vector: encode_base64(&encrypted.iv).into(),
        authentication_tag: encode_base64(&encrypted.tag).into(),
        ciphertext_data_integrity_value: encrypted.integrity_value.map(|value| encode_base64(&value).into()),
    })
}
