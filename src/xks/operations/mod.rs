//! The four operations of the XKS proxy API, a file each.

pub(super) mod decrypt;
pub(super) mod encrypt;
pub(super) mod get_health_status;
pub(super) mod get_key_metadata;

use std::time::Instant;

use bytes::Bytes;
use proxy_api::wire::{self, InvalidBody, Operation, RequestMetadata};
use serde::Serialize;
use serde::de::Deserialize;

use crate::config::Limits;
use crate::gate::KeyStore;
use crate::xks::error::Error;

/// What every operation on a key needs.
pub(super) struct Context<'a> {
    pub(super) key_store: &'a KeyStore,
    pub(super) external_key_id: &'a str,
    pub(super) deadline: Instant,
    pub(super) limits: &'a Limits,
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Error> {
    wire::parse_body(body).map_err(|invalid| Error::Validation(explain(&invalid)))
}

fn explain(invalid: &InvalidBody) -> String {
    invalid.to_string()
}

fn require_metadata(metadata: &RequestMetadata<'_>, operation: Operation) -> Result<(), Error> {
    match metadata.missing_member(operation) {
        Some(member) => Err(Error::Validation(format!("`requestMetadata.{member}` is missing"))),
        None => Ok(()),
    }
}

fn require_algorithm(algorithm: &str) -> Result<(), Error> {
    if algorithm == wire::ENCRYPTION_ALGORITHM {
        Ok(())
    } else {
        Err(Error::Validation("`encryptionAlgorithm` must be `AES_GCM`".to_owned()))
    }
}

/// Decodes a Base64 member of at most `bytes_max` bytes; more is refused before it is decoded.
fn decode(member: &'static str, text: &str, bytes_max: usize) -> Result<Vec<u8>, Error> {
    if wire::decoded_bytes(text) > bytes_max {
        return Err(Error::TooLong(member));
    }
    wire::decode_base64(text).map_err(|_| Error::Validation(format!("`{member}` is not Base64")))
}

/// The AAD, empty if it is absent: both are bound in the same way (XKS v1, Encrypt).
fn decode_aad(text: Option<&str>, limits: &Limits) -> Result<Vec<u8>, Error> {
    decode("additionalAuthenticatedData", text.unwrap_or_default(), limits.aad_bytes_max)
}

fn to_json(response: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(response).map(Bytes::from).map_err(|error| Error::Internal(error.to_string()))
}
