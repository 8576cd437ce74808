//! KMS keys in a token: made, used, evicted, forgotten, through the seam that the KMS API uses.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast::domain::kms::{KeyKind, KeySpec, KeyUsage};
use holdfast::key_manager::backing_key::{BackingKeys, DataKeyUnder, ROOT_KEY_ID_BYTES, RootKeyId};
use holdfast::key_manager::{HsmError, Lookup};
use holdfast::secret::SecretBytes;

use crate::support::faults::calls;
use crate::support::wrapped::{Keys, PLAINTEXT, aes, deadline, site, story, to_decrypt, to_encrypt};

#[test]
fn a_key_decrypts_what_it_encrypted_and_nothing_else() {
    story(
        "wrapped_keys::a_key_decrypts_what_it_encrypted_and_nothing_else",
        || site(1, 100),
        |keys| {
            let id = keys.opened();
            let (key, other) = (keys.key(1), keys.key(2));
            assert_ne!(key.kept, other.kept);
            let encrypted = keys.encrypt(&key, b"context");
            assert_eq!(keys.decrypt(&key, &encrypted, b"context").unwrap(), PLAINTEXT);
            assert_eq!(keys.decrypt(&other, &encrypted, b"context"), Err(HsmError::BadCiphertext));
            assert_eq!(keys.decrypt(&key, &encrypted, b"other context"), Err(HsmError::BadCiphertext));
            let mut tampered = encrypted.clone();
            tampered.ciphertext[0] ^= 1;
            assert_eq!(keys.decrypt(&key, &tampered, b"context"), Err(HsmError::BadCiphertext));
            // As after a restart.
            assert_eq!(keys.open(Some(id)), Ok(id));
            assert_eq!(keys.decrypt(&key, &encrypted, b"context").unwrap(), PLAINTEXT);
            for reserved in ["holdfast-root", "holdfast-seal"] {
                let found = keys.hsms[0].inventory().find(reserved);
                assert!(matches!(found, Lookup::Missing), "{reserved} is an external key");
            }
        },
    );
}

#[test]
fn a_cached_key_costs_two_calls_an_operation() {
    story(
        "wrapped_keys::a_cached_key_costs_two_calls_an_operation",
        || site(1, 100),
        |keys| {
            keys.opened();
            let key = keys.key(1);
            let encrypted = keys.encrypt(&key, b"");
            let made = keys.calls_during(|| (0..10).for_each(|_| _ = keys.encrypt(&key, b"")));
            assert_eq!(made, calls([("C_Encrypt", 10), ("C_EncryptInit", 10)]));
            let made =
                keys.calls_during(|| (0..10).for_each(|_| _ = keys.decrypt(&key, &encrypted, b"").unwrap()));
            assert_eq!(made, calls([("C_Decrypt", 10), ("C_DecryptInit", 10)]));
        },
    );
}

#[test]
fn nothing_works_before_the_root_key_is_open() {
    story(
        "wrapped_keys::nothing_works_before_the_root_key_is_open",
        || site(1, 100),
        |keys| {
            let not_opened = HsmError::Unavailable("the root key has not been opened".to_owned());
            let group = &keys.group;
            let made = keys.runtime.block_on(group.generate(aes(0), deadline())).result;
            assert_eq!(made, Err(not_opened.clone()));
            let random = keys.runtime.block_on(group.random(1, deadline())).result;
            assert_eq!(random, Err(not_opened.clone()));
            let sealed =
                keys.runtime.block_on(group.seal(SecretBytes::default(), Vec::new(), deadline())).result;
            assert_eq!(sealed, Err(not_opened));
        },
    );
}

#[test]
fn a_root_key_that_is_not_there_is_named_and_no_other_takes_its_place() {
    let name = "wrapped_keys::a_root_key_that_is_not_there_is_named_and_no_other_takes_its_place";
    story(
        name,
        || site(1, 100),
        |keys| {
            let id = keys.opened();
            let key = keys.key(1);
            let second = keys.opened();
            assert_ne!(id, second);
            // The first wrapped it.
            assert!(matches!(keys.try_encrypt(&key, b""), Err(HsmError::Unavailable(_))));
            let absent = RootKeyId([0xab; ROOT_KEY_ID_BYTES]);
            let missing = format!("the root key {} is not in HSM softhsm", "ab".repeat(ROOT_KEY_ID_BYTES));
            for _ in 0..2 {
                assert_eq!(keys.open(Some(absent)), Err(HsmError::Unavailable(missing.clone())));
            }
            let gone = format!("the root key {id} was retired, or is of another installation");
            assert_eq!(keys.try_encrypt(&key, b""), Err(HsmError::Unavailable(gone)));
            assert_eq!(keys.open(Some(id)), Ok(id));
            keys.assert_works(&key);
        },
    );
}

#[test]
fn random_bytes_have_the_length_asked_for_and_never_repeat() {
    let name = "wrapped_keys::random_bytes_have_the_length_asked_for_and_never_repeat";
    story(
        name,
        || site(1, 100),
        |keys| {
            keys.opened();
            let draw = |bytes| keys.runtime.block_on(keys.group.random(bytes, deadline())).result;
            let mut seen = BTreeSet::new();
            for bytes in 1..=1024 {
                let random = draw(bytes).unwrap();
                assert_eq!(random.len(), bytes);
                assert!(bytes < 16 || seen.insert(random.expose()[..16].to_vec()));
            }
            assert_eq!(draw(1025), Err(HsmError::TooLong));
        },
    );
}

#[test]
fn a_data_key_is_the_same_in_the_clear_and_encrypted() {
    let name = "wrapped_keys::a_data_key_is_the_same_in_the_clear_and_encrypted";
    story(
        name,
        || site(1, 100),
        |keys| {
            keys.opened();
            let key = keys.key(1);
            let request = |bytes| DataKeyUnder { key: key.clone(), bytes, aad: b"context".to_vec() };
            let make = |bytes| {
                keys.runtime.block_on(keys.group.generate_data_key(request(bytes), deadline())).result
            };
            let mut seen = BTreeSet::new();
            for bytes in [16, 32, 1024] {
                let made = make(bytes).unwrap();
                assert_eq!(made.plaintext.len(), bytes);
                assert_eq!(keys.decrypt(&key, &made.encrypted, b"context").unwrap(), made.plaintext.expose());
                assert!(seen.insert(made.plaintext.expose()[..16].to_vec()));
            }
            assert_eq!(make(1025).unwrap_err(), HsmError::TooLong);
        },
    );
}

#[test]
fn what_is_sealed_opens_with_its_context_only() {
    story(
        "wrapped_keys::what_is_sealed_opens_with_its_context_only",
        || site(1, 100),
        |keys| {
            let id = keys.opened();
            let seal = keys.group.seal(SecretBytes::new(b"secret".to_vec()), b"here".to_vec(), deadline());
            let sealed = keys.runtime.block_on(seal).result.unwrap();
            assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
            let unseal = |sealed: &[u8], context: &[u8]| {
                let opened = keys.group.unseal(sealed.to_vec(), context.to_vec(), deadline());
                keys.runtime.block_on(opened).result.map(|secret| secret.expose().to_vec())
            };
            assert_eq!(unseal(&sealed, b"here").unwrap(), b"secret");
            assert_eq!(unseal(&sealed, b"there"), Err(HsmError::BadCiphertext));
            for at in 0..sealed.len() {
                let mut tampered = sealed.clone();
                tampered[at] ^= 1;
                assert_eq!(unseal(&tampered, b"here"), Err(HsmError::BadCiphertext), "byte {at}");
                assert_eq!(unseal(&sealed[..at], b"here"), Err(HsmError::BadCiphertext), "{at} bytes");
            }
            keys.opened();
            assert_eq!(unseal(&sealed, b"here"), Err(HsmError::BadCiphertext), "another root key");
            keys.open(Some(id)).unwrap();
            assert_eq!(unseal(&sealed, b"here").unwrap(), b"secret");
        },
    );
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    story(
        "wrapped_keys::what_is_not_implemented_is_refused_by_name",
        || site(1, 100),
        |keys| {
            keys.opened();
            assert_eq!(keys.group.supports(KeyKind::SYMMETRIC), Ok(()));
            let refused =
                keys.group.supports(KeyKind { spec: KeySpec::Sm2, usage: KeyUsage::SignVerify }).unwrap_err();
            assert!(refused.contains("SM2"), "{refused}");
        },
    );
}

/// Session objects in the token, by the calls that make and destroy them; two token keys are a root key.
fn live_objects(keys: &Keys, root_keys: u64) -> u64 {
    let made = keys.calls();
    made["C_GenerateKey"] + made["C_UnwrapKey"] - made["C_DestroyObject"] - 2 * root_keys
}

#[test]
fn many_more_keys_than_are_cached_are_served_to_many_at_once_and_nothing_leaks() {
    let name = "wrapped_keys::many_more_keys_than_are_cached_are_served_to_many_at_once_and_nothing_leaks";
    story(
        name,
        || site(8, 4),
        |keys| {
            keys.opened();
            let material: Arc<Vec<_>> = Arc::new((0..100).map(|number| keys.key(number)).collect());
            assert_eq!(live_objects(keys, 1), 0);
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..8_u8 {
                let (group, material) = (Arc::clone(&keys.group), Arc::clone(&material));
                let work = async move {
                    for step in 0..300 {
                        let key = &material[(step * 7 + usize::from(task) * 13) % material.len()];
                        let aad = [task];
                        let encrypted =
                            group.encrypt(to_encrypt(key, &aad), deadline()).await.result.unwrap();
                        let decrypted = group.decrypt(to_decrypt(key, &encrypted, &aad), deadline()).await;
                        assert_eq!(decrypted.result.unwrap().expose(), PLAINTEXT);
                    }
                };
                tasks.spawn_on(work, keys.runtime.handle());
            }
            keys.runtime.block_on(async {
                while let Some(task) = tasks.join_next().await {
                    task.unwrap()
                }
            });
            assert_eq!(live_objects(keys, 1), keys.metric("hsm_cached_keys"));
            // Nothing is in use now: the next eviction takes all that is too much.
            keys.assert_works(&keys.key(1000));
            assert_eq!((live_objects(keys, 1), keys.metric("hsm_cached_keys")), (4, 4));
        },
    );
}

/// SoftHSM does not take searches and creations of token keys at once; session keys it must take.
#[test]
fn keys_are_made_and_unwrapped_while_the_token_is_searched() {
    let name = "wrapped_keys::keys_are_made_and_unwrapped_while_the_token_is_searched";
    story(
        name,
        || site(8, 4),
        |keys| {
            keys.opened();
            let material: Arc<Vec<_>> = Arc::new((0..20).map(|number| keys.key(number)).collect());
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..8 {
                let (group, material) = (Arc::clone(&keys.group), Arc::clone(&material));
                let work = async move {
                    for step in 0..100 {
                        let key = &material[(step + task * 3) % material.len()];
                        group.encrypt(to_encrypt(key, b""), deadline()).await.result.unwrap();
                        group.generate(aes(0), deadline()).await.result.unwrap();
                    }
                };
                tasks.spawn_on(work, keys.runtime.handle());
            }
            let hsm = Arc::clone(&keys.hsms[0]);
            keys.runtime.block_on(async {
                while !tasks.is_empty() {
                    hsm.refresh().await.unwrap();
                    while let Some(task) = tasks.try_join_next() {
                        task.unwrap();
                    }
                }
            });
            assert_eq!(live_objects(keys, 1), keys.metric("hsm_cached_keys"));
            assert_eq!(keys.metric("hsm_keys"), 5);
        },
    );
}

#[test]
fn who_misses_at_the_same_time_unwraps_once() {
    story(
        "wrapped_keys::who_misses_at_the_same_time_unwraps_once",
        || site(8, 100),
        |keys| {
            keys.opened();
            for number in 0..10 {
                let key = keys.key(number);
                let before = keys.metric("hsm_unwraps_total");
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..16 {
                    let (group, key) = (Arc::clone(&keys.group), key.clone());
                    let work =
                        async move { group.encrypt(to_encrypt(&key, b""), deadline()).await.result.is_ok() };
                    tasks.spawn_on(work, keys.runtime.handle());
                }
                let all = keys.runtime.block_on(tasks.join_all());
                assert_eq!(all, [true; 16]);
                assert_eq!(keys.metric("hsm_unwraps_total") - before, 1);
            }
        },
    );
}

#[test]
fn a_forgotten_key_leaves_the_token() {
    story(
        "wrapped_keys::a_forgotten_key_leaves_the_token",
        || site(2, 100),
        |keys| {
            keys.opened();
            let key = keys.key(1);
            keys.assert_works(&key);
            assert_eq!(live_objects(keys, 1), 1);
            keys.group.forget(&key.id);
            keys.wait_until("its end", || live_objects(keys, 1) == 0);
            keys.wait_until("the gauge", || keys.metric("hsm_cached_keys") == 0);
            keys.group.forget(&key.id);
            keys.assert_works(&key);
        },
    );
}
