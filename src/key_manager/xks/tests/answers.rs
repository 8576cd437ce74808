//! Whole answers that break a rule of the API, and arbitrary ones.

use http::{HeaderMap, StatusCode, Version};
use proptest::prelude::*;
use proxy_api::client::{Answer, Failure};
use proxy_api::error::ErrorName;
use proxy_api::wire::encode_base64;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::key_manager::xks::answers;
use crate::key_manager::xks::tests::{AAD, HEALTHY, INNER, encrypted};
use crate::key_manager::xks_proxy::ProxyFailure;

fn answer(status: u16, body: &[u8]) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        body: Zeroizing::new(body.to_vec()),
    }
}

/// `object` with one member set, or removed if it is null.
fn with(object: &Value, member: &str, value: Value) -> Vec<u8> {
    let mut object = object.clone();
    if value.is_null() {
        object.as_object_mut().unwrap().remove(member);
    } else {
        object[member] = value;
    }
    object.to_string().into_bytes()
}

fn reason<T: std::fmt::Debug>(result: Result<T, ProxyFailure>) -> String {
    match result {
        Err(ProxyFailure::Malformed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_rule_that_an_encryption_breaks_is_named() {
    let base64 = |bytes: usize| json!(encode_base64(&vec![7; bytes]));
    for (member, value, expected) in [
        ("ciphertext", Value::Null, "member `ciphertext` is missing"),
        ("ciphertext", base64(12), "12 bytes of ciphertext for 11 bytes of plaintext"),
        ("ciphertext", json!("****"), "`ciphertext` is not standard Base64"),
        ("ciphertextMetadata", base64(21), "21 bytes of ciphertext metadata"),
        ("initializationVector", base64(13), "13 bytes of initialization vector"),
        ("initializationVector", Value::Null, "member `initializationVector` is missing"),
        ("authenticationTag", base64(15), "15 bytes of authentication tag"),
        ("authenticationTag", json!("_-8="), "`authenticationTag` is not standard Base64"),
        ("ciphertextDataIntegrityValue", Value::Null, "`ciphertextDataIntegrityValue` is missing"),
        (
            "ciphertextDataIntegrityValue",
            base64(32),
            "`ciphertextDataIntegrityValue` is not the hash of the parts",
        ),
        (
            "ciphertextDataIntegrityValue",
            base64(31),
            "`ciphertextDataIntegrityValue` is not the hash of the parts",
        ),
        // Every part is in the hash.
        ("ciphertext", base64(11), "`ciphertextDataIntegrityValue` is not the hash of the parts"),
        ("ciphertextMetadata", Value::Null, "`ciphertextDataIntegrityValue` is not the hash of the parts"),
        ("initializationVector", base64(12), "`ciphertextDataIntegrityValue` is not the hash of the parts"),
        ("authenticationTag", base64(16), "`ciphertextDataIntegrityValue` is not the hash of the parts"),
    ] {
        let answer = answer(200, &with(&encrypted(), member, value));
        assert_eq!(reason(answers::encrypted(&answer, INNER.len(), AAD)), expected, "{member}");
    }
    let whole = answer(200, encrypted().to_string().as_bytes());
    answers::encrypted(&whole, INNER.len(), AAD).unwrap();
    let other_aad = "`ciphertextDataIntegrityValue` is not the hash of the parts";
    assert_eq!(reason(answers::encrypted(&whole, INNER.len(), b"other")), other_aad);
}

#[test]
fn a_plaintext_has_the_length_of_its_ciphertext_and_is_never_told() {
    let decrypted = |body: Value| answers::decrypted(&answer(200, body.to_string().as_bytes()), 3);
    assert_eq!(decrypted(json!({"plaintext": "YWJj"})).unwrap().expose(), b"abc");
    for (body, expected) in [
        (json!({"plaintext": "YWJjZA=="}), "4 bytes of plaintext for 3 bytes of ciphertext"),
        (json!({"plaintext": "YWI="}), "2 bytes of plaintext for 3 bytes of ciphertext"),
        (json!({"plaintext": "YWJj "}), "`plaintext` is not standard Base64"),
        (json!({"plaintext": 3}), "value of the wrong type at line 1, column 14"),
        (json!({}), "member `plaintext` is missing"),
        (json!([]), "value of the wrong type at line 1, column 0"),
    ] {
        assert_eq!(reason(decrypted(body)), expected);
    }
}

#[test]
fn health_and_metadata_keep_within_their_bounds() {
    let healthy: Value = serde_json::from_str(HEALTHY).unwrap();
    let detail = |status: &str| json!({"id": "1", "model": "m", "healthStatus": status});
    for (member, value, expected) in [
        ("xksProxyFleetSize", json!(0), "`xksProxyFleetSize` is 0"),
        ("xksProxyFleetSize", Value::Null, "member `xksProxyFleetSize` is missing"),
        ("ekmVendor", Value::Null, "member `ekmVendor` is missing"),
        ("ekmFleetDetails", json!([]), "0 entries in `ekmFleetDetails`"),
        ("ekmFleetDetails", json!(vec![detail("ACTIVE"); 11]), "11 entries in `ekmFleetDetails`"),
    ] {
        assert_eq!(reason(answers::health(&answer(200, &with(&healthy, member, value)))), expected);
    }
    let unknown = with(&healthy, "ekmFleetDetails", json!([detail("FINE")]));
    assert!(reason(answers::health(&answer(200, &unknown))).starts_with("value of the wrong type"));
    let fleet = answers::health(&answer(200, HEALTHY.as_bytes())).unwrap();
    assert_eq!((fleet.active, fleet.degraded, fleet.unavailable), (1, 0, 1));

    let metadata = json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"});
    let key = answers::key_metadata(&answer(200, metadata.to_string().as_bytes())).unwrap();
    assert!(key.is_enabled && key.key_spec == "AES_256" && key.key_usage == ["ENCRYPT", "DECRYPT"]);
    let many = with(&metadata, "keyUsage", json!(vec!["SIGN"; 11]));
    assert_eq!(reason(answers::key_metadata(&answer(200, &many))), "11 values in `keyUsage`");
    let unknown = with(&metadata, "keyStatus", json!("SLEEPING"));
    assert!(reason(answers::key_metadata(&answer(200, &unknown))).starts_with("value of the wrong type"));
}

#[test]
fn the_names_of_an_external_key_are_short_printable_ascii() {
    let metadata = |member: &str, value: Value| {
        let whole = json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT"], "keyStatus": "ENABLED"});
        answers::key_metadata(&answer(200, &with(&whole, member, value)))
    };
    let longest = "~".repeat(64);
    assert_eq!(metadata("keySpec", json!(longest)).unwrap().key_spec, longest);
    assert_eq!(metadata("keyUsage", json!(["", longest])).unwrap().key_usage, ["", &longest]);
    let long = "x".repeat(100_000);
    for (text, fault) in [
        (long.as_str(), "a value of 100000 bytes in `"),
        (&longest.replace('~', "\u{e9}"), "a value of 128 bytes in `"),
        ("AES\n256", "a value in `"),
        ("AES\u{7f}", "a value in `"),
        ("AES\u{e9}", "a value in `"),
    ] {
        for (member, value) in [("keySpec", json!(text)), ("keyUsage", json!(["ENCRYPT", text]))] {
            let reason = reason(metadata(member, value));
            assert!(reason.starts_with(&format!("{fault}{member}`")), "{reason}");
        }
    }
}

#[test]
fn what_a_peer_says_while_it_fails_is_short_and_printable() {
    let names = rustls::Error::General(format!("names\n{}", "x".repeat(60_000)));
    let ProxyFailure::Tls(reason) = answers::failure(Failure::Tls(names)) else { panic!() };
    assert_eq!(reason.len(), 511);
    assert!(reason.contains("names?xxx"), "{reason}");
    let refusal = json!({"errorName": "ThrottlingException", "errorMessage": "x\u{1b}".repeat(60_000)});
    let refused = answers::health(&answer(429, refusal.to_string().as_bytes())).unwrap_err();
    let ProxyFailure::Refused { message: Some(message), .. } = refused else { panic!("{refused:?}") };
    assert!(message.len() == 511 && message.starts_with("x?x?"), "{message}");
}

#[test]
fn the_name_of_an_error_decides_whatever_the_status() {
    for error in ErrorName::ALL {
        for status in [200, error.wire().0, 418] {
            let body = json!({"errorName": error.wire().1, "errorMessage": "caf\u{e9}\n"}).to_string();
            let refused = answers::health(&answer(status, body.as_bytes())).unwrap_err();
            assert_eq!(refused, ProxyFailure::Refused { error, message: Some("caf??".to_owned()) });
        }
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_and_what_is_taken_is_within_bounds(
        status in prop_oneof![Just(200_u16), 200_u16..600],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        member in proptest::sample::select(vec![
            "ciphertext", "ciphertextMetadata", "initializationVector", "authenticationTag",
            "ciphertextDataIntegrityValue", "plaintext", "keyUsage", "ekmFleetDetails", "errorName",
        ]),
        text in "[A-Za-z0-9+/=]{0,40}",
    ) {
        for body in [bytes, with(&encrypted(), member, json!(text)), with(&json!({}), member, json!([text]))] {
            let answer = answer(status, &body);
            if let Ok(outer) = answers::encrypted(&answer, INNER.len(), AAD) {
                prop_assert!(outer.iv.len() <= 16 && outer.tag.len() == 16 && outer.ciphertext.len() == INNER.len());
                prop_assert!(outer.metadata.is_none_or(|metadata| metadata.len() <= 20));
            }
            if let Ok(plaintext) = answers::decrypted(&answer, INNER.len()) {
                prop_assert_eq!(plaintext.len(), INNER.len());
            }
            prop_assert!(answers::health(&answer).is_err());
            prop_assert!(answers::key_metadata(&answer).is_err());
        }
    }
}
