//! Encrypt, and what Decrypt makes of it.

use std::collections::BTreeSet;

use aws_lc_rs::rand::fill;
use proxy_api::error::ErrorName;
use proxy_api::wire::KeyOperation;

use crate::check::bodies::Body;
use crate::check::case::Case;
use crate::check::crypto::{AAD, CORRUPT, OTHER_AAD, Sample};
use crate::check::finding::{Finding, InVariant as _, Judged, ensure, mismatch};
use crate::check::judge::refused;
use crate::check::session::Session;

/// No proxy may have a key of this name: the official client relies on it.
pub(crate) const UNKNOWN_KEY_ID: &str = "non_existing_key";

const IV_SAMPLES: usize = 8;

pub(crate) const CASES: &[Case] = &[
    Case::must("an unknown key is not found", |s| Box::pin(unknown_key(s))).rows("15"),
    Case::must("a missing plaintext is refused", |s| Box::pin(no_plaintext(s))).rows("16"),
    Case::must("what was encrypted with AAD does not decrypt without", |s| Box::pin(aad_left_out(s)))
        .rows("20, 21"),
    Case::must("the same a second time: AAD left out does not decrypt", |s| Box::pin(aad_left_out(s)))
        .rows("22, 23"),
    Case::must("what was encrypted with AAD does not decrypt with another", |s| Box::pin(other_aad(s)))
        .rows("24, 25"),
    Case::must("a round trip without AAD", |s| Box::pin(plain(s))).rows("26, 27"),
    Case::must("a round trip with AAD", |s| Box::pin(with_aad(s))).rows("28, 29"),
    Case::must("a round trip with AAD and data integrity value", |s| Box::pin(with_aad_and_cdiv(s)))
        .rows("30, 31"),
    Case::must("a round trip with data integrity value, without AAD", |s| Box::pin(with_cdiv(s)))
        .rows("32, 33"),
    Case::must("a round trip of 4096 random bytes with 8192 random bytes of AAD", |s| Box::pin(random(s)))
        .rows("34, 35"),
    Case::must("every kmsOperation is accepted, known or not", |s| Box::pin(any_operation(s))),
    Case::must("unknown members are ignored", |s| Box::pin(unknown_members(s))),
    Case::must("no initialization vector comes twice", |s| Box::pin(fresh_ivs(s))),
    Case::should("empty AAD is the same as none", |s| Box::pin(empty_aad(s))),
];

async fn unknown_key(session: &Session) -> Judged {
    session.encrypt_refused(&Sample::of(UNKNOWN_KEY_ID), &[ErrorName::KeyNotFound]).await
}

async fn no_plaintext(session: &Session) -> Judged {
    let body = Body::encrypt(b"", None).without("plaintext");
    let answer = session.post(&session.key_path(KeyOperation::Encrypt), body).await?;
    refused(&answer, &[ErrorName::Validation])
}

async fn aad_left_out(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let sealed = session.encrypt(&sample.with_aad(AAD)).await?;
    session.decrypt_refused(&sample, &sealed, CORRUPT).await
}

async fn other_aad(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let sealed = session.encrypt(&sample.with_aad(AAD)).await?;
    session.decrypt_refused(&sample.with_aad(OTHER_AAD), &sealed, CORRUPT).await
}

async fn plain(session: &Session) -> Judged {
    session.round_trip(&Sample::of(&session.keys.both)).await
}

async fn with_aad(session: &Session) -> Judged {
    session.round_trip(&Sample::of(&session.keys.both).with_aad(AAD)).await
}

async fn with_aad_and_cdiv(session: &Session) -> Judged {
    session.round_trip(&Sample::of(&session.keys.both).with_aad(AAD).with_cdiv()).await
}

async fn with_cdiv(session: &Session) -> Judged {
    session.round_trip(&Sample::of(&session.keys.both).with_cdiv()).await
}

async fn random(session: &Session) -> Judged {
    let (plaintext, aad) = (random_bytes(4096)?, random_bytes(8192)?);
    let sample = Sample { plaintext: &plaintext, ..Sample::of(&session.keys.both) };
    session.round_trip(&sample.with_aad(&aad)).await
}

async fn any_operation(session: &Session) -> Judged {
    for operation in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt", "BulkEncrypt"] {
        let sample = Sample::of(&session.keys.both);
        let body = sample.body().with_metadata("kmsOperation", operation);
        session.encrypt_body(&sample, body).await.in_variant(operation)?;
    }
    Ok(())
}

async fn unknown_members(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let body = sample.body().with("later", serde_json::json!([{}])).with_metadata("tags", 1);
    session.encrypt_body(&sample, body).await.map(|_| ())
}

async fn fresh_ivs(session: &Session) -> Judged {
    let mut ivs = BTreeSet::new();
    for _ in 0..IV_SAMPLES {
        ivs.insert(session.encrypt(&Sample::of(&session.keys.both)).await?.iv);
    }
    ensure(ivs.len() == IV_SAMPLES, "a new initialization vector each time", "one that was there before")
}

async fn empty_aad(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let sealed = session.encrypt(&sample.with_aad(b"")).await?;
    session.decrypt(&sample, &sealed).await?;
    let sealed = session.encrypt(&sample).await?;
    session.decrypt(&sample.with_aad(b""), &sealed).await
}

pub(crate) fn random_bytes(bytes: usize) -> Result<Vec<u8>, Finding> {
    let mut random = vec![0; bytes];
    fill(&mut random).map_err(|_| mismatch("random bytes from the operating system", "none"))?;
    Ok(random)
}
