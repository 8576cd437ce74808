//! GetKeyMetadata.

use proxy_api::error::ErrorName;
use proxy_api::wire::{
    KEY_SPEC_AES_256, KEY_USAGE_DECRYPT, KEY_USAGE_ENCRYPT, KEY_USAGES_MAX, KeyOperation, KeyStatus,
    MetadataResponse, Target,
};

use crate::check::bodies::Body;
use crate::check::case::{Case, Need};
use crate::check::cases::encrypt::UNKNOWN_KEY_ID;
use crate::check::finding::{InVariant as _, Judged, ensure};
use crate::check::judge::{refused, response};
use crate::check::session::Session;

pub(crate) const CASES: &[Case] = &[
    Case::must("DescribeKey with kmsKeyArn and kmsViaService has a sound response", |s| {
        Box::pin(is_sound_for(s, "DescribeKey"))
    })
    .rows("7"),
    Case::must("CreateKey with kmsKeyArn and kmsViaService has a sound response", |s| {
        Box::pin(is_sound_for(s, "CreateKey"))
    })
    .rows("8"),
    Case::must("an empty body object is refused", |s| Box::pin(empty_object(s))).rows("9"),
    Case::must("an empty requestMetadata is refused", |s| Box::pin(empty_metadata(s))).rows("10"),
    Case::must("an unknown key is not found", |s| Box::pin(unknown_key(s))).rows("11"),
    Case::must("an unknown kmsOperation is accepted", |s| Box::pin(is_sound_for(s, "NewOperation"))),
    Case::must("kmsKeyArn and kmsViaService may be absent", |s| Box::pin(without_key_arn(s))),
    Case::must("each required metadata member is required", |s| Box::pin(required_members(s))),
    Case::must("VPC members and unknown members are accepted", |s| Box::pin(more_members(s))),
    Case::must("an encrypt-only key has no DECRYPT", |s| Box::pin(encrypt_only(s)))
        .needs(Need::EncryptOnlyKey),
    Case::must("a decrypt-only key has no ENCRYPT", |s| Box::pin(decrypt_only(s)))
        .needs(Need::DecryptOnlyKey),
    Case::must("a do-nothing key has neither", |s| Box::pin(impotent(s))).needs(Need::ImpotentKey),
];

async fn is_sound_for(session: &Session, kms_operation: &str) -> Judged {
    judge(session, Body::metadata().with_metadata("kmsOperation", kms_operation)).await
}

async fn without_key_arn(session: &Session) -> Judged {
    judge(session, Body::metadata().without_metadata("kmsKeyArn").without_metadata("kmsViaService")).await
}

async fn more_members(session: &Session) -> Judged {
    let body = Body::metadata()
        .with_metadata("awsSourceVpc", "vpc-1234567890abcdef0")
        .with_metadata("awsSourceVpce", "vpce-1234567890abcdef0")
        .with_metadata("nitroEnclavePcrs", serde_json::json!([{ "pcr0": "00" }]))
        .with("later", serde_json::Value::Null);
    judge(session, body).await
}

async fn empty_object(session: &Session) -> Judged {
    let answer = session.post(&session.key_path(KeyOperation::Metadata), "{}").await?;
    refused(&answer, &[ErrorName::Validation])
}

async fn empty_metadata(session: &Session) -> Judged {
    let answer = session.post(&session.key_path(KeyOperation::Metadata), r#"{"requestMetadata":{}}"#).await?;
    refused(&answer, &[ErrorName::Validation])
}

async fn unknown_key(session: &Session) -> Judged {
    let path =
        session.path(Target::Key { external_key_id: UNKNOWN_KEY_ID, operation: KeyOperation::Metadata });
    refused(&session.post(&path, Body::metadata()).await?, &[ErrorName::KeyNotFound])
}

async fn required_members(session: &Session) -> Judged {
    for member in ["awsPrincipalArn", "kmsOperation", "kmsRequestId"] {
        let body = Body::metadata().without_metadata(member);
        let answer = session.post(&session.key_path(KeyOperation::Metadata), body).await?;
        refused(&answer, &[ErrorName::Validation]).in_variant(&format!("no `{member}`"))?;
    }
    Ok(())
}

async fn encrypt_only(session: &Session) -> Judged {
    judge_usage(session, session.keys.encrypt_only.as_deref(), (true, false)).await
}

async fn decrypt_only(session: &Session) -> Judged {
    judge_usage(session, session.keys.decrypt_only.as_deref(), (false, true)).await
}

async fn impotent(session: &Session) -> Judged {
    judge_usage(session, session.keys.impotent.as_deref(), (false, false)).await
}

async fn judge(session: &Session, body: Body) -> Judged {
    judge_key(session, &session.keys.both, body, (true, true)).await
}

async fn judge_usage(session: &Session, key_id: Option<&str>, usages: (bool, bool)) -> Judged {
    judge_key(session, key_id.unwrap_or_default(), Body::metadata(), usages).await
}

/// `usages`: whether the key may encrypt, and whether it may decrypt.
async fn judge_key(session: &Session, external_key_id: &str, body: Body, usages: (bool, bool)) -> Judged {
    let path = session.path(Target::Key { external_key_id, operation: KeyOperation::Metadata });
    let answer = session.post(&path, body).await?;
    let metadata = response::<MetadataResponse<'_>>(&answer)?;
    ensure(metadata.key_spec == KEY_SPEC_AES_256, "keySpec AES_256", &*metadata.key_spec)?;
    let count = metadata.key_usage.len();
    ensure(count <= KEY_USAGES_MAX, "at most 10 keyUsage values", count.to_string())?;
    let has = |usage| metadata.key_usage.iter().any(|value| value == usage);
    let got = (has(KEY_USAGE_ENCRYPT), has(KEY_USAGE_DECRYPT));
    ensure(got == usages, described(usages), described(got))?;
    match metadata.key_status {
        KeyStatus::Enabled => Ok(()),
        KeyStatus::Disabled => ensure(false, "keyStatus ENABLED", "DISABLED"),
    }
}

const fn described(usages: (bool, bool)) -> &'static str {
    match usages {
        (true, true) => "keyUsage with ENCRYPT and DECRYPT",
        (true, false) => "keyUsage with ENCRYPT, without DECRYPT",
        (false, true) => "keyUsage with DECRYPT, without ENCRYPT",
        (false, false) => "keyUsage without ENCRYPT and DECRYPT",
    }
}
