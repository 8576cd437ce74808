//! A proxy's answers, checked against every rule of the API that a KMS can check.

use std::borrow::Cow;
use std::fmt::Display;

use proxy_api::client::{Answer, Failure, Rejection, Sealed};
use proxy_api::error::{ErrorBody, ErrorName, sanitize_error_message};
use proxy_api::wire::{
    DecryptResponse, EKM_FLEET_DETAILS_MAX, EncryptResponse, HealthResponse, HealthStatus, KEY_USAGES_MAX,
    KeyStatus, MetadataResponse, decode_base64, parse_body,
};
use serde::Deserialize;

use crate::domain::kms::OuterLayer;
use crate::key_manager::xks_proxy::{ExternalKeyMetadata, FleetHealth, ProxyFailure};
use crate::secret::SecretBytes;

/// Of a key spec or usage, which become part of what callers are told. The longest of AWS KMS has half as many.
const NAME_CHARS_MAX: usize = 64;

/// Why there is no answer, in the words of the seam.
pub(super) fn failure(failure: Failure) -> ProxyFailure {
    // Texts of TLS and HTTP/2 repeat what the peer said, such as the names in its certificate.
    let reason = sanitize_error_message(&failure.to_string()).into_owned();
    match failure {
        Failure::AnswerTimeout | Failure::TlsTimeout => ProxyFailure::AnswerTimedOut,
        Failure::AnswerTooLarge | Failure::Cut(_) | Failure::Protocol(_) => ProxyFailure::Malformed(reason),
        // No byte of an answer came: there is nothing that could be malformed. AWS KMS says of malformed answers
        // that it cannot interpret the response, and of failed communication that the network may be the cause.
        Failure::Closed(_) | Failure::Connect(_) | Failure::ConnectTimeout | Failure::Request(_) => {
            ProxyFailure::Unreachable(reason)
        }
        Failure::Tls(_) | Failure::TlsClosed(_) => ProxyFailure::Tls(reason),
    }
}

/// GetHealthStatus.
pub(super) fn health(answer: &Answer) -> Result<FleetHealth, ProxyFailure> {
    let response: HealthResponse<'_> = response(answer)?;
    if response.xks_proxy_fleet_size == 0 {
        return Err(malformed("`xksProxyFleetSize` is 0"));
    }
    let details = &response.ekm_fleet_details;
    if !(1..=EKM_FLEET_DETAILS_MAX).contains(&details.len()) {
        return Err(malformed(format_args!("{} entries in `ekmFleetDetails`", details.len())));
    }
    let count = |status| details.iter().filter(|detail| detail.health_status == status).count();
    Ok(FleetHealth {
        active: count(HealthStatus::Active),
        degraded: count(HealthStatus::Degraded),
        unavailable: count(HealthStatus::Unavailable),
    })
}

/// GetKeyMetadata.
pub(super) fn key_metadata(answer: &Answer) -> Result<ExternalKeyMetadata, ProxyFailure> {
    let response: MetadataResponse<'_> = response(answer)?;
    let usages = response.key_usage.len();
    if usages > KEY_USAGES_MAX {
        return Err(malformed(format_args!("{usages} values in `keyUsage`")));
    }
    Ok(ExternalKeyMetadata {
        key_spec: name(response.key_spec, "keySpec")?,
        key_usage: response
            .key_usage
            .into_iter()
            .map(|usage| name(usage, "keyUsage"))
            .collect::<Result<_, _>>()?,
        is_enabled: match response.key_status {
            KeyStatus::Disabled => false,
            KeyStatus::Enabled => true,
        },
    })
}

fn name(text: Cow<'_, str>, member: &str) -> Result<String, ProxyFailure> {
    if text.len() > NAME_CHARS_MAX {
        return Err(malformed(format_args!("a value of {} bytes in `{member}`", text.len())));
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(malformed(format_args!("a value in `{member}` is not printable ASCII")));
    }
    Ok(text.into_owned())
}

/// Encrypt, with its CDIV.
pub(super) fn encrypted(answer: &Answer, inner_bytes: usize, aad: &[u8]) -> Result<OuterLayer, ProxyFailure> {
    let response: EncryptResponse<'_> = response(answer)?;
    let sealed = Sealed::decode(&response, inner_bytes).map_err(malformed)?;
    sealed.check_cdiv(aad).map_err(malformed)?;
    let Sealed { ciphertext, metadata, iv, tag, .. } = sealed;
    Ok(OuterLayer { iv, metadata, ciphertext, tag })
}

/// Decrypt.
pub(super) fn decrypted(answer: &Answer, ciphertext_bytes: usize) -> Result<SecretBytes, ProxyFailure> {
    let response: DecryptResponse<'_> = response(answer)?;
    let plaintext = decode_base64(&response.plaintext)
        .map(SecretBytes::new)
        .map_err(|_| malformed("`plaintext` is not standard Base64"))?;
    if plaintext.len() != ciphertext_bytes {
        let bytes = plaintext.len();
        let reason = format_args!("{bytes} bytes of plaintext for {ciphertext_bytes} bytes of ciphertext");
        return Err(malformed(reason));
    }
    Ok(plaintext)
}

fn malformed(reason: impl Display) -> ProxyFailure {
    ProxyFailure::Malformed(reason.to_string())
}

/// The response asked for, else the error that is named, whatever the status is.
fn response<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, ProxyFailure> {
    answer.response().map_err(|rejection| match rejection {
        Rejection::Refused { error, message } => refused(error, message.as_deref()),
        Rejection::Uninterpretable(fault) => named_error(answer).unwrap_or_else(|| malformed(fault)),
        Rejection::UnknownError { .. } => malformed(rejection),
    })
}

fn named_error(answer: &Answer) -> Option<ProxyFailure> {
    let body: ErrorBody<'_> = parse_body(&answer.body).ok()?;
    let error = ErrorName::from_name(&body.error_name)?;
    Some(refused(error, body.error_message.as_deref()))
}

fn refused(error: ErrorName, message: Option<&str>) -> ProxyFailure {
    let message = message.map(|message| sanitize_error_message(message).into_owned());
    ProxyFailure::Refused { error, message }
}
