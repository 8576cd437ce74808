//! Clusters behind key stores: logging in, keys in two HSMs or none, members that fail; through the seam that the KMS
//! API uses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use holdfast::key_manager::cluster::{Cluster, ClusterError};
use holdfast::key_manager::external_key::KeySpec;
use holdfast::key_manager::{HealthState, HsmError, Lookup, MemberHealth};
use holdfast::secret::SecretBytes;

use crate::support::changes::Reload;
use crate::support::clusters::{Members, PLAINTEXT, TOKEN, apart, deadline, password, story, twins, within};
use crate::support::site::PIN;

const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const NOT_CONNECTED: &str = "the key store is not connected";
/// So long a member is waited for while another one can be asked.
const HANG_LIMIT: Duration = Duration::from_millis(250);
const DOWN: &str = "C_GetSlotList code=CKR_DEVICE_ERROR";

/// Everything that needs a login is refused.
#[track_caller]
fn assert_out_of_use(members: &Members) {
    let expected = (HealthState::Unavailable, Some(NOT_CONNECTED.to_owned()));
    assert_eq!(members.health(), [expected.clone(), expected]);
    assert!(matches!(members.encrypt(KEY), Err(HsmError::Unavailable(_))));
    let not_connected = HsmError::Unavailable(NOT_CONNECTED.to_owned());
    assert_eq!(members.wait(members.cluster.random(16, deadline())).result, Err(not_connected));
    assert_eq!(members.create("another"), Err(ClusterError::NotLoggedIn));
    assert_eq!(members.destroy(KEY), Err(ClusterError::NotLoggedIn));
    let keys = members.wait(members.cluster.keys(deadline()));
    assert_eq!(keys, Err(ClusterError::NotLoggedIn));
}

#[test]
fn a_wrong_password_is_tried_on_one_member_and_the_right_one_opens_all() {
    let name = "clusters::a_wrong_password_is_tried_on_one_member_and_the_right_one_opens_all";
    story(name, apart, |members| {
        assert_eq!(members.cluster.id(), "cluster-2a23b4cdefg");
        assert!(members.cluster.trust_anchor().starts_with("-----BEGIN CERTIFICATE-----"));
        assert_out_of_use(members);
        assert_eq!(members.active(), 2);
        assert_eq!(members.log_in(&["wrong1234"]), Err(ClusterError::InvalidCredentials));
        assert_eq!((members.calls_of("one", "C_Login"), members.calls_of("two", "C_Login")), (1, 0));
        assert_out_of_use(members);
        assert_eq!(members.log_in(&["wrong1234", PIN]), Ok(1));
        assert_eq!((members.calls_of("one", "C_Login"), members.calls_of("two", "C_Login")), (3, 1));
        assert_eq!(members.states(), [HealthState::Active; 2]);
        assert_eq!(members.active(), 2);
        // The health key was made, once, and is none of ours to tell.
        assert_eq!(members.labels(), Vec::<String>::new());
        assert_eq!(members.calls_of("one", "C_GenerateKey") + members.calls_of("two", "C_GenerateKey"), 1);
        // As if it had been connected already.
        assert_eq!(members.log_in(&["wrong1234"]), Err(ClusterError::InvalidCredentials));
        assert_out_of_use(members);
    });
}

#[test]
fn what_is_the_matter_with_the_user_is_told() {
    story("clusters::what_is_the_matter_with_the_user_is_told", apart, |members| {
        for (code, expected) in [
            ("CKR_PIN_LOCKED", ClusterError::UserLockedOut),
            ("CKR_USER_PIN_NOT_INITIALIZED", ClusterError::UserNotFound),
            ("CKR_USER_ALREADY_LOGGED_IN", ClusterError::UserLoggedIn),
            // CKR_USER_ANOTHER_ALREADY_LOGGED_IN and CKR_USER_TOO_MANY_TYPES
            ("0x104", ClusterError::UserLoggedIn),
            ("0x105", ClusterError::UserLoggedIn),
        ] {
            members.inject("one", &format!("C_Login code={code}"));
            let is_refused = expected == ClusterError::UserLockedOut;
            assert_eq!(members.log_in(&[PIN]), Err(expected), "{code}");
            assert_eq!(members.cluster.is_user_locked_out(), is_refused, "{code}");
        }
        assert_eq!(members.calls_of("two", "C_Login"), 0);
        assert_out_of_use(members);
        // A member that fails otherwise says nothing about the user.
        members.inject("one", "C_Login code=CKR_DEVICE_ERROR");
        assert_eq!(members.log_in(&[PIN]), Ok(0));
        members.inject("one", "C_Login code=CKR_PIN_LOCKED");
        assert_eq!(members.log_in(&[PIN]), Err(ClusterError::UserLockedOut));
        assert!(members.cluster.is_user_locked_out());
        assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
        assert!(!members.cluster.is_user_locked_out());
        assert_eq!(members.log_in(&[PIN]), Err(ClusterError::UserLockedOut));
        members.inject("one", "");
        members.wait_until("a login", || members.log_in(&[PIN]) == Ok(0));
        assert!(!members.cluster.is_user_locked_out());
        members.wait_until("the first member", || {
            members.probe();
            members.states() == [HealthState::Active; 2]
        });
    });
}

#[test]
fn a_changed_password_replaces_the_old_one() {
    story("clusters::a_changed_password_replaces_the_old_one", apart, |members| {
        members.connected();
        members.create(KEY).unwrap();
        let change = |old, new| {
            members.wait(members.cluster.change_password(password(old), password(new), deadline()))
        };
        assert_eq!(change("wrong1234", "another1"), Err(ClusterError::InvalidCredentials));
        assert_eq!(change(PIN, "another1"), Ok(()));
        members.probe();
        assert_eq!(members.states(), [HealthState::Active; 2]);
        members.assert_works(KEY);
        assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
        assert_eq!(members.log_in(&[PIN]), Err(ClusterError::InvalidCredentials));
        assert_eq!(members.log_in(&["another1"]), Ok(0));
        assert_eq!(members.states(), [HealthState::Active; 2]);
        members.assert_works(KEY);
        assert_eq!(change("another1", PIN), Ok(()));
        // Another program did it.
        members.other_tool("change-pin another2");
        assert_eq!(members.log_in(&["another2"]), Ok(0));
        assert_eq!(members.states(), [HealthState::Active; 2]);
    });
}

#[test]
fn members_keep_their_sessions_when_the_password_changes_and_try_the_new_one_once_more() {
    let name =
        "clusters::members_keep_their_sessions_when_the_password_changes_and_try_the_new_one_once_more";
    story(name, apart, |members| {
        members.connected().create(KEY).unwrap();
        let calls = || {
            ["C_Login", "C_Initialize"]
                .map(|call| members.calls_of("one", call) + members.calls_of("two", call))
        };
        let before = calls();
        let changed = members.cluster.change_password(password(PIN), password("another1"), deadline());
        assert_eq!(members.wait(changed), Ok(()));
        members.probe();
        members.assert_works(KEY);
        assert_eq!(members.states(), [HealthState::Active; 2]);
        assert_eq!(calls(), before);
        // The member that has not heard of it yet, and then one that never will.
        for expected in [HealthState::Active, HealthState::Unavailable] {
            let probe_until_called = |function: &str| {
                let before = members.calls_of("two", function);
                members.wait_until(function, || {
                    members.probe();
                    members.calls_of("two", function) > before
                });
            };
            members.inject("two", DOWN);
            probe_until_called("C_Initialize");
            members.inject("two", "C_Login code=CKR_PIN_INCORRECT count=1");
            probe_until_called("C_Login");
            assert_eq!(members.states(), [HealthState::Active, expected]);
        }
        members.probe();
        assert_eq!(members.states(), [HealthState::Active, HealthState::Unavailable]);
        members.assert_works(KEY);
    });
}

#[test]
fn a_key_never_leaves_the_cluster_and_is_gone_when_it_is_destroyed() {
    let name = "clusters::a_key_never_leaves_the_cluster_and_is_gone_when_it_is_destroyed";
    story(name, apart, |members| {
        let made = members.connected().create(KEY).unwrap();
        assert_eq!(made.label, KEY);
        assert!(made.backing_key_id.starts_with("4846"), "{}", made.backing_key_id);
        made.key_handle.parse::<u64>().unwrap();
        let shown = members.other_tool(&format!("show {KEY}"));
        let expected = [
            "AlwaysSensitive(true)",
            "Decrypt(true)",
            "Derive(false)",
            "Encrypt(true)",
            "Extractable(false)",
            "Local(true)",
            "NeverExtractable(true)",
            "Private(true)",
            "Sensitive(true)",
            "Sign(false)",
            "Unwrap(false)",
            "Verify(false)",
            "Wrap(false)",
        ];
        assert_eq!(shown.matches("AlwaysSensitive").count(), 1, "{shown}");
        assert!(expected.iter().all(|attribute| shown.contains(attribute)), "{shown}");
        assert!(!shown.contains("Value("), "{shown}");
        for hsm in &members.hsms {
            let Lookup::Found(key) = hsm.inventory().find(KEY) else { panic!("not in {}", hsm.name()) };
            assert_eq!(key.newest().unwrap().spec, KeySpec::Aes256);
        }
        assert!(matches!(members.create(KEY), Err(ClusterError::Hsm(HsmError::Device(_)))));
        members.create("other").unwrap();
        assert_eq!(members.labels(), [KEY, "other"]);
        assert_eq!(members.destroy(KEY).unwrap().unwrap().backing_key_id, made.backing_key_id);
        assert_eq!(members.destroy(KEY), Ok(None));
        assert_eq!(members.labels(), ["other"]);
        assert_eq!(members.encrypt(KEY), Err(HsmError::KeyMissing));
        members.assert_works("other");
    });
}

#[test]
fn what_was_encrypted_is_decrypted_with_its_key_and_context_only() {
    let name = "clusters::what_was_encrypted_is_decrypted_with_its_key_and_context_only";
    story(name, apart, |members| {
        members.connected().create(KEY).unwrap();
        members.create("other").unwrap();
        let encrypted = members.encrypt(KEY).unwrap();
        assert_eq!(members.decrypt(KEY, &encrypted, b"context").unwrap(), PLAINTEXT);
        assert_eq!(members.decrypt(KEY, &encrypted, b"other"), Err(HsmError::BadCiphertext));
        assert_eq!(members.decrypt("other", &encrypted, b"context"), Err(HsmError::BadCiphertext));
        let data_key = |bytes| {
            members.wait(members.cluster.generate_data_key(KEY, bytes, b"context", deadline())).result
        };
        for bytes in [1, 32, 1024] {
            let made = data_key(bytes).unwrap();
            assert_eq!(made.plaintext.len(), bytes);
            let decrypted = members.decrypt(KEY, &made.encrypted, b"context").unwrap();
            assert_eq!(decrypted, made.plaintext.expose());
        }
        assert_eq!(data_key(1025).unwrap_err(), HsmError::TooLong);
        let random = |bytes| members.wait(members.cluster.random(bytes, deadline())).result.unwrap();
        assert_eq!(random(5).len(), 5);
        assert_ne!(random(32), random(32));
    });
}

#[test]
fn a_key_that_somebody_else_made_or_destroyed_is_noticed_when_it_is_used() {
    let name = "clusters::a_key_that_somebody_else_made_or_destroyed_is_noticed_when_it_is_used";
    story(name, apart, |members| {
        members.connected();
        assert_eq!(members.encrypt(KEY), Err(HsmError::KeyMissing));
        members.other_tool(&format!("make {KEY}"));
        members.wait_until("the key", || members.encrypt(KEY).is_ok());
        members.assert_works(KEY);
        assert_eq!(members.labels(), [KEY]);
        members.other_tool(&format!("destroy {KEY}"));
        assert_eq!(members.encrypt(KEY), Err(HsmError::KeyMissing));
        assert_eq!(members.destroy(KEY), Ok(None));
    });
}

#[test]
fn many_requests_for_a_key_that_is_gone_are_few_searches_and_keep_nobody_from_logging_out() {
    let name =
        "clusters::many_requests_for_a_key_that_is_gone_are_few_searches_and_keep_nobody_from_logging_out";
    story(name, apart, |members| {
        members.connected().create(KEY).unwrap();
        members.assert_works(KEY);
        members.other_tool(&format!("destroy {KEY}"));
        assert_eq!(members.encrypt(KEY), Err(HsmError::KeyMissing));
        // The keys are read again: the cluster knows none of this label any more.
        members.probe();
        let searches = || ["one", "two"].map(|member| members.calls_of(member, "C_FindObjectsInit"));
        let before = searches();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(members.encrypt(KEY), Err(HsmError::KeyMissing));
                    }
                });
            }
        });
        for (before, after) in before.into_iter().zip(searches()) {
            assert!(after > before && after - before <= 2, "{}", after - before);
        }
        // Other keys are each searched for.
        let refused = AtomicUsize::new(0);
        ["one", "two"].iter().for_each(|member| members.inject(member, "C_FindObjectsInit delay_ms=100"));
        thread::scope(|scope| {
            for number in 0..40 {
                let refused = &refused;
                scope.spawn(move || {
                    if members.encrypt(&format!("missing-{number}")) == Err(HsmError::Busy) {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            members.wait_until("a full queue", || refused.load(Ordering::SeqCst) > 0);
            members.in_time(Duration::ZERO, |_| {
                assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
            });
        });
        ["one", "two"].iter().for_each(|member| members.inject(member, ""));
        members.other_tool(&format!("make {KEY}"));
        // Nothing that was not there then counts after another login.
        members.connected().assert_works(KEY);
    });
}

#[test]
fn with_one_member_keys_are_used_and_none_is_made() {
    story("clusters::with_one_member_keys_are_used_and_none_is_made", apart, |members| {
        members.connected().create(KEY).unwrap();
        for down in ["one", "two"] {
            members.inject(down, DOWN);
            members.probe();
            assert_eq!(members.active(), 1);
            members.assert_works(KEY);
            assert_eq!(members.create("another"), Err(ClusterError::TooFewHsms { active: 1 }));
            members.inject(down, "");
            members.wait_until("its return", || {
                members.probe();
                members.states() == [HealthState::Active; 2]
            });
        }
        for down in ["one", "two"] {
            members.inject(down, &format!("{DOWN}\nC_EncryptInit code=CKR_DEVICE_ERROR"));
        }
        members.probe();
        assert_eq!(members.active(), 0);
        assert!(members.encrypt(KEY).is_err());
        assert_eq!(members.create("another"), Err(ClusterError::TooFewHsms { active: 0 }));
        assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
        assert_eq!(members.log_in(&[PIN]), Err(ClusterError::TooFewHsms { active: 0 }));
        members.inject("one", "");
        members.wait_until("a login", || members.log_in(&[PIN]) == Ok(0));
        members.assert_works(KEY);
        assert_eq!(members.create("another"), Err(ClusterError::TooFewHsms { active: 1 }));
        // It was down when the key store was connected.
        members.inject("two", "");
        members.wait_until("the second member", || {
            members.probe();
            members.states() == [HealthState::Active; 2]
        });
        members.create("another").unwrap();
    });
}

#[test]
fn a_key_that_no_second_member_shows_is_destroyed() {
    story("clusters::a_key_that_no_second_member_shows_is_destroyed", apart, |members| {
        members.connected();
        members.inject("two", "C_FindObjects forget");
        members.in_time(Duration::from_secs(2), |deadline| {
            let made = members.wait(members.cluster.create_key(KEY, deadline));
            assert_eq!(made, Err(ClusterError::TooFewHsms { active: 1 }));
        });
        assert_eq!(members.calls_of("one", "C_DestroyObject"), 1);
        members.inject("two", "");
        assert_eq!(members.labels(), Vec::<String>::new());
        // The first call looks at the key that was made, the second looks for it.
        members.inject("one", "C_GetAttributeValue code=CKR_DEVICE_ERROR from=2 count=1");
        assert!(matches!(members.create(KEY), Err(ClusterError::Hsm(HsmError::Device(_)))));
        assert_eq!(members.calls_of("one", "C_DestroyObject"), 2);
        assert_eq!(members.labels(), Vec::<String>::new());
        members.create(KEY).unwrap();
        members.assert_works(KEY);
    });
}

#[test]
fn a_call_that_hangs_costs_the_deadline_and_leaves_no_key_behind() {
    let name = "clusters::a_call_that_hangs_costs_the_deadline_and_leaves_no_key_behind";
    story(name, apart, |members| {
        let (brief, late) = (Duration::from_millis(700), Err(ClusterError::Hsm(HsmError::DeadlineExceeded)));
        members.inject("one", "C_Login hang");
        let password = || vec![SecretBytes::new(PIN.as_bytes().to_vec())];
        let result = members.in_time(brief, |by| members.wait(members.cluster.log_in(password(), by)));
        assert_eq!(result, late.clone().map(|()| 0));
        // Two copies of SoftHSM in one process do not wait for each other's files.
        members.inject("one", "");
        members.wait_until("a login", || members.log_in(&[PIN]).is_ok());
        assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
        members.inject("one", "C_GetSlotList hang");
        members.in_time(brief, |by| assert_eq!(members.wait(members.cluster.active_hsms(by)), Ok(1)));
        members.inject("one", "");
        members.wait_until("a login", || members.log_in(&[PIN]).is_ok());
        members.wait_until("both members", || {
            members.probe();
            members.states() == [HealthState::Active; 2]
        });
        let before = members.calls_of("one", "C_GenerateKey") + members.calls_of("two", "C_GenerateKey");
        for member in ["one", "two"] {
            members.inject(member, "C_GenerateKey hang");
        }
        let made = members.in_time(brief, |by| members.wait(members.cluster.create_key(KEY, by)));
        assert_eq!(made.map(drop), late);
        assert!(members.wait(members.cluster.create_key(KEY, within(brief))).is_err());
        for member in ["one", "two"] {
            members.inject(member, "");
        }
        members.wait_until("the end of the key", || {
            let made = members.calls_of("one", "C_GenerateKey") + members.calls_of("two", "C_GenerateKey");
            let gone =
                members.calls_of("one", "C_DestroyObject") + members.calls_of("two", "C_DestroyObject");
            made > before && made - before == gone
        });
        assert_eq!(members.labels(), Vec::<String>::new());
    });
}

#[test]
fn a_session_that_hangs_costs_a_request_little_and_another_member_serves_it() {
    let name = "clusters::a_session_that_hangs_costs_a_request_little_and_another_member_serves_it";
    story(name, apart, |members| {
        let encrypted = members.connected().create(KEY).map(|_| members.encrypt(KEY).unwrap()).unwrap();
        let encrypt = || members.encrypt(KEY).map(drop);
        let decrypt = || members.decrypt(KEY, &encrypted, b"context").map(drop);
        let generate = || {
            let made = members.cluster.generate_data_key(KEY, 32, b"context", deadline());
            members.wait(made).result.map(drop)
        };
        let draw = || members.wait(members.cluster.random(16, deadline())).result.map(drop);
        let calls: [&dyn Fn() -> Result<(), HsmError>; 4] = [&encrypt, &decrypt, &generate, &draw];
        let functions = ["C_EncryptInit", "C_DecryptInit", "C_GenerateRandom", "C_GenerateRandom"];
        for (function, call) in functions.into_iter().zip(calls) {
            for hanging in ["one", "two"] {
                members.inject(hanging, &format!("{function} hang"));
                members.in_time(HANG_LIMIT, |_| assert_eq!(call(), Ok(()), "{function} of {hanging}"));
                members.inject(hanging, "");
                members.wait_until("a member that is well", || members.states() == [HealthState::Active; 2]);
            }
            ["one", "two"].iter().for_each(|member| members.inject(member, &format!("{function} hang")));
            members.in_time(2 * HANG_LIMIT, |_| {
                assert_eq!(call(), Err(HsmError::DeadlineExceeded), "{function}");
            });
            // There is no other member.
            members.inject("two", &format!("{function} code=CKR_DEVICE_ERROR"));
            members.in_time(2 * HANG_LIMIT, |_| assert!(call().is_err(), "{function}"));
            ["one", "two"].iter().for_each(|member| members.inject(member, ""));
            members.wait_until("members that are well", || {
                members.probe();
                members.states() == [HealthState::Active; 2]
            });
        }
    });
}

#[test]
fn a_member_that_hangs_does_not_keep_the_other_from_being_connected() {
    let name = "clusters::a_member_that_hangs_does_not_keep_the_other_from_being_connected";
    story(name, apart, |members| {
        let (mut old, mut new) = (PIN, "another1");
        for (hanging, well) in [("one", "two"), ("two", "one")] {
            for call in ["C_Login", "C_GetSlotList", "C_EncryptInit"] {
                members.inject(hanging, &format!("{call} hang"));
                members.in_time(Duration::from_millis(3500), |_| {
                    assert_eq!(members.log_in(&["wrong1234", old]), Ok(1), "{call} of {hanging}");
                    let changed = members.cluster.change_password(password(old), password(new), deadline());
                    assert_eq!(members.wait(changed), Ok(()), "{call} of {hanging}");
                });
                let ready: Vec<_> = members.cluster.health().into_iter().filter(is_active).collect();
                assert_eq!(ready.iter().map(|member| &*member.id).collect::<Vec<_>>(), [well], "{call}");
                members.inject(hanging, "");
                members.wait_until("the other member", || {
                    members.probe();
                    members.states() == [HealthState::Active; 2]
                });
                assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
                std::mem::swap(&mut old, &mut new);
            }
        }
    });
}

fn is_active(member: &MemberHealth) -> bool {
    member.state == HealthState::Active
}

#[test]
fn logging_out_ends_all_use_until_the_next_login() {
    story("clusters::logging_out_ends_all_use_until_the_next_login", apart, |members| {
        members.connected().create(KEY).unwrap();
        members.assert_works(KEY);
        assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
        for member in ["one", "two"] {
            assert_eq!(members.calls_of(member, "C_CloseAllSessions"), 1);
        }
        assert_out_of_use(members);
        members.probe();
        assert_out_of_use(members);
        assert_eq!(members.active(), 2);
        members.connected().assert_works(KEY);
        // A member that hangs cannot end its sessions, but nobody uses them.
        members.inject("two", "C_CloseAllSessions hang");
        assert_eq!(
            members.wait(members.cluster.log_out()),
            Err(ClusterError::Hsm(HsmError::DeadlineExceeded))
        );
        members.inject("two", "");
        assert_out_of_use(members);
    });
}

#[test]
fn a_member_that_was_down_when_the_password_changed_logs_in_with_the_new_one() {
    let name = "clusters::a_member_that_was_down_when_the_password_changed_logs_in_with_the_new_one";
    story(name, apart, |members| {
        members.connected();
        members.inject("two", DOWN);
        members.probe();
        let changed = members.cluster.change_password(password(PIN), password("another1"), deadline());
        assert_eq!(members.wait(changed), Ok(()));
        assert_eq!(members.states(), [HealthState::Active, HealthState::Unavailable]);
        members.inject("two", "");
        members.wait_until("the second member", || {
            members.probe();
            members.states() == [HealthState::Active; 2]
        });
    });
}

#[test]
fn a_crypto_user_goes_before_the_password() {
    let prepare = || {
        let site = apart();
        site.edit_configuration(|text| {
            text.replace("module = \"one.so\"", "module = \"one.so\"\ncrypto_user = \"kmsuser\"")
        });
        site.other_tool_on(TOKEN, "change-pin kmsuser:secret12");
        site
    };
    story("clusters::a_crypto_user_goes_before_the_password", prepare, |members| {
        assert_eq!(members.log_in(&["kmsuser:secret12"]), Err(ClusterError::InvalidCredentials));
        assert_eq!(members.log_in(&["secret12"]), Ok(0));
        let changed = members.cluster.change_password(password("secret12"), password("secret34"), deadline());
        assert_eq!(members.wait(changed), Ok(()));
        assert_eq!(members.log_in(&["secret12", "secret34"]), Ok(1));
        assert_eq!(members.states(), [HealthState::Active; 2]);
    });
}

#[test]
fn nodes_that_each_made_a_health_key_share_the_cluster() {
    story("clusters::nodes_that_each_made_a_health_key_share_the_cluster", apart, |members| {
        members.other_tool("make holdfast-health");
        members.other_tool("make holdfast-health");
        members.connected().create(KEY).unwrap();
        assert_eq!(members.states(), [HealthState::Active; 2]);
        assert_eq!(members.labels(), [KEY]);
    });
}

/// SoftHSM makes nameless keys when it searches meanwhile, as the other member does.
#[test]
fn keys_that_are_made_at_once_all_have_their_names() {
    story("clusters::keys_that_are_made_at_once_all_have_their_names", twins, |members| {
        members.connected();
        for round in 0..10 {
            let labels = ["a", "b", "c", "d"].map(|name| format!("{name}-{round}"));
            let [a, b, c, d] = labels.each_ref().map(|label| members.cluster.create_key(label, deadline()));
            let searches = async {
                for _ in 0..20 {
                    members.hsms[1].refresh().await.unwrap();
                }
            };
            let (a, b, c, d, ()) = members.wait(async { tokio::join!(a, b, c, d, searches) });
            assert!([a, b, c, d].iter().all(Result::is_ok), "round {round}");
            labels.iter().for_each(|label| members.assert_works(label));
        }
        assert_eq!(members.labels().len(), 40);
        assert!(members.labels().iter().all(|label| label.len() == 3));
    });
}

#[test]
fn one_softhsm_token_can_stand_for_two_members() {
    story("clusters::one_softhsm_token_can_stand_for_two_members", twins, |members| {
        assert_eq!(members.active(), 2);
        members.connected().create(KEY).unwrap();
        assert_eq!(members.states(), [HealthState::Active; 2]);
        members.assert_works(KEY);
        let changed = members.cluster.change_password(password(PIN), password("another1"), deadline());
        assert_eq!(members.wait(changed), Ok(()));
        assert_eq!(members.wait(members.cluster.log_out()), Ok(()));
        assert_out_of_use(members);
        assert_eq!(members.log_in(&[PIN]), Err(ClusterError::InvalidCredentials));
        assert_eq!(members.log_in(&["another1"]), Ok(0));
        members.assert_works(KEY);
        assert_eq!(members.labels(), [KEY]);
        assert!(members.destroy(KEY).unwrap().is_some());
        assert_eq!(members.encrypt(KEY), Err(HsmError::KeyMissing));
    });
}

#[test]
fn a_cluster_that_nobody_connected_is_no_trouble_of_the_daemon() {
    let site = twins();
    site.run();
    site.wait_ready();
    for state in HealthState::ALL {
        let states = ["one", "two"]
            .map(|member| site.metric(&format!("holdfast_hsm_state{{hsm=\"{member}\",state=\"{state}\"}}")));
        assert_eq!(states, [Some(0.0); 2], "{state}");
    }
    assert_eq!(site.admin_status("/readyz"), Some(200));
    site.holdfast_ok(&["key", "create", "another", "--hsm", "softhsm"]);
    site.edit_configuration(|text| text.replace("cluster-2a23b4cdefg", "cluster-2a23b4cdefh"));
    site.wait_until("a refused reload", || site.reloads(Reload::Refused) > 0.0);
    let log = site.log();
    let is_trouble = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    let expected = ["`request_deadline_ms`", "`[[cluster]]` and its trust anchor cannot change"];
    let is_expected = |line: &str| expected.iter().any(|expected| line.contains(expected));
    let troubles: Vec<_> = log.lines().filter(is_trouble).filter(|line| !is_expected(line)).collect();
    assert_eq!(troubles, Vec::<&str>::new());
    assert_eq!(site.stop().code(), Some(0));
}
