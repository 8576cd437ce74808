//! Many requests about the same key or name at the same time: all are answered as if one came after the other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::kms::{KmsClient, KmsReply};
use crate::support::kms_stories::PLAINTEXT;
use crate::support::{Setup, Site};

const CLIENTS: usize = 4;

/// What each client is answered, who sends its requests while the others send theirs.
fn at_once(site: &Site, requests: &[Vec<(&'static str, Value)>]) -> Vec<Vec<KmsReply>> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = requests
            .iter()
            .map(|requests| {
                let mut client = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
                scope.spawn(move || {
                    let call =
                        |(operation, body): &(&'static str, Value)| client.call(operation, body).unwrap();
                    requests.iter().map(call).collect()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// How many answers there were without an error, and the names of the errors.
fn outcome(replies: &[Vec<KmsReply>]) -> (usize, Vec<String>) {
    let (good, bad): (Vec<_>, Vec<_>) = replies.iter().flatten().partition(|reply| reply.0.status == 200);
    (good.len(), bad.into_iter().map(|reply| reply.error().0).collect())
}

#[test]
fn no_request_notices_a_rotation() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let is_over = AtomicBool::new(false);
    let (rotated, rounds) = std::thread::scope(|scope| {
        let users: Vec<_> = (0..2)
            .map(|_| {
                let mut client = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
                let (id, is_over) = (&id, &is_over);
                scope.spawn(move || {
                    let mut rounds = 0;
                    let mut materials = BTreeSet::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let request = json!({"KeyId": id, "Plaintext": PLAINTEXT});
                        let ciphertext = client.call("Encrypt", &request).unwrap().text("CiphertextBlob");
                        let answer = client.call("Decrypt", &json!({"CiphertextBlob": ciphertext})).unwrap();
                        assert_eq!(answer.text("Plaintext"), PLAINTEXT);
                        materials.insert(answer.text("KeyMaterialId"));
                        rounds += 1;
                    }
                    (rounds, materials.len())
                })
            })
            .collect();
        let rotate = |_| site.kms("RotateKeyOnDemand", &json!({"KeyId": id}));
        let rotated: Vec<_> = (0..20).map(rotate).collect();
        is_over.store(true, Ordering::Relaxed);
        (rotated, users.into_iter().map(|user| user.join().unwrap()).collect::<Vec<_>>())
    });
    assert_eq!(outcome(&[rotated]), (20, Vec::new()));
    assert!(rounds.iter().all(|(rounds, materials)| *rounds > 1 && *materials > 1), "{rounds:?}");
}

#[test]
fn no_tag_of_many_requests_is_lost() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let tag = |client: usize, number: usize| {
        let tag = json!({"TagKey": format!("{client}-{number}"), "TagValue": ""});
        ("TagResource", json!({"KeyId": id, "Tags": [tag]}))
    };
    let requests: Vec<Vec<_>> =
        (0..CLIENTS).map(|client| (0..12).map(|number| tag(client, number)).collect()).collect();
    assert_eq!(outcome(&at_once(&site, &requests)), (CLIENTS * 12, Vec::new()));
    let (tags, _) = site.kms_pages("ListResourceTags", &json!({"KeyId": id}), "Tags");
    assert_eq!(tags.len(), CLIENTS * 12);
}

#[test]
fn one_of_many_gets_a_name_and_a_quota_is_never_passed() {
    let site = Site::start_with(&Setup::kms());
    let ids: Vec<_> = (0..CLIENTS).map(|_| site.create_kms_key()).collect();
    let create = |name: String, id: &String| ("CreateAlias", json!({"AliasName": name, "TargetKeyId": id}));
    let requests: Vec<Vec<_>> = ids
        .iter()
        .map(|id| (0..10).map(|number| create(format!("alias/wanted-{number}"), id)).collect())
        .collect();
    let (made, refused) = outcome(&at_once(&site, &requests));
    assert_eq!((made, refused.len()), (10, 10 * (CLIENTS - 1)));
    assert!(refused.iter().all(|name| name == "AlreadyExistsException"), "{refused:?}");

    let id = site.create_kms_key();
    let requests: Vec<Vec<_>> = (0..CLIENTS)
        .map(|client| (0..15).map(|number| create(format!("alias/{client}-{number}"), &id)).collect())
        .collect();
    let (made, refused) = outcome(&at_once(&site, &requests));
    assert_eq!((made, refused.len()), (50, CLIENTS * 15 - 50));
    assert!(refused.iter().all(|name| name == "LimitExceededException"), "{refused:?}");
}

#[test]
fn an_alias_that_many_point_elsewhere_ends_at_one_of_their_keys() {
    let site = Site::start_with(&Setup::kms());
    let ids: Vec<_> = (0..CLIENTS).map(|_| site.create_kms_key()).collect();
    site.create_alias("alias/moving", &ids[0]);
    let update = |id: &String| ("UpdateAlias", json!({"AliasName": "alias/moving", "TargetKeyId": id}));
    let requests: Vec<Vec<_>> = ids.iter().map(|id| (0..12).map(|_| update(id)).collect()).collect();
    assert_eq!(outcome(&at_once(&site, &requests)), (CLIENTS * 12, Vec::new()));
    let target = site.key_metadata_of("alias/moving")["KeyId"].clone();
    let of_target = site.kms("ListAliases", &json!({"KeyId": target})).ok();
    assert_eq!(of_target["Aliases"][0]["AliasName"], "alias/moving");
    let all = site.kms("ListAliases", &json!({})).ok();
    assert_eq!(all["Aliases"].as_array().unwrap().len(), 1);
}
