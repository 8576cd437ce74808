//! What the token does wrong with KMS keys, and who is blamed for it.

use std::sync::Arc;
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock};
use holdfast::domain::kms::{KeptKey, WrappedKey};
use holdfast::key_manager::backing_key::{BackingKey, BackingKeys, MadeKey};
use holdfast::key_manager::{HealthState, HsmError};

use crate::support::second_hsm::Behind;
use crate::support::wrapped::{Keys, PLAINTEXT, aes, deadline, site, story, to_encrypt};
use crate::support::{Setup, Site};

#[track_caller]
fn assert_device<T: std::fmt::Debug>(result: Result<T, HsmError>, what: &str) {
    match result {
        Err(HsmError::Device(reason)) => assert!(reason.contains(what), "{reason}"),
        other => panic!("{other:?} is no failure of the device"),
    }
}

/// Of this key: nothing is wrong with the HSM.
#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(result: Result<T, HsmError>, what: &str) {
    match result {
        Err(HsmError::Unavailable(reason)) => assert!(reason.contains(what), "{reason}"),
        other => panic!("{other:?} blames something else"),
    }
}

fn generate(keys: &Keys) -> Result<MadeKey, HsmError> {
    keys.runtime.block_on(keys.group.generate(aes(0), deadline())).result
}

#[test]
fn a_stale_handle_is_unwrapped_again_within_the_request() {
    story(
        "wrapped_key_faults::a_stale_handle_is_unwrapped_again_within_the_request",
        || site(1, 9),
        |keys| {
            keys.opened();
            let key = keys.key(1);
            let encrypted = keys.encrypt(&key, b"");
            for code in ["CKR_KEY_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID"] {
                let made = keys.calls_during(|| {
                    keys.inject(&format!("C_DecryptInit code={code} count=1"));
                    assert_eq!(keys.decrypt(&key, &encrypted, b"").unwrap(), PLAINTEXT);
                });
                assert_eq!((made["C_UnwrapKey"], made.get("C_FindObjectsInit")), (1, None), "{made:?}");
            }
            keys.inject("C_EncryptInit code=CKR_OBJECT_HANDLE_INVALID");
            assert_device(keys.try_encrypt(&key, b""), "ObjectHandleInvalid");
            keys.inject("");
            keys.assert_works(&key);
        },
    );
}

#[test]
fn a_stale_handle_of_the_root_key_is_found_again_within_the_request() {
    let name = "wrapped_key_faults::a_stale_handle_of_the_root_key_is_found_again_within_the_request";
    story(
        name,
        || site(1, 9),
        |keys| {
            keys.opened();
            for code in ["CKR_KEY_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID", "0xf0"] {
                let key = keys.key(1);
                keys.group.forget(&key.id);
                let made = keys.calls_during(|| {
                    keys.inject(&format!("C_UnwrapKey code={code} count=1"));
                    keys.encrypt(&key, b"");
                });
                assert_eq!(made["C_FindObjectsInit"], 1, "{made:?}");
            }
            keys.inject("C_WrapKey code=CKR_KEY_HANDLE_INVALID count=1");
            generate(keys).unwrap();
        },
    );
}

#[test]
fn a_lost_session_or_login_is_healed_within_the_request() {
    story(
        "wrapped_key_faults::a_lost_session_or_login_is_healed_within_the_request",
        || site(1, 9),
        |keys| {
            keys.opened();
            let (cached, other) = (keys.key(1), keys.key(2));
            for code in ["CKR_SESSION_CLOSED", "CKR_SESSION_HANDLE_INVALID", "CKR_USER_NOT_LOGGED_IN"] {
                for function in ["C_EncryptInit", "C_UnwrapKey"] {
                    keys.assert_works(&cached);
                    keys.group.forget(&other.id);
                    keys.inject(&format!("{function} code={code} count=1"));
                    keys.encrypt(&other, b"");
                }
                for function in ["C_GenerateKey", "C_WrapKey", "C_UnwrapKey"] {
                    keys.inject(&format!("{function} code={code} count=1"));
                    generate(keys).unwrap();
                }
            }
            keys.assert_works(&cached);
        },
    );
}

/// What the blob says is wrong, not what the caller sent.
#[test]
fn a_corrupted_wrapped_key_is_neither_bad_ciphertext_nor_a_broken_token() {
    let name = "wrapped_key_faults::a_corrupted_wrapped_key_is_neither_bad_ciphertext_nor_a_broken_token";
    story(
        name,
        || site(1, 9),
        |keys| {
            keys.opened();
            let key = keys.key(1);
            let encrypted = keys.encrypt(&key, b"");
            keys.group.forget(&key.id);
            let with = |bytes: Vec<u8>, mechanism| {
                let kept = Arc::new(KeptKey::Wrapped(WrappedKey { root_key: None, mechanism, bytes }));
                BackingKey { kept, ..key.clone() }
            };
            let KeptKey::Wrapped(good) = &*key.kept else { panic!("{:?}", key.kept) };
            let mut flipped = good.bytes.clone();
            flipped[3] ^= 1;
            let short = good.bytes[..good.bytes.len() - 8].to_vec();
            let made = keys.calls_during(|| {
                for bytes in [flipped, short, Vec::new()] {
                    let corrupted = with(bytes, good.mechanism);
                    assert_unavailable(keys.decrypt(&corrupted, &encrypted, b""), "but not this");
                    assert_unavailable(keys.try_encrypt(&corrupted, b""), "but not this");
                }
                for mechanism in [0, 0x2105, 0x1087] {
                    let other = with(good.bytes.clone(), mechanism);
                    assert_unavailable(keys.decrypt(&other, &encrypted, b""), "mechanism");
                }
            });
            assert_eq!((made.get("C_CloseSession"), made.get("C_OpenSession")), (None, None), "{made:?}");
            assert_eq!(keys.hsms[0].health().state, HealthState::Active);
            assert_eq!(keys.decrypt(&key, &encrypted, b"").unwrap(), PLAINTEXT);
        },
    );
}

#[test]
fn a_token_that_unwraps_nothing_any_more_does_not_blame_the_key() {
    let name = "wrapped_key_faults::a_token_that_unwraps_nothing_any_more_does_not_blame_the_key";
    story(
        name,
        || site(1, 9),
        |keys| {
            keys.opened();
            let key = keys.key(1);
            for code in ["CKR_GENERAL_ERROR", "CKR_WRAPPED_KEY_INVALID", "CKR_DEVICE_ERROR"] {
                keys.inject(&format!("C_UnwrapKey code={code}"));
                match keys.try_encrypt(&key, b"") {
                    Err(HsmError::Device(reason)) => assert!(!reason.contains("but not this"), "{reason}"),
                    other => panic!("{other:?}"),
                }
                // A hiccup.
                keys.inject(&format!("C_UnwrapKey code={code} count=1"));
                keys.encrypt(&key, b"");
                keys.group.forget(&key.id);
            }
        },
    );
}

#[test]
fn a_wrong_tag_is_told_from_a_token_that_decrypts_nothing_any_more() {
    let name = "wrapped_key_faults::a_wrong_tag_is_told_from_a_token_that_decrypts_nothing_any_more";
    story(
        name,
        || site(1, 9),
        |keys| {
            keys.opened();
            let key = keys.key(1);
            let encrypted = keys.encrypt(&key, b"");
            let made = keys.calls_during(|| {
                for _ in 0..5 {
                    assert_eq!(keys.decrypt(&key, &encrypted, b"other"), Err(HsmError::BadCiphertext));
                }
            });
            for function in ["C_CloseSession", "C_FindObjectsInit", "C_UnwrapKey"] {
                assert_eq!(made.get(function), None, "{made:?}");
            }
            keys.inject("C_Decrypt code=CKR_GENERAL_ERROR");
            assert_device(keys.decrypt(&key, &encrypted, b""), "GeneralError");
            keys.inject("C_Decrypt code=CKR_GENERAL_ERROR count=1 after");
            assert_eq!(keys.decrypt(&key, &encrypted, b"").unwrap(), PLAINTEXT);
        },
    );
}

#[test]
fn a_key_that_cannot_be_unwrapped_again_is_never_handed_out() {
    let name = "wrapped_key_faults::a_key_that_cannot_be_unwrapped_again_is_never_handed_out";
    story(
        name,
        || site(1, 9),
        |keys| {
            keys.opened();
            for fault in [
                "C_WrapKey corrupt",
                "C_WrapKey short",
                "C_WrapKey code=CKR_KEY_NOT_WRAPPABLE",
                "C_UnwrapKey code=CKR_GENERAL_ERROR",
                "C_Decrypt corrupt",
                "C_Decrypt code=CKR_GENERAL_ERROR",
                "C_GenerateKey code=CKR_DEVICE_ERROR",
            ] {
                // The name of that code is not one of the shim's.
                keys.inject(&fault.replace("CKR_KEY_NOT_WRAPPABLE", "0x69"));
                match generate(keys) {
                    Err(HsmError::Device(_)) => {}
                    other => panic!("{fault}: {other:?}"),
                }
            }
            keys.inject("C_GenerateRandom code=CKR_DEVICE_ERROR");
            assert_device(keys.runtime.block_on(keys.group.random(32, deadline())).result, "GenerateRandom");
            keys.inject("");
            keys.assert_works(&keys.key(1));
            let made = keys.calls();
            let live = made["C_GenerateKey"] + made["C_UnwrapKey"];
            // Two token keys, one cached key, and what failed without making anything.
            assert!(live - made["C_DestroyObject"] <= 3 + 4, "{made:?}");
        },
    );
}

#[test]
fn an_unwrapping_that_hangs_costs_its_deadline_and_no_other_key() {
    let name = "wrapped_key_faults::an_unwrapping_that_hangs_costs_its_deadline_and_no_other_key";
    story(
        name,
        || site(4, 9),
        |keys| {
            keys.opened();
            let (cached, hanging, third) = (keys.key(1), keys.key(2), keys.key(3));
            keys.encrypt(&cached, b"");
            keys.inject("C_UnwrapKey hang");
            let started = SystemClock.instant();
            let deadline = started + Duration::from_millis(150);
            let result =
                keys.runtime.block_on(keys.group.encrypt(to_encrypt(&hanging, b""), deadline)).result;
            assert_eq!(result.unwrap_err(), HsmError::DeadlineExceeded);
            assert!(SystemClock.instant() - started < Duration::from_secs(2));
            // The workers are free: each that needs the hanging session gives up.
            for _ in 0..8 {
                keys.assert_works(&cached);
                assert_eq!(keys.try_encrypt(&third, b"").unwrap_err(), HsmError::Busy);
            }
            keys.assert_works(&cached);
            keys.inject("");
            keys.wait_until("service", || keys.try_encrypt(&third, b"").is_ok());
            keys.assert_works(&hanging);
            keys.assert_works(&cached);
        },
    );
}

#[test]
fn a_token_that_went_away_and_came_back_unwraps_its_keys_again() {
    let name = "wrapped_key_faults::a_token_that_went_away_and_came_back_unwraps_its_keys_again";
    story(
        name,
        || site(2, 9),
        |keys| {
            keys.opened();
            let material: Vec<_> = (0..4).map(|number| keys.key(number)).collect();
            let encrypted: Vec<_> = material.iter().map(|key| keys.encrypt(key, b"")).collect();
            for _ in 0..2 {
                std::fs::rename(keys.folder.join("tokens"), keys.folder.join("hidden")).unwrap();
                keys.probe();
                assert_eq!(keys.hsms[0].health().state, HealthState::Unavailable);
                // SoftHSM still has its session objects; but what fails now is not the caller's fault.
                assert_ne!(keys.decrypt(&material[0], &encrypted[0], b""), Err(HsmError::BadCiphertext));
                std::fs::rename(keys.folder.join("hidden"), keys.folder.join("tokens")).unwrap();
                keys.wait_until("service", || {
                    keys.probe();
                    keys.hsms[0].health().state != HealthState::Unavailable
                });
                for (key, encrypted) in material.iter().zip(&encrypted) {
                    assert_eq!(keys.decrypt(key, encrypted, b"").unwrap(), PLAINTEXT);
                }
            }
            assert_eq!(keys.metric("hsm_cached_keys"), 4);
        },
    );
}

#[test]
fn a_root_key_that_does_not_wrap_leaves_nothing_behind() {
    let name = "wrapped_key_faults::a_root_key_that_does_not_wrap_leaves_nothing_behind";
    story(
        name,
        || site(1, 9),
        |keys| {
            for fault in
                ["C_WrapKey code=CKR_MECHANISM_INVALID", "C_GenerateKey code=CKR_DEVICE_ERROR from=2 count=1"]
            {
                keys.inject(fault);
                let made = keys.calls_during(|| assert!(matches!(keys.open(None), Err(HsmError::Device(_)))));
                let failed = u64::from(fault.starts_with("C_GenerateKey"));
                assert_eq!(made["C_GenerateKey"] - failed, made["C_DestroyObject"], "{made:?}");
                assert!(matches!(generate(keys), Err(HsmError::Unavailable(_))));
            }
            keys.inject("");
            keys.opened();
            keys.assert_works(&keys.key(1));
        },
    );
}

/// Keys wrapped by it would be lost with the process.
#[test]
fn a_root_key_whose_id_nobody_learned_is_not_used() {
    let name = "wrapped_key_faults::a_root_key_whose_id_nobody_learned_is_not_used";
    story(
        name,
        || site(2, 9),
        |keys| {
            keys.inject("C_GenerateKey delay_ms=100");
            let soon = SystemClock.instant() + Duration::from_millis(50);
            let result = keys.runtime.block_on(keys.group.open_root_key(None, soon)).result;
            assert_eq!(result, Err(HsmError::DeadlineExceeded));
            // Two keys, and one that proves them.
            keys.wait_until("the root key", || keys.calls()["C_DestroyObject"] >= 2);
            assert_eq!(
                generate(keys),
                Err(HsmError::Unavailable("the root key has not been opened".to_owned()))
            );
            assert!(matches!(
                keys.runtime.block_on(keys.group.random(1, deadline())).result,
                Err(HsmError::Unavailable(_))
            ));
            keys.inject("");
            keys.opened();
            keys.assert_works(&keys.key(1));
        },
    );
}

#[test]
fn a_second_hsm_without_the_root_key_takes_no_request_down() {
    let prepare = || {
        let site = Site::prepare(&Setup::quiet(1).with_second_hsm(Behind::SameModule));
        let credentials = std::fs::read(site.path("credentials.toml")).unwrap();
        std::fs::write(site.path("second-credentials.toml"), credentials).unwrap();
        std::fs::set_permissions(
            site.path("second-credentials.toml"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        site.init_token("second");
        site.holdfast_ok(&[
            "key",
            "create",
            "holdfast-health",
            "--usage",
            "encrypt,decrypt",
            "--hsm",
            "second",
        ]);
        site
    };
    let name = "wrapped_key_faults::a_second_hsm_without_the_root_key_takes_no_request_down";
    story(name, prepare, |keys| {
        let refused = keys.open(None).unwrap_err().to_string();
        assert!(refused.contains("only be made with one HSM"), "{refused}");
        let clock = Arc::new(SystemClock);
        let alone = holdfast::key_manager::pkcs11::WrappedKeyGroup::new(
            vec![keys.hsms[0].clone()],
            &holdfast::config::Hedging { share_max_percent: 5 },
            clock,
        );
        let id = keys.runtime.block_on(alone.open_root_key(None, deadline())).result.unwrap();
        assert_eq!(keys.open(Some(id)), Ok(id));
        let key = keys.key(1);
        for _ in 0..20 {
            keys.assert_works(&key);
        }
    });
}

#[test]
fn the_label_of_the_root_key_is_nobody_elses() {
    let site = Site::prepare(&Setup::default());
    for label in ["holdfast-root", "holdfast-seal"] {
        let refused = site.holdfast(&["key", "create", label, "--usage", "encrypt", "--hsm", "softhsm"]);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("root key"), "{refused:?}");
    }
}
