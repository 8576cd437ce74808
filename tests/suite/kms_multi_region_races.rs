//! Many requests about related keys at the same moment, and a daemon that is killed among them.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, KmsClient, KmsReply, signed};
use crate::support::kms_stories::PLAINTEXT;
use crate::support::regions::{ASIA, EUROPE, HOME, MultiRegionKey};
use crate::support::{Setup, Site};

type Wanted = (&'static str, &'static str, Value);

fn start() -> Site {
    Site::start_with(&Setup::kms())
}

/// What each is answered, over connections of their own and at the same moment.
fn at_once(site: &Site, requests: &[Wanted]) -> Vec<KmsReply> {
    std::thread::scope(|scope| {
        let open = || KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
        let clients: Vec<_> = requests.iter().map(|request| (open(), request)).collect();
        let send = |(mut client, (region, operation, body)): (KmsClient<'_>, &Wanted)| {
            let mut request = signed(&ACCOUNT, operation, body);
            (*region).clone_into(&mut request.region);
            client.send(&request).unwrap()
        };
        let threads: Vec<_> = clients.into_iter().map(|one| scope.spawn(move || send(one))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// How many were served, and the errors of the others.
fn outcome(replies: &[KmsReply]) -> (usize, Vec<String>) {
    let (good, bad): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.0.status == 200);
    (good.len(), bad.into_iter().map(|reply| reply.error().0).collect())
}

fn replicate(id: &str, region: &str) -> Wanted {
    (HOME, "ReplicateKey", json!({"KeyId": id, "ReplicaRegion": region}))
}

#[test]
fn of_many_who_replicate_into_one_region_one_does() {
    let site = start();
    let key = MultiRegionKey::create(&site);
    let requests = vec![replicate(&key.id, EUROPE); 6];
    let expected = (1, vec!["AlreadyExistsException".to_owned(); 5]);
    assert_eq!(outcome(&at_once(&site, &requests)), expected);
    key.assert_decrypts(EUROPE, &key.encrypt(HOME));
}

#[test]
fn rotations_and_replications_at_once_leave_the_same_material_everywhere() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    let rotate = (HOME, "RotateKeyOnDemand", json!({"KeyId": key.id}));
    for round in 0..3 {
        let regions = [0, 1, 2].map(|number| format!("eu-round-{round}{number}"));
        let mut requests = vec![rotate.clone(); 3];
        requests.extend(regions.iter().map(|region| replicate(&key.id, region)));
        assert_eq!(outcome(&at_once(&site, &requests)), (6, Vec::new()));
        let expected = key.ok(HOME, "ListKeyRotations");
        assert_eq!(expected["Rotations"].as_array().unwrap().len(), 3 * (round + 1));
        for region in regions.iter().map(String::as_str).chain([EUROPE]) {
            assert_eq!(key.ok(region, "ListKeyRotations"), expected);
            key.assert_decrypts(region, &key.encrypt(HOME));
        }
    }
}

#[test]
fn no_region_is_without_the_material_that_another_encrypts_with() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    std::thread::scope(|scope| {
        let users: Vec<_> = [(EUROPE, ASIA), (HOME, EUROPE)]
            .into_iter()
            .map(|(from, to)| {
                let mut client = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
                let id = key.id.as_str();
                scope.spawn(move || {
                    let mut call = |region: &str, operation: &str, body: &Value| {
                        let mut request = signed(&ACCOUNT, operation, body);
                        region.clone_into(&mut request.region);
                        client.send(&request).unwrap()
                    };
                    for _ in 0..60 {
                        let request = json!({"KeyId": id, "Plaintext": PLAINTEXT});
                        let ciphertext = call(from, "Encrypt", &request).text("CiphertextBlob");
                        let answer = call(to, "Decrypt", &json!({"CiphertextBlob": ciphertext}));
                        assert_eq!(answer.text("Plaintext"), PLAINTEXT);
                    }
                })
            })
            .collect();
        while users.iter().any(|user| !user.is_finished()) {
            if key.call(HOME, "RotateKeyOnDemand", &json!({})).0.status != 200 {
                break;
            }
        }
        users.into_iter().for_each(|user| user.join().unwrap());
    });
}

#[test]
fn of_many_who_move_the_primary_one_is_the_primary_then() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    let requests: Vec<_> = [EUROPE, ASIA, EUROPE, ASIA]
        .into_iter()
        .map(|region| (HOME, "UpdatePrimaryRegion", json!({"KeyId": key.id, "PrimaryRegion": region})))
        .collect();
    let expected = (1, vec!["UnsupportedOperationException".to_owned(); 3]);
    assert_eq!(outcome(&at_once(&site, &requests)), expected);
    let of = |region| key.metadata(region)["MultiRegionConfiguration"].clone();
    let kinds = [HOME, EUROPE, ASIA].map(|region| of(region)["MultiRegionKeyType"].clone());
    assert_eq!(kinds.iter().filter(|kind| **kind == "PRIMARY").count(), 1, "{kinds:?}");
    assert_eq!(of(HOME)["PrimaryKey"], of(ASIA)["PrimaryKey"]);
}

/// Whichever comes first: a primary that is to be deleted has a date exactly if it has no replica.
#[test]
fn deleting_a_primary_and_replicating_it_exclude_each_other() {
    let site = start();
    for _ in 0..8 {
        let key = MultiRegionKey::create(&site);
        let schedule = (HOME, "ScheduleKeyDeletion", json!({"KeyId": key.id}));
        let replies = at_once(&site, &[schedule, replicate(&key.id, EUROPE)]);
        replies[0].ok();
        let has_replica = replies[1].0.status == 200;
        let expected = if has_replica { "PendingReplicaDeletion" } else { "PendingDeletion" };
        assert_eq!(key.state(HOME), expected);
    }
}

#[test]
fn the_end_of_the_last_replica_and_a_cancellation_leave_no_primary_in_between() {
    let site = start();
    for _ in 0..4 {
        let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
        key.schedule_deletion(HOME, 30);
        [EUROPE, ASIA].iter().for_each(|region| drop(key.schedule_deletion(region, 7)));
        std::thread::scope(|scope| {
            let mut client = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
            let request = signed(&ACCOUNT, "CancelKeyDeletion", &json!({"KeyId": key.id}));
            let cancellation = scope.spawn(move || client.send(&request).unwrap());
            site.advance_clock("8d");
            // It succeeds in both states.
            cancellation.join().unwrap().ok();
        });
        [EUROPE, ASIA].iter().for_each(|region| key.assert_absent(region));
        let metadata = key.metadata(HOME);
        assert_eq!((&metadata["KeyState"], metadata.get("DeletionDate")), (&json!("Disabled"), None));
    }
}

#[test]
fn a_daemon_that_is_killed_leaves_no_half_of_a_change() {
    let site = start();
    let id = MultiRegionKey::in_regions(&site, &[EUROPE]).id;
    for round in 0..6 {
        let region = format!("eu-round-{round}");
        let endpoint = site.kms_endpoint();
        let requests = [
            replicate(&id, &region),
            (HOME, "RotateKeyOnDemand", json!({"KeyId": id})),
            (EUROPE, "UpdatePrimaryRegion", json!({"KeyId": id, "PrimaryRegion": HOME})),
            (HOME, "UpdatePrimaryRegion", json!({"KeyId": id, "PrimaryRegion": EUROPE})),
        ];
        let under_way: Vec<_> = requests
            .iter()
            .map(|(region, operation, body)| {
                let mut request = signed(&ACCOUNT, operation, body);
                (*region).clone_into(&mut request.region);
                let outgoing = request.outgoing(endpoint.host());
                let endpoint = endpoint.clone();
                site.runtime.spawn(async move {
                    let mut connection = proxy_api::client::Connection::open(&endpoint).await.ok()?;
                    connection.send(outgoing).await.ok()
                })
            })
            .collect();
        // After the first of them, or none.
        if round % 2 == 0 {
            let first = under_way.into_iter().next().unwrap();
            drop(site.runtime.block_on(first));
        }
        site.kill();
        site.run();
        site.wait_ready();
        let key = MultiRegionKey { site: &site, id: id.clone() };
        let configuration = key.metadata(EUROPE)["MultiRegionConfiguration"].clone();
        let primary = configuration["PrimaryKey"]["Region"].as_str().unwrap().to_owned();
        let replicas = configuration["ReplicaKeys"].as_array().unwrap();
        let materials = key.ok(&primary, "ListKeyRotations");
        for region in replicas.iter().map(|replica| replica["Region"].as_str().unwrap()) {
            assert_eq!(key.metadata(region)["MultiRegionConfiguration"]["PrimaryKey"]["Region"], primary);
            assert_eq!(key.ok(region, "ListKeyRotations"), materials);
            key.assert_decrypts(region, &key.encrypt(&primary));
        }
        if primary != HOME {
            key.call(&primary, "UpdatePrimaryRegion", &json!({"PrimaryRegion": HOME})).ok();
        }
    }
}
