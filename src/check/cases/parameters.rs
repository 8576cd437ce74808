//! Bodies that are not what the operation takes.

use proxy_api::client::Sealed;
use proxy_api::error::ErrorName;
use proxy_api::wire::{DecryptResponse, EncryptResponse, KeyOperation, MetadataResponse};
use serde_json::{Value, json};

use crate::check::bodies::Body;
use crate::check::case::Case;
use crate::check::crypto::{AAD, MALFORMED, PLAINTEXT, Sample};
use crate::check::finding::{Finding, InVariant as _, Judged};
use crate::check::judge::{refused, response};
use crate::check::session::Session;

const INVALID: &[ErrorName] = &[ErrorName::Validation];

/// Standard Base64 with padding is the only one (XKS v1, Background).
const BAD_BASE64: [(&str, &str); 6] = [
    ("the URL-safe alphabet", "-_-_"),
    ("no padding", "SGVsbG8"),
    ("an inner blank", "SGVs bG8h"),
    ("a line break", "SGVsbG8h\n"),
    ("characters of no alphabet", "SGVs!G8h"),
    ("too much padding", "SGVsbG8==="),
];

pub(crate) const CASES: &[Case] = &[
    Case::must("encrypt: an empty body object and empty metadata are refused", |s| {
        Box::pin(empty_encrypt(s))
    }),
    Case::must("encrypt: each required member is required", |s| Box::pin(encrypt_members(s))),
    Case::must("decrypt: each required member is required", |s| Box::pin(decrypt_members(s))),
    Case::must("encrypt: each required metadata member is required", |s| {
        Box::pin(encrypt_metadata_members(s))
    }),
    Case::must("decrypt: each required metadata member is required", |s| {
        Box::pin(decrypt_metadata_members(s))
    }),
    Case::must("another encryptionAlgorithm is refused", |s| Box::pin(other_algorithm(s))),
    Case::must("another ciphertextDataIntegrityValueAlgorithm is refused", |s| {
        Box::pin(other_cdiv_algorithm(s))
    }),
    Case::must("encrypt: bad Base64 is refused", |s| Box::pin(bad_base64_encrypt(s))),
    Case::must("decrypt: bad Base64 is refused", |s| Box::pin(bad_base64_decrypt(s))),
    Case::must("values of the wrong JSON type are refused", |s| Box::pin(wrong_types(s))),
    Case::must("what is not JSON is refused", |s| Box::pin(not_json(s))),
    Case::should("a member given twice is refused", |s| Box::pin(duplicates(s))),
    Case::must("metadata values of any content are accepted", |s| Box::pin(odd_metadata(s))),
    Case::must("blanks, escapes and any order of members are accepted", |s| Box::pin(odd_json(s))),
];

async fn empty_encrypt(session: &Session) -> Judged {
    for body in ["{}", r#"{"requestMetadata":{}}"#] {
        encrypt_refused(session, body.as_bytes(), INVALID).await.in_variant(body)?;
    }
    Ok(())
}

async fn encrypt_members(session: &Session) -> Judged {
    for member in ["requestMetadata", "plaintext", "encryptionAlgorithm"] {
        let body = Body::encrypt(PLAINTEXT, None).without(member);
        encrypt_refused(session, body, INVALID).await.in_variant(&format!("no `{member}`"))?;
    }
    Ok(())
}

/// A missing part of the ciphertext is also what InvalidCiphertextException is for (XKS v1, Error codes).
async fn decrypt_members(session: &Session) -> Judged {
    let sealed = sealed(session).await?;
    for (member, errors) in [
        ("requestMetadata", INVALID),
        ("encryptionAlgorithm", INVALID),
        ("ciphertext", MALFORMED),
        ("initializationVector", MALFORMED),
        ("authenticationTag", MALFORMED),
    ] {
        let body = Body::decrypt(&sealed, None).without(member);
        decrypt_refused(session, body, errors).await.in_variant(&format!("no `{member}`"))?;
    }
    Ok(())
}

const METADATA_MEMBERS: [&str; 4] = ["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"];

async fn encrypt_metadata_members(session: &Session) -> Judged {
    for member in METADATA_MEMBERS {
        let body = Body::encrypt(PLAINTEXT, None).without_metadata(member);
        encrypt_refused(session, body, INVALID).await.in_variant(&format!("no `{member}`"))?;
    }
    Ok(())
}

async fn decrypt_metadata_members(session: &Session) -> Judged {
    let sealed = sealed(session).await?;
    for member in METADATA_MEMBERS {
        let body = Body::decrypt(&sealed, None).without_metadata(member);
        decrypt_refused(session, body, INVALID).await.in_variant(&format!("no `{member}`"))?;
    }
    Ok(())
}

async fn other_algorithm(session: &Session) -> Judged {
    let sealed = sealed(session).await?;
    for algorithm in ["AES_CBC", "aes_gcm", ""] {
        let body = Body::encrypt(PLAINTEXT, None).with("encryptionAlgorithm", algorithm);
        encrypt_refused(session, body, INVALID).await.in_variant(algorithm)?;
        let body = Body::decrypt(&sealed, None).with("encryptionAlgorithm", algorithm);
        decrypt_refused(session, body, INVALID).await.in_variant(algorithm)?;
    }
    Ok(())
}

async fn other_cdiv_algorithm(session: &Session) -> Judged {
    for algorithm in ["SHA_512", "sha_256", ""] {
        let body = Body::encrypt(PLAINTEXT, None).with("ciphertextDataIntegrityValueAlgorithm", algorithm);
        encrypt_refused(session, body, INVALID).await.in_variant(algorithm)?;
    }
    Ok(())
}

async fn bad_base64_encrypt(session: &Session) -> Judged {
    for (variant, text) in BAD_BASE64 {
        for member in ["plaintext", "additionalAuthenticatedData"] {
            let body = Body::encrypt(PLAINTEXT, Some(AAD)).with(member, text);
            encrypt_refused(session, body, INVALID).await.in_variant(&format!("{variant} in `{member}`"))?;
        }
    }
    Ok(())
}

async fn bad_base64_decrypt(session: &Session) -> Judged {
    let sealed = sealed(session).await?;
    for (variant, text) in BAD_BASE64 {
        for member in [
            "ciphertext",
            "initializationVector",
            "authenticationTag",
            "ciphertextMetadata",
            "additionalAuthenticatedData",
        ] {
            let body = Body::decrypt(&sealed, Some(AAD)).with(member, text);
            decrypt_refused(session, body, MALFORMED)
                .await
                .in_variant(&format!("{variant} in `{member}`"))?;
        }
    }
    Ok(())
}

async fn wrong_types(session: &Session) -> Judged {
    let good = || Body::encrypt(PLAINTEXT, None);
    for (variant, body) in [
        ("a number for `plaintext`", good().with("plaintext", 7)),
        ("null for `plaintext`", good().with("plaintext", Value::Null)),
        ("an array for `encryptionAlgorithm`", good().with("encryptionAlgorithm", json!(["AES_GCM"]))),
        ("an object for AAD", good().with("additionalAuthenticatedData", json!({}))),
        ("text for `requestMetadata`", good().with("requestMetadata", "x")),
        (
            "an array for `requestMetadata`",
            good().with("requestMetadata", json!(["a", "b", "c", "d", "e", "f", "g"])),
        ),
        ("a number for `kmsKeyArn`", good().with_metadata("kmsKeyArn", 7)),
        ("a boolean for `kmsOperation`", good().with_metadata("kmsOperation", true)),
    ] {
        encrypt_refused(session, body, INVALID).await.in_variant(variant)?;
    }
    Ok(())
}

async fn not_json(session: &Session) -> Judged {
    let good = Body::encrypt(PLAINTEXT, None).into_text();
    let cut = good.get(..good.len() - 1).unwrap_or_default().to_owned();
    let nested = format!("{{\"x\":{}", "[".repeat(10_000));
    for (variant, body) in [
        ("an empty body", Vec::new()),
        ("text", b"plaintext=SGVsbG8h".to_vec()),
        ("a cut object", cut.into_bytes()),
        ("a second object", format!("{good}{good}").into_bytes()),
        ("an array", format!("[{good}]").into_bytes()),
        ("deep nesting", nested.into_bytes()),
        (
            "bytes that are not UTF-8",
            good.replace("Alice", "\u{1}")
                .into_bytes()
                .into_iter()
                .map(|byte| if byte == 1 { 0xff } else { byte })
                .collect(),
        ),
    ] {
        encrypt_refused(session, body, INVALID).await.in_variant(variant)?;
    }
    Ok(())
}

async fn duplicates(session: &Session) -> Judged {
    let good = Body::encrypt(PLAINTEXT, None).into_text();
    let body = good.replacen('{', r#"{"plaintext":"QUJD","#, 1);
    encrypt_refused(session, body.into_bytes(), INVALID).await
}

async fn odd_metadata(session: &Session) -> Judged {
    for (member, value) in [
        ("awsPrincipalArn", "AWS Internal"),
        ("awsPrincipalArn", "ec2.amazonaws.com"),
        ("kmsRequestId", "not a UUID at all \u{e9}\u{4e2d}"),
        ("kmsKeyArn", "not an ARN"),
        ("kmsViaService", "new-service.us-east-1.amazonaws.com"),
    ] {
        let body = Body::metadata().with_metadata(member, value);
        let answer = session.post(&session.key_path(KeyOperation::Metadata), body).await?;
        response::<MetadataResponse<'_>>(&answer).in_variant(&format!("`{member}`: {value}"))?;
        let body = Body::encrypt(PLAINTEXT, None).with_metadata(member, value);
        let answer = session.post(&session.key_path(KeyOperation::Encrypt), body).await?;
        response::<EncryptResponse<'_>>(&answer).in_variant(&format!("`{member}`: {value}"))?;
    }
    Ok(())
}

/// The same plaintext in another spelling, and back.
async fn odd_json(session: &Session) -> Judged {
    let sample = Sample { plaintext: &[0xff, 0xff, 0xff], ..Sample::of(&session.keys.both) };
    let text = sample.body().into_text().replace("////", r"\/\u002f\u002F/").replace(',', " ,\r\n\t ");
    let answer = session.post(&session.key_path(KeyOperation::Encrypt), text).await?;
    let encrypted = response::<EncryptResponse<'_>>(&answer)?;
    let sealed = Sealed::decode(&encrypted, sample.plaintext.len())
        .map_err(|fault| crate::check::finding::mismatch("a sound Encrypt response", fault.to_string()))?;
    let body = Body::decrypt(&sealed, None).into_text().replace(':', " : ");
    let answer = session.post(&session.key_path(KeyOperation::Decrypt), body).await?;
    let decrypted = response::<DecryptResponse<'_>>(&answer)?;
    crate::check::finding::ensure(
        &*decrypted.plaintext == "////",
        "the plaintext that was encrypted",
        "another",
    )
}

async fn sealed(session: &Session) -> Result<Sealed, Finding> {
    session.encrypt(&Sample::of(&session.keys.both)).await
}

async fn encrypt_refused(session: &Session, body: impl Into<Vec<u8>>, errors: &[ErrorName]) -> Judged {
    refused(&session.post(&session.key_path(KeyOperation::Encrypt), body).await?, errors)
}

async fn decrypt_refused(session: &Session, body: impl Into<Vec<u8>>, errors: &[ErrorName]) -> Judged {
    refused(&session.post(&session.key_path(KeyOperation::Decrypt), body).await?, errors)
}
