//! How much a proxy must take, and how it refuses more.

use http::StatusCode;
use proxy_api::client::Answer;
use proxy_api::error::ErrorName;
use proxy_api::wire::{
    AAD_BYTES_MIN_SUPPORTED, ARN_CHARS_MIN_SUPPORTED, EncryptResponse, HealthResponse, KeyOperation,
    PLAINTEXT_BYTES_MIN_SUPPORTED, Target,
};

use crate::check::bodies::{Body, KMS_KEY_ARN};
use crate::check::case::Case;
use crate::check::cases::encrypt::random_bytes;
use crate::check::crypto::{PLAINTEXT, Sample};
use crate::check::finding::{InVariant as _, Judged, ensure};
use crate::check::judge::{described, refused, response};
use crate::check::session::Session;

/// What AWS KMS waits for.
const BUDGET_MS: u128 = 250;
const TIMED_REQUESTS: usize = 20;
const OVERSIZED_BODY_BYTES: usize = 8 * 1024 * 1024;
/// One more than the two-byte length in the HSM's AAD can say.
const AAD_BYTES_INEXPRESSIBLE: usize = 65_536;
const PLAINTEXT_BYTES_LARGE: usize = 100_000;

pub(crate) const CASES: &[Case] = &[
    Case::must("4300 bytes of plaintext with 8192 of AAD, long ARNs and a data integrity value", |s| {
        Box::pin(largest(s))
    }),
    Case::must("ARNs of 2048 characters are accepted", |s| Box::pin(long_arns(s))),
    Case::must("plaintext above the implementation's limit is unsupported, not invalid", |s| {
        Box::pin(large_plaintext(s))
    }),
    Case::must("AAD that no length field can express is refused", |s| Box::pin(inexpressible_aad(s))),
    Case::must("an oversized body is refused, and service goes on", |s| Box::pin(oversized_body(s))),
    Case::should("an empty plaintext is encrypted, or refused", |s| Box::pin(empty_plaintext(s))),
    Case::should("ids that are too long or of illegal form name no key", |s| Box::pin(odd_key_ids(s))),
    Case::should("kept connections answer within the 250 ms of AWS KMS", |s| Box::pin(in_time(s))),
];

async fn largest(session: &Session) -> Judged {
    let plaintext = random_bytes(PLAINTEXT_BYTES_MIN_SUPPORTED)?;
    let aad = random_bytes(AAD_BYTES_MIN_SUPPORTED)?;
    let sample =
        Sample { plaintext: &plaintext, ..Sample::of(&session.keys.both) }.with_aad(&aad).with_cdiv();
    let sealed = session.encrypt_body(&sample, with_long_arns(sample.body())).await?;
    session.decrypt_body(&sample, with_long_arns(Body::decrypt(&sealed, sample.aad))).await
}

async fn long_arns(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    session.encrypt_body(&sample, with_long_arns(sample.body())).await.map(|_| ())
}

fn with_long_arns(body: Body) -> Body {
    let long = |arn: &str| format!("{arn:x<ARN_CHARS_MIN_SUPPORTED$}");
    body.with_metadata("kmsKeyArn", long(KMS_KEY_ARN))
        .with_metadata("awsPrincipalArn", long("arn:aws:iam::123456789012:role/"))
}

async fn large_plaintext(session: &Session) -> Judged {
    let plaintext = random_bytes(PLAINTEXT_BYTES_LARGE)?;
    let sample = Sample { plaintext: &plaintext, ..Sample::of(&session.keys.both) };
    let answer = session.post(&session.key_path(KeyOperation::Encrypt), sample.body()).await?;
    if answer.status == StatusCode::OK {
        return response::<EncryptResponse<'_>>(&answer).map(|_| ());
    }
    refused(&answer, &[ErrorName::UnsupportedOperation])
}

async fn inexpressible_aad(session: &Session) -> Judged {
    let aad = random_bytes(AAD_BYTES_INEXPRESSIBLE)?;
    let errors = &[ErrorName::UnsupportedOperation, ErrorName::Validation];
    let sample = Sample::of(&session.keys.both);
    session.encrypt_refused(&sample.with_aad(&aad), errors).await.in_variant("encrypt")?;
    let sealed = session.encrypt(&sample).await?;
    session.decrypt_refused(&sample.with_aad(&aad), &sealed, errors).await.in_variant("decrypt")?;
    session.round_trip(&sample).await
}

/// Any refusal will do, a closed connection too: what counts is that the proxy is still there afterwards.
async fn oversized_body(session: &Session) -> Judged {
    let plaintext = vec![0; OVERSIZED_BODY_BYTES];
    let body = Body::encrypt(&plaintext, None);
    let outgoing = session.signed(&session.key_path(KeyOperation::Encrypt), body)?;
    if let Ok(answer) = session.try_exchange(outgoing).await {
        let is_refusal = answer.status.is_client_error() || answer.status.is_server_error();
        ensure(is_refusal, "a refusal", described(&answer))?;
    }
    response::<HealthResponse<'_>>(&health(session).await?).map(|_| ())
}

async fn empty_plaintext(session: &Session) -> Judged {
    let sample = Sample { plaintext: b"", ..Sample::of(&session.keys.both) };
    let answer = session.post(&session.key_path(KeyOperation::Encrypt), sample.body()).await?;
    if answer.status == StatusCode::OK {
        return session.round_trip(&sample).await;
    }
    refused(&answer, &[ErrorName::Validation])
}

async fn odd_key_ids(session: &Session) -> Judged {
    let errors = &[ErrorName::InvalidUriPath, ErrorName::KeyNotFound, ErrorName::Validation];
    for external_key_id in ["a%20b", "~", &"a".repeat(129)] {
        let target = Target::Key { external_key_id, operation: KeyOperation::Encrypt };
        let answer = session.post(&session.path(target), Body::encrypt(PLAINTEXT, None)).await?;
        refused(&answer, errors).in_variant(external_key_id)?;
    }
    Ok(())
}

async fn in_time(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    health(session).await?;
    let mut slowest_ms = 0;
    for _ in 0..TIMED_REQUESTS {
        let start = session.clock.instant();
        health(session).await?;
        slowest_ms = slowest_ms.max(session.clock.instant().duration_since(start).as_millis());
        let start = session.clock.instant();
        session.encrypt(&sample).await?;
        slowest_ms = slowest_ms.max(session.clock.instant().duration_since(start).as_millis());
    }
    ensure(slowest_ms < BUDGET_MS, "at most 250 ms", format!("{slowest_ms} ms"))
}

async fn health(session: &Session) -> Result<Answer, crate::check::finding::Finding> {
    session.post(&session.path(Target::Health), Body::health()).await
}
