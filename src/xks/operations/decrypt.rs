//! `Decrypt`: with the key version that the ciphertext metadata names.

use bytes::Bytes;
use proxy_api::wire::{DecryptRequest, DecryptResponse, IV_BYTES, METADATA_BYTES_MAX, Operation, TAG_BYTES};
use zeroize::Zeroizing;

use crate::domain::Action;
use crate::gate::Call;
use crate::key_manager::{BoundAad, HsmError};
use crate::secret::SecretBytes;
use crate::xks::error::Error;
use crate::xks::operations::{Context, decode, decode_aad, parse, require_algorithm, require_metadata};
use crate::xks::record::Record;

/// `{"plaintext":""}` and room to spare.
const RESPONSE_FRAME_BYTES: usize = 32;

pub(in crate::xks) async fn run<'b>(
    context: &Context<'_>,
    body: &'b [u8],
    record: &mut Record<'b>,
) -> Result<Bytes, Error> {
    let request: DecryptRequest<'b> = parse(body)?;
    record.metadata = Some(request.request_metadata.clone());
    require_metadata(&request.request_metadata, Operation::Decrypt)?;
    require_algorithm(&request.encryption_algorithm)?;
    let parts = Parts::decode(&request, context)?;

    let call = Call {
        key_store: context.key_store,
        metadata: &request.request_metadata,
        deadline: context.deadline,
    };
    let key = call.open(Action::Decrypt, context.external_key_id).await?;
    record.policy_statement.clone_from(&key.policy_statement);
    let version = key.version_for(&parts.metadata)?;
    record.key_version = key.version_number(version);
    let aad = BoundAad::new(&parts.aad, &parts.metadata).ok_or(HsmError::TooLong)?;
    let plaintext = record.note(key.decrypt(version, parts.iv, parts.ciphertext_and_tag, aad).await)?;
    respond(&plaintext)
}

/// For members whose length the API fixes: too long is invalid, not unsupported. The body is bounded anyway.
const ANY_LENGTH: usize = usize::MAX;

/// The byte strings of a request, decoded, with lengths that the HSM may be shown.
struct Parts {
    metadata: Vec<u8>,
    iv: Vec<u8>,
    ciphertext_and_tag: Vec<u8>,
    aad: Vec<u8>,
}

impl Parts {
    fn decode(request: &DecryptRequest<'_>, context: &Context<'_>) -> Result<Self, Error> {
        let limits = context.limits;
        let iv = decode("initializationVector", &request.initialization_vector, ANY_LENGTH)?;
        if !IV_BYTES.contains(&iv.len()) {
            return Err(Error::Validation("`initializationVector` must be 12 or 16 bytes".to_owned()));
        }
        // Checked before ciphertext and tag are joined: else bytes could move from one to the other.
        let tag = decode("authenticationTag", &request.authentication_tag, ANY_LENGTH)?;
        if tag.len() != TAG_BYTES {
            return Err(Error::Validation("`authenticationTag` must be 16 bytes".to_owned()));
        }
        let metadata = request.ciphertext_metadata.as_deref().unwrap_or_default();
        let metadata = decode("ciphertextMetadata", metadata, ANY_LENGTH)?;
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(Error::Validation("`ciphertextMetadata` must be at most 20 bytes".to_owned()));
        }
        let mut ciphertext_and_tag = decode("ciphertext", &request.ciphertext, limits.plaintext_bytes_max)?;
        ciphertext_and_tag.extend_from_slice(&tag);
        let aad = decode_aad(request.additional_authenticated_data.as_deref(), limits)?;
        Ok(Self { metadata, iv, ciphertext_and_tag, aad })
    }
}

/// The body is allocated once at its full size and wiped when it was sent.
fn respond(plaintext: &SecretBytes) -> Result<Bytes, Error> {
    let text_bytes = plaintext.len().div_ceil(3) * 4;
    let mut body = Zeroizing::new(Vec::with_capacity(text_bytes + RESPONSE_FRAME_BYTES));
    let response = DecryptResponse { plaintext: proxy_api::wire::encode_base64(plaintext.expose()).into() };
    serde_json::to_writer(&mut *body, &response).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Bytes::from_owner(body))
}
