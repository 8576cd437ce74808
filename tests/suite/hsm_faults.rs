//! What the PKCS#11 library does wrong, and what the caller is told: through the shim, which also counts the calls.

use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::faults::calls;
use crate::support::{Reply, Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";

fn cdiv() -> Value {
    json!({"ciphertextDataIntegrityValueAlgorithm": "SHA_256"})
}

/// A site with one session, which is open.
fn site() -> (Site, Value) {
    let site = Site::start_with(&Setup::quiet(1));
    let encrypted = site.encrypt("foo", PLAINTEXT, json!({})).assert_ok().json();
    (site, encrypted)
}

/// A member with its first bit flipped.
fn flipped(encrypted: &Value, member: &str) -> Value {
    let mut bytes = decode_base64(encrypted[member].as_str().unwrap()).unwrap();
    bytes[0] ^= 1;
    json!({ member: encode_base64(&bytes) })
}

#[track_caller]
fn assert_decrypts(site: &Site, encrypted: &Value) {
    let reply = site.decrypt("foo", encrypted, json!({}));
    assert_eq!(reply.assert_ok().text("plaintext"), encode_base64(PLAINTEXT));
}

#[track_caller]
fn assert_internal(reply: &Reply) {
    reply.assert_error(500, "InternalException");
}

#[test]
fn an_operation_is_two_calls_and_an_integrity_value_two_more() {
    let (site, encrypted) = site();
    let made = site.calls_during(|| {
        for _ in 0..10 {
            site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
        }
    });
    assert_eq!(made, calls([("C_Encrypt", 10), ("C_EncryptInit", 10)]));
    let made = site.calls_during(|| (0..10).for_each(|_| assert_decrypts(&site, &encrypted)));
    assert_eq!(made, calls([("C_Decrypt", 10), ("C_DecryptInit", 10)]));
    let made = site.calls_during(|| _ = site.encrypt("foo", PLAINTEXT, cdiv()).assert_ok());
    let four = [("C_Decrypt", 1), ("C_DecryptInit", 1), ("C_Encrypt", 1), ("C_EncryptInit", 1)];
    assert_eq!(made, calls(four));
    let made = site.calls_during(|| {
        site.key_metadata("foo").assert_ok();
        site.health().assert_ok();
    });
    assert_eq!(made, calls([]), "metadata and health are known without asking the HSM");
}

#[test]
fn a_device_error_is_answered_with_500_and_costs_a_session_but_no_login() {
    let (site, encrypted) = site();
    let made = site.calls_during(|| {
        site.inject("C_Encrypt code=CKR_DEVICE_ERROR count=1 after");
        assert_internal(&site.encrypt("foo", PLAINTEXT, json!({})));
        site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
        assert_decrypts(&site, &encrypted);
    });
    assert_eq!((made["C_CloseSession"], made["C_OpenSession"]), (1, 1));
    assert_eq!(made.get("C_Login"), None);
    assert_eq!(site.metric(r#"holdfast_hsm_faults_total{code="DeviceError",hsm="softhsm"}"#), Some(1.0));
    let line = &site.lines_with_outcome("InternalException", 1)[0];
    assert_eq!(
        (line["reason"].as_str(), line["hsm"].as_str()),
        (Some("C_Encrypt returned DeviceError"), Some("softhsm"))
    );
    assert_eq!(site.health().json()["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");

    // A call that never reached the token leaves its operation active: the next finds a new session.
    site.inject("C_Encrypt code=CKR_DEVICE_ERROR count=1");
    assert_internal(&site.encrypt("foo", PLAINTEXT, json!({})));
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
    assert_eq!(site.metric(r#"holdfast_hsm_faults_total{code="OperationActive",hsm="softhsm"}"#), None);
}

#[test]
fn a_lost_session_or_login_is_healed_within_the_request() {
    let (site, encrypted) = site();
    for code in
        ["CKR_OPERATION_ACTIVE", "CKR_SESSION_CLOSED", "CKR_SESSION_HANDLE_INVALID", "CKR_USER_NOT_LOGGED_IN"]
    {
        for function in ["C_EncryptInit", "C_Encrypt"] {
            site.inject(&format!("{function} code={code} count=1"));
            site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
        }
        for function in ["C_DecryptInit", "C_Decrypt"] {
            site.inject(&format!("{function} code={code} count=1"));
            assert_decrypts(&site, &encrypted);
        }
    }
}

/// An HSM that loses its connection loses all sessions at once.
#[test]
fn a_session_that_was_lost_together_with_the_login_is_healed_within_the_request() {
    let (site, encrypted) = site();
    let session = "C_DecryptInit code=CKR_SESSION_HANDLE_INVALID count=1";
    let all =
        "C_DecryptInit code=CKR_SESSION_CLOSED count=1\nC_GetSessionInfo code=CKR_SESSION_CLOSED count=1";
    for (lost, logs_in) in [(session, false), (all, true)] {
        let made = site.calls_during(|| {
            site.inject(lost);
            assert_decrypts(&site, &encrypted);
        });
        assert_eq!(made.contains_key("C_Login"), logs_in, "{made:?}");
    }
}

#[test]
fn a_stale_handle_is_found_again_within_the_request() {
    let (site, encrypted) = site();
    for code in ["CKR_KEY_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID"] {
        let made = site.calls_during(|| {
            site.inject(&format!("C_DecryptInit code={code} count=1"));
            assert_decrypts(&site, &encrypted);
        });
        assert_eq!(made["C_FindObjectsInit"], 1, "{made:?}");
    }
}

/// C_Logout ends all handles of private keys: one fault follows the other (SoftHSM).
#[test]
fn a_lost_login_whose_handles_are_dead_too_is_healed_within_the_request() {
    let (site, _) = site();
    site.inject(
        "C_EncryptInit code=CKR_USER_NOT_LOGGED_IN count=1\nC_EncryptInit code=CKR_OBJECT_HANDLE_INVALID from=2 count=1",
    );
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}

#[test]
fn a_handle_that_stays_invalid_is_a_fault_and_not_a_missing_key() {
    let (site, _) = site();
    site.inject("C_EncryptInit code=CKR_OBJECT_HANDLE_INVALID");
    assert_internal(&site.encrypt("foo", PLAINTEXT, json!({})));
    site.inject("");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}

/// Peer fault 11.
#[test]
fn a_tampered_ciphertext_costs_no_session_no_login_and_no_search() {
    let (site, encrypted) = site();
    let made = site.calls_during(|| {
        for member in ["authenticationTag", "ciphertext", "initializationVector"].repeat(5) {
            site.decrypt("foo", &encrypted, flipped(&encrypted, member))
                .assert_error(400, "InvalidCiphertextException");
            assert_decrypts(&site, &encrypted);
        }
    });
    for function in ["C_CloseSession", "C_FindObjectsInit", "C_Login", "C_OpenSession"] {
        assert_eq!(made.get(function), None, "{made:?}");
    }
    // Itself twice, and in between a trial with the health key and a look at the key.
    let most = 15 * (2 + 4 + 2 + 2) + 15 * 2;
    assert!(made.values().sum::<u64>() <= most, "{made:?}");
    assert_eq!(site.metric(r#"holdfast_hsm_faults_total{code="GeneralError",hsm="softhsm"}"#), None);
}

#[test]
fn metadata_that_names_no_version_never_reaches_the_hsm() {
    let (site, encrypted) = site();
    let made = site.calls_during(|| {
        site.decrypt("foo", &encrypted, flipped(&encrypted, "ciphertextMetadata"))
            .assert_error(400, "InvalidCiphertextException");
        site.decrypt("foo", &encrypted, json!({"ciphertextMetadata": null}))
            .assert_error(400, "InvalidCiphertextException");
    });
    assert_eq!(made, calls([]));
    for line in site.lines_with_outcome("InvalidCiphertextException", 2) {
        assert_eq!(line["reason"], "the ciphertext metadata names no version of the external key");
    }
}

/// Several HSMs answer a wrong tag and their own failure with the same code.
#[test]
fn a_token_that_decrypts_nothing_any_more_is_not_called_bad_ciphertext() {
    let (site, encrypted) = site();
    for code in ["CKR_FUNCTION_FAILED", "CKR_GENERAL_ERROR"] {
        for when in ["", "after"] {
            site.inject(&format!("C_Decrypt code={code} {when}"));
            assert_internal(&site.decrypt("foo", &encrypted, json!({})));
        }
    }
    site.inject("");
    assert_decrypts(&site, &encrypted);
}

#[test]
fn a_hiccup_that_looks_like_bad_ciphertext_is_tried_again() {
    let (site, encrypted) = site();
    site.inject("C_Decrypt code=CKR_GENERAL_ERROR count=1 after");
    assert_decrypts(&site, &encrypted);
}

#[test]
fn codes_for_bad_data_are_believed_and_keep_the_session() {
    let (site, encrypted) = site();
    for code in ["CKR_AEAD_DECRYPT_FAILED", "CKR_ENCRYPTED_DATA_INVALID", "CKR_ENCRYPTED_DATA_LEN_RANGE"] {
        let made = site.calls_during(|| {
            site.inject(&format!("C_Decrypt code={code} count=1 after"));
            site.decrypt("foo", &encrypted, json!({})).assert_error(400, "InvalidCiphertextException");
        });
        assert_eq!(made, calls([("C_Decrypt", 1), ("C_DecryptInit", 1)]));
    }
    assert_decrypts(&site, &encrypted);
}

/// An IV that a token would never have made, for example.
#[test]
fn parameters_that_the_token_refuses_to_decrypt_with_are_bad_ciphertext_if_it_works_otherwise() {
    let (site, encrypted) = site();
    for code in ["CKR_ARGUMENTS_BAD", "CKR_MECHANISM_PARAM_INVALID"] {
        // The second call is the trial with the health key.
        let rule = format!("C_DecryptInit code={code}");
        let made = site.calls_during(|| {
            site.inject(&format!("{rule} count=1\n{rule} from=3 count=1"));
            site.decrypt("foo", &encrypted, json!({})).assert_error(400, "InvalidCiphertextException");
        });
        assert_eq!((made.get("C_OpenSession"), made.get("C_CloseSession")), (None, None), "{made:?}");
        site.inject(&rule);
        assert_internal(&site.decrypt("foo", &encrypted, json!({})));
        site.inject("");
        assert_decrypts(&site, &encrypted);
    }
}

#[test]
fn an_output_that_does_not_decrypt_never_gets_an_integrity_value() {
    let (site, _) = site();
    for fault in ["C_Encrypt corrupt", "C_Encrypt short", "C_Decrypt corrupt", "C_Decrypt short"] {
        site.inject(fault);
        assert_internal(&site.encrypt("foo", PLAINTEXT, cdiv()));
        site.inject("");
        // After what was corrupt its self-tests have to pass first.
        site.wait_until("service", || site.encrypt("foo", PLAINTEXT, cdiv()).status == 200);
    }
}

#[test]
fn an_output_of_a_wrong_length_is_a_fault() {
    let (site, encrypted) = site();
    site.inject("C_Encrypt short");
    assert_internal(&site.encrypt("foo", PLAINTEXT, json!({})));
    site.inject("C_Decrypt short");
    assert_internal(&site.decrypt("foo", &encrypted, json!({})));
    site.inject("");
    assert_decrypts(&site, &encrypted);
}

#[test]
fn what_is_too_long_for_the_hsm_is_unsupported() {
    let (site, _) = site();
    site.inject("C_Encrypt code=CKR_DATA_LEN_RANGE count=1");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_error(501, "UnsupportedOperationException");
    // The lost call has left its operation active.
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}

#[test]
fn a_use_that_the_hsm_refuses_is_invalid_key_usage() {
    let (site, encrypted) = site();
    let made = site.calls_during(|| {
        site.inject("C_EncryptInit code=CKR_KEY_FUNCTION_NOT_PERMITTED count=1");
        site.encrypt("foo", PLAINTEXT, json!({})).assert_error(400, "InvalidKeyUsageException");
        site.inject("C_DecryptInit code=CKR_KEY_FUNCTION_NOT_PERMITTED count=1");
        site.decrypt("foo", &encrypted, json!({})).assert_error(400, "InvalidKeyUsageException");
    });
    assert_eq!(made, calls([("C_DecryptInit", 1), ("C_EncryptInit", 1)]));
}

#[test]
fn running_out_of_sessions_is_an_error_and_passes() {
    let (site, _) = site();
    site.inject("C_Encrypt code=CKR_DEVICE_ERROR count=1\nC_OpenSession code=CKR_SESSION_COUNT");
    assert_internal(&site.encrypt("foo", PLAINTEXT, json!({})));
    assert_internal(&site.encrypt("foo", PLAINTEXT, json!({})));
    let line = &site.lines_with_outcome("InternalException", 2)[1];
    assert_eq!(line["reason"], "C_OpenSession returned SessionCount");
    site.inject("");
    site.encrypt("foo", PLAINTEXT, json!({})).assert_ok();
}
