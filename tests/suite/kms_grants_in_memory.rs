//! Grants are kept in memory, and what memory says is what was acknowledged: also under load, after a kill, and when
//! there is no room for them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::kms::{Account, KmsClient, signed};
use crate::support::kms_stories::user_arn;
use crate::support::{Setup, Site};

const ROUNDS: usize = 40;

fn create(site: &Site, key_id: &str, constraints: &Value) -> String {
    let request = json!({"KeyId": key_id, "GranteePrincipal": user_arn("worker"),
        "Operations": ["Encrypt", "DescribeKey"], "Constraints": constraints});
    site.kms("CreateGrant", &request).text("GrantId")
}

fn encrypt(key_id: &str) -> Value {
    json!({"KeyId": key_id, "Plaintext": "cGxhaW4="})
}

fn revoke(site: &Site, key_id: &str, grant_id: &str) {
    site.kms("RevokeGrant", &json!({"KeyId": key_id, "GrantId": grant_id})).ok();
}

/// Runs `body` while two clients of the worker encrypt; returns how often that was permitted.
fn under_load(site: &Site, worker: &Account, key_id: &str, body: impl FnOnce()) -> usize {
    let (is_over, permitted) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut client = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
            let (is_over, permitted) = (&is_over, &permitted);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let reply = client.send(&signed(worker, "Encrypt", &encrypt(key_id))).unwrap();
                    if reply.0.status == 200 {
                        permitted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(reply.error().0, "AccessDeniedException");
                    }
                }
            });
        }
        let over = scopeguard(&is_over);
        body();
        drop(over);
    });
    permitted.into_inner()
}

/// Ends the load also when the body panics.
fn scopeguard(is_over: &AtomicBool) -> impl Drop + '_ {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    Over(is_over)
}

#[test]
fn a_grant_counts_from_its_answer_on_and_not_after_that_of_its_revocation() {
    let site = Site::start_with(&Setup::kms());
    let worker = site.kms_user("worker");
    let id = site.create_kms_key();
    let permitted = under_load(&site, &worker, &id, || {
        for _ in 0..ROUNDS {
            site.assert_denied(&worker, "Encrypt", &encrypt(&id));
            let grant = create(&site, &id, &json!({}));
            site.assert_allowed(&worker, "Encrypt", &encrypt(&id));
            revoke(&site, &id, &grant);
            site.assert_denied(&worker, "Encrypt", &encrypt(&id));
        }
    });
    assert!(permitted > 0);
}

/// Makes a grant for one encryption context and revokes it; it counts in between, and only then.
fn one_constrained_grant(client: &mut KmsClient<'_>, worker: &Account, key_id: &str, name: &str) {
    let context = json!({"of": name});
    let encrypt = crate::support::site::merged(encrypt(key_id), json!({"EncryptionContext": context}));
    let encrypt = signed(worker, "Encrypt", &encrypt);
    let grant = json!({"KeyId": key_id, "GranteePrincipal": user_arn("worker"), "Operations": ["Encrypt"],
        "Constraints": {"EncryptionContextEquals": context}});
    assert_eq!(client.send(&encrypt).unwrap().error().0, "AccessDeniedException");
    let grant_id = client.call("CreateGrant", &grant).unwrap().text("GrantId");
    client.send(&encrypt).unwrap().ok();
    client.call("RevokeGrant", &json!({"KeyId": key_id, "GrantId": grant_id})).unwrap().ok();
    assert_eq!(client.send(&encrypt).unwrap().error().0, "AccessDeniedException");
}

#[test]
fn grants_that_many_make_and_revoke_at_once_all_count_or_all_do_not() {
    let site = Site::start_with(&Setup::kms());
    let worker = site.kms_user("worker");
    let id = site.create_kms_key();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let mut connection = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
            let (id, worker) = (&id, &worker);
            scope.spawn(move || {
                for round in 0..10 {
                    one_constrained_grant(&mut connection, worker, id, &format!("{client}-{round}"));
                }
            });
        }
    });
    site.assert_denied(&worker, "DescribeKey", &json!({"KeyId": id}));
}

#[test]
fn what_was_granted_or_revoked_before_a_kill_is_so_afterwards() {
    let site = Site::start_with(&Setup::kms());
    let worker = site.kms_user("worker");
    let (kept, ended) = (site.create_kms_key(), site.create_kms_key());
    for _ in 0..3 {
        let grant = create(&site, &ended, &json!({}));
        site.assert_allowed(&worker, "Encrypt", &encrypt(&ended));
        let further = create(&site, &kept, &json!({}));
        revoke(&site, &ended, &grant);
        site.kill();
        site.run();
        site.wait_ready();
        site.assert_allowed(&worker, "Encrypt", &encrypt(&kept));
        site.assert_denied(&worker, "Encrypt", &encrypt(&ended));
        revoke(&site, &kept, &further);
        site.assert_denied(&worker, "Encrypt", &encrypt(&kept));
    }
}

#[test]
fn grants_that_have_no_room_in_memory_count_all_the_same() {
    let setup = Setup::kms();
    let kms = format!("known_grants_max = 3\n{}", setup.kms.unwrap_or_default());
    let site = Site::start_with(&Setup { kms: Some(kms), ..Setup::default() });
    let worker = site.kms_user("worker");
    let keys: Vec<_> = (0..4).map(|_| site.create_kms_key()).collect();
    let grants: Vec<Vec<_>> =
        keys.iter().map(|id| (0..3).map(|_| create(&site, id, &json!({}))).collect()).collect();
    for _ in 0..2 {
        keys.iter().for_each(|id| site.assert_allowed(&worker, "Encrypt", &encrypt(id)));
    }
    for (id, grants) in keys.iter().zip(&grants) {
        for grant in grants {
            site.assert_allowed(&worker, "Encrypt", &encrypt(id));
            revoke(&site, id, grant);
        }
        site.assert_denied(&worker, "Encrypt", &encrypt(id));
    }
}

#[test]
fn grants_end_with_their_key() {
    let site = Site::start_with(&Setup::kms());
    let worker = site.kms_user("worker");
    let id = site.create_kms_key();
    create(&site, &id, &json!({}));
    site.assert_allowed(&worker, "Encrypt", &encrypt(&id));
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 7})).ok();
    site.assert_allowed(&worker, "DescribeKey", &json!({"KeyId": id}));
    site.advance_clock("8d");
    assert_eq!(
        site.error_name(&worker, "DescribeKey", &json!({"KeyId": id})).as_deref(),
        Some("NotFoundException")
    );
    assert_eq!(site.kms("ListGrants", &json!({"KeyId": id})).error().0, "NotFoundException");
}
