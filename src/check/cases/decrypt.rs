//! Decrypt, of what was encrypted well.

use proxy_api::error::ErrorName;
use proxy_api::wire::KeyOperation;

use crate::check::bodies::Body;
use crate::check::case::{Case, Need};
use crate::check::cases::encrypt::UNKNOWN_KEY_ID;
use crate::check::crypto::{AAD, CORRUPT, Sample};
use crate::check::finding::{InVariant as _, Judged};
use crate::check::judge::refused;
use crate::check::session::Session;

pub(crate) const CASES: &[Case] = &[
    Case::must("an unknown key is not found", |s| Box::pin(unknown_key(s))),
    Case::must("every kmsOperation is accepted, known or not", |s| Box::pin(any_operation(s))),
    Case::must("unknown members are ignored", |s| Box::pin(unknown_members(s))),
    Case::must("the same ciphertext decrypts again and again", |s| Box::pin(repeated(s))),
    Case::must("a 16-byte initialization vector is a legal one", |s| Box::pin(long_iv(s))),
    Case::must("another key's ciphertext does not decrypt", |s| Box::pin(other_key(s)))
        .needs(Need::EncryptOnlyKey),
    Case::should("an empty body object is refused", |s| Box::pin(empty_object(s))),
];

async fn unknown_key(session: &Session) -> Judged {
    let sealed = session.encrypt(&Sample::of(&session.keys.both)).await?;
    session.decrypt_refused(&Sample::of(UNKNOWN_KEY_ID), &sealed, &[ErrorName::KeyNotFound]).await
}

async fn any_operation(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let sealed = session.encrypt(&sample).await?;
    for operation in ["ReEncrypt", "BulkDecrypt"] {
        let body = Body::decrypt(&sealed, None).with_metadata("kmsOperation", operation);
        session.decrypt_body(&sample, body).await.in_variant(operation)?;
    }
    Ok(())
}

async fn unknown_members(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let sealed = session.encrypt(&sample).await?;
    let body = Body::decrypt(&sealed, None).with("later", true).with_metadata("later", "x");
    session.decrypt_body(&sample, body).await
}

async fn repeated(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both).with_aad(AAD);
    let sealed = session.encrypt(&sample).await?;
    session.decrypt(&sample, &sealed).await?;
    session.decrypt(&sample, &sealed).await
}

/// Nobody outside can make a ciphertext under a 16-byte IV, but the right refusal shows that it was tried.
async fn long_iv(session: &Session) -> Judged {
    let sample = Sample::of(&session.keys.both);
    let mut sealed = session.encrypt(&sample).await?;
    sealed.iv = vec![7; 16];
    session.decrypt_refused(&sample, &sealed, CORRUPT).await
}

async fn other_key(session: &Session) -> Judged {
    let other = session.keys.encrypt_only.as_deref().unwrap_or_default();
    let sealed = session.encrypt(&Sample::of(other)).await?;
    session.decrypt_refused(&Sample::of(&session.keys.both), &sealed, CORRUPT).await
}

async fn empty_object(session: &Session) -> Judged {
    let answer = session.post(&session.key_path(KeyOperation::Decrypt), "{}").await?;
    refused(&answer, &[ErrorName::Validation])
}
