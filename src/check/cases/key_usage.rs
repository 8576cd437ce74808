//! Keys that may not do everything.

use proxy_api::client::Sealed;
use proxy_api::error::ErrorName;

use crate::check::case::{Case, Need};
use crate::check::crypto::{AAD, CORRUPT, PLAINTEXT, Sample};
use crate::check::finding::Judged;
use crate::check::session::Session;

const FORBIDDEN: &[ErrorName] = &[ErrorName::InvalidKeyUsage];

pub(crate) const CASES: &[Case] = &[
    Case::must("encrypt-only: encrypts, does not decrypt, without AAD", |s| Box::pin(encrypt_only(s)))
        .rows("36, 37")
        .needs(Need::EncryptOnlyKey),
    Case::must("encrypt-only: encrypts, does not decrypt, with AAD", |s| Box::pin(encrypt_only_aad(s)))
        .rows("38, 39")
        .needs(Need::EncryptOnlyKey),
    Case::must("encrypt-only: no data integrity value, with AAD", |s| Box::pin(encrypt_only_aad_cdiv(s)))
        .rows("40")
        .needs(Need::EncryptOnlyKey),
    Case::must("encrypt-only: no data integrity value, without AAD", |s| Box::pin(encrypt_only_cdiv(s)))
        .rows("41")
        .needs(Need::EncryptOnlyKey),
    Case::must("decrypt-only: does not encrypt, with AAD", |s| {
        Box::pin(refused_encrypt(s, decrypt_only(s).with_aad(AAD)))
    })
    .rows("42")
    .needs(Need::DecryptOnlyKey),
    Case::must("decrypt-only: does not encrypt, without AAD", |s| {
        Box::pin(refused_encrypt(s, decrypt_only(s)))
    })
    .rows("43")
    .needs(Need::DecryptOnlyKey),
    Case::must("decrypt-only: no data integrity value, with AAD", |s| {
        Box::pin(refused_encrypt(s, decrypt_only(s).with_aad(AAD).with_cdiv()))
    })
    .rows("44")
    .needs(Need::DecryptOnlyKey),
    Case::must("decrypt-only: no data integrity value, without AAD", |s| {
        Box::pin(refused_encrypt(s, decrypt_only(s).with_cdiv()))
    })
    .rows("45")
    .needs(Need::DecryptOnlyKey),
    Case::must("do-nothing: does not encrypt, with AAD", |s| {
        Box::pin(refused_encrypt(s, impotent(s).with_aad(AAD)))
    })
    .rows("46")
    .needs(Need::ImpotentKey),
    Case::must("do-nothing: does not encrypt, without AAD", |s| Box::pin(refused_encrypt(s, impotent(s))))
        .rows("47")
        .needs(Need::ImpotentKey),
    Case::must("do-nothing: no data integrity value, with AAD", |s| {
        Box::pin(refused_encrypt(s, impotent(s).with_aad(AAD).with_cdiv()))
    })
    .rows("48")
    .needs(Need::ImpotentKey),
    Case::must("do-nothing: no data integrity value, without AAD", |s| {
        Box::pin(refused_encrypt(s, impotent(s).with_cdiv()))
    })
    .rows("49")
    .needs(Need::ImpotentKey),
    Case::must("do-nothing: does not decrypt", |s| Box::pin(impotent_decrypt(s))).needs(Need::ImpotentKey),
    Case::should("decrypt-only: decrypts, so a foreign ciphertext is only corrupt", |s| {
        Box::pin(decrypt_only_decrypt(s))
    })
    .needs(Need::DecryptOnlyKey),
];

fn encrypt_only_sample(session: &Session) -> Sample<'_> {
    Sample::of(session.keys.encrypt_only.as_deref().unwrap_or_default())
}

fn decrypt_only(session: &Session) -> Sample<'_> {
    Sample::of(session.keys.decrypt_only.as_deref().unwrap_or_default())
}

fn impotent(session: &Session) -> Sample<'_> {
    Sample::of(session.keys.impotent.as_deref().unwrap_or_default())
}

async fn encrypt_only(session: &Session) -> Judged {
    encrypts_only(session, encrypt_only_sample(session)).await
}

async fn encrypt_only_aad(session: &Session) -> Judged {
    encrypts_only(session, encrypt_only_sample(session).with_aad(AAD)).await
}

async fn encrypt_only_aad_cdiv(session: &Session) -> Judged {
    refused_encrypt(session, encrypt_only_sample(session).with_aad(AAD).with_cdiv()).await
}

async fn encrypt_only_cdiv(session: &Session) -> Judged {
    refused_encrypt(session, encrypt_only_sample(session).with_cdiv()).await
}

async fn encrypts_only(session: &Session, sample: Sample<'_>) -> Judged {
    let sealed = session.encrypt(&sample).await?;
    session.decrypt_refused(&sample, &sealed, FORBIDDEN).await
}

async fn refused_encrypt(session: &Session, sample: Sample<'_>) -> Judged {
    session.encrypt_refused(&sample, FORBIDDEN).await
}

async fn impotent_decrypt(session: &Session) -> Judged {
    session.decrypt_refused(&impotent(session), &foreign(), FORBIDDEN).await
}

async fn decrypt_only_decrypt(session: &Session) -> Judged {
    session.decrypt_refused(&decrypt_only(session), &foreign(), CORRUPT).await
}

/// Well formed, and made by nobody.
fn foreign() -> Sealed {
    Sealed { ciphertext: PLAINTEXT.to_vec(), metadata: None, iv: vec![1; 12], tag: vec![2; 16], cdiv: None }
}
