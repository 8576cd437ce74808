//! The daemon is killed at random points under a mixed load: what it acknowledged is there, and nothing is half done.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proxy_api::client::{Endpoint, Failure};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::audit_trail::trail_lines;
use crate::support::kms::KmsClient;
use crate::support::{Setup, Site};

const KILLS: usize = 100;
const CLIENTS: usize = 3;
/// From the start of the load to the kill, at most.
const LOAD_MS_MAX: u64 = 200;
/// AWS KMS Developer Guide: on-demand rotations of one key.
const ROTATIONS_MAX: usize = 25;

/// What a client knows of one of its keys: what was acknowledged, and what may have happened besides.
#[derive(Default)]
struct Known {
    id: String,
    /// The number in the tag `round`: the last one acknowledged, and the one that was under way.
    tag: u64,
    tag_under_way: Option<u64>,
    rotations: usize,
    rotation_under_way: bool,
    is_enabled: Option<bool>,
    aliases: Vec<String>,
    ciphertexts: Vec<(String, String)>,
}

/// One client: its keys, and a counter for names and plaintexts.
struct Client {
    number: usize,
    keys: Vec<Known>,
    counter: u64,
}

fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

impl Client {
    /// Works until the daemon goes away.
    fn work(&mut self, runtime: &Runtime, endpoint: Endpoint, stop: &AtomicBool) {
        let Ok(mut client) = KmsClient::open(runtime, endpoint) else { return };
        while !stop.load(Ordering::Relaxed) {
            if self.step(&mut client).is_err() {
                return;
            }
        }
    }

    fn step(&mut self, client: &mut KmsClient<'_>) -> Result<(), Failure> {
        self.counter += 1;
        let counter = self.counter;
        if self.keys.is_empty() || random(8) == 0 {
            let id = client.call("CreateKey", &json!({}))?.ok()["KeyMetadata"]["KeyId"].clone();
            let id = id.as_str().unwrap().to_owned();
            self.keys.push(Known { id, is_enabled: Some(true), ..Known::default() });
            return Ok(());
        }
        let index = usize::try_from(random(u64::try_from(self.keys.len()).unwrap())).unwrap();
        let key = &mut self.keys[index];
        let alias = format!("alias/client-{}-{counter}", self.number);
        match random(6) {
            0 => key.tag(client, counter),
            1 => key.rotate(client),
            2 => key.toggle(client),
            3 => {
                client.call("CreateAlias", &json!({"AliasName": alias, "TargetKeyId": key.id}))?.ok();
                key.aliases.push(alias);
                Ok(())
            }
            _ => key.encrypt(client, counter),
        }
    }
}

impl Known {
    fn tag(&mut self, client: &mut KmsClient<'_>, counter: u64) -> Result<(), Failure> {
        self.tag_under_way = Some(counter);
        let tags = json!([{"TagKey": "round", "TagValue": counter.to_string()}]);
        client.call("TagResource", &json!({"KeyId": self.id, "Tags": tags}))?.ok();
        self.tag = counter;
        self.tag_under_way = None;
        Ok(())
    }

    fn rotate(&mut self, client: &mut KmsClient<'_>) -> Result<(), Failure> {
        if self.is_enabled != Some(true) || self.rotations >= ROTATIONS_MAX {
            return Ok(());
        }
        self.rotation_under_way = true;
        client.call("RotateKeyOnDemand", &json!({"KeyId": self.id}))?.ok();
        self.rotations += 1;
        self.rotation_under_way = false;
        Ok(())
    }

    fn toggle(&mut self, client: &mut KmsClient<'_>) -> Result<(), Failure> {
        let enable = self.is_enabled != Some(true);
        self.is_enabled = None;
        let operation = if enable { "EnableKey" } else { "DisableKey" };
        client.call(operation, &json!({"KeyId": self.id}))?.ok();
        self.is_enabled = Some(enable);
        Ok(())
    }

    fn encrypt(&mut self, client: &mut KmsClient<'_>, counter: u64) -> Result<(), Failure> {
        if self.is_enabled != Some(true) {
            return Ok(());
        }
        let plaintext = STANDARD.encode(format!("plaintext {counter}"));
        let request = json!({"KeyId": self.id, "Plaintext": plaintext, "EncryptionContext": {"n": "1"}});
        let ciphertext = client.call("Encrypt", &request)?.text("CiphertextBlob");
        self.ciphertexts.push((ciphertext, plaintext));
        Ok(())
    }

    fn is_doubtful(&self) -> bool {
        self.tag_under_way.is_some() || self.rotation_under_way || self.is_enabled.is_none()
    }

    /// Everything that was acknowledged is there; afterwards nothing is under way any more.
    fn verify(&mut self, client: &mut KmsClient<'_>) {
        let id = json!({"KeyId": self.id});
        let metadata = client.call("DescribeKey", &id).unwrap().ok()["KeyMetadata"].clone();
        let is_enabled = metadata["Enabled"] == true;
        assert!(self.is_enabled.is_none_or(|known| known == is_enabled), "{metadata}");
        self.is_enabled = Some(is_enabled);

        let tags = client.call("ListResourceTags", &id).unwrap().ok()["Tags"].clone();
        let tag = tags[0]["TagValue"].as_str().map_or(0, |value| value.parse().unwrap());
        assert!(tag == self.tag || Some(tag) == self.tag_under_way, "{tag} {}", self.tag);
        (self.tag, self.tag_under_way) = (tag, None);

        let rotations = client.call("ListKeyRotations", &id).unwrap().ok()["Rotations"].clone();
        let rotations = rotations.as_array().unwrap().len();
        let at_most = self.rotations + usize::from(self.rotation_under_way);
        assert!((self.rotations..=at_most).contains(&rotations), "{rotations} {}", self.rotations);
        (self.rotations, self.rotation_under_way) = (rotations, false);

        let aliases = client.call("ListAliases", &json!({"KeyId": self.id, "Limit": 100})).unwrap().ok();
        let names: Vec<_> =
            aliases["Aliases"].as_array().unwrap().iter().map(|alias| alias["AliasName"].clone()).collect();
        assert!(self.aliases.iter().all(|alias| names.contains(&json!(alias))), "{names:?}");

        if is_enabled {
            for (ciphertext, plaintext) in &self.ciphertexts {
                let request = json!({"CiphertextBlob": ciphertext, "EncryptionContext": {"n": "1"}});
                assert_eq!(client.call("Decrypt", &request).unwrap().text("Plaintext"), *plaintext);
            }
        }
    }
}

/// Every key that is listed, acknowledged or not, is whole.
fn verify_that_all_keys_are_whole(client: &mut KmsClient<'_>) -> usize {
    let (mut marker, mut count) = (Value::Null, 0);
    loop {
        let page = client.call("ListKeys", &json!({"Limit": 1000, "Marker": marker})).unwrap().ok();
        for key in page["Keys"].as_array().unwrap() {
            let id = json!({"KeyId": key["KeyId"]});
            let metadata = client.call("DescribeKey", &id).unwrap().ok()["KeyMetadata"].clone();
            assert_eq!(metadata["CurrentKeyMaterialId"].as_str().unwrap().len(), 64);
            client.call("GetKeyPolicy", &id).unwrap().ok();
            if metadata["Enabled"] == true {
                client
                    .call("Encrypt", &json!({"KeyId": key["KeyId"], "Plaintext": "cGxhaW4="}))
                    .unwrap()
                    .ok();
            }
            count += 1;
        }
        if page["Truncated"] == false {
            return count;
        }
        marker = page["NextMarker"].clone();
    }
}

/// Every change that was acknowledged has its record, and every intent its end.
fn verify_that_all_changes_have_records(site: &Site, clients: &[Client]) {
    let lines = trail_lines(site);
    let mut changes: HashMap<&str, String> = HashMap::new();
    // What was not acknowledged and happened is interrupted.
    let happened = |line: &&Value| line["errorCode"].is_null() || line["errorCode"] == "Interrupted";
    for line in lines.iter().filter(happened) {
        if let Some(name) = line["eventName"].as_str() {
            *changes.entry(name).or_default() += &line.to_string();
        }
    }
    for key in clients.iter().flat_map(|client| &client.keys) {
        assert!(changes["CreateKey"].contains(&key.id), "{}", key.id);
        for alias in &key.aliases {
            assert!(changes["CreateAlias"].contains(&format!("\"{alias}\"")), "{alias}");
        }
        if key.tag > 0 {
            assert!(changes["TagResource"].contains(&format!("\"{}\"", key.tag)), "{}", key.tag);
        }
    }
    let ended: HashSet<_> = lines.iter().filter_map(|line| line["eventID"].as_str()).collect();
    let open: Vec<_> = lines
        .iter()
        .filter_map(|line| line["intent"]["eventID"].as_str())
        .filter(|id| !ended.contains(id))
        .collect();
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let site = Site::start_with(&Setup::kms());
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|number| Client { number, keys: Vec::new(), counter: 0 }).collect();
    for round in 0..KILLS {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for client in &mut clients {
                let endpoint = site.kms_endpoint();
                let stop = &stop;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    client.work(&runtime, endpoint, stop);
                });
            }
            thread::park_timeout(Duration::from_millis(5 + random(LOAD_MS_MAX)));
            site.kill();
            stop.store(true, Ordering::Relaxed);
        });
        site.run();
        site.wait_ready();
        // The start verifies the newest file of the audit trail; this also the signatures, and the end.
        if round % 10 == 0 {
            site.holdfast_ok(&["audit", "verify"]);
        }
        let mut connection = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
        for client in &mut clients {
            // What is not sure must be settled before the next round; the newest keys are looked at every time.
            let recent = client.keys.len().saturating_sub(3);
            let keys = client.keys.iter_mut().enumerate();
            let doubtful = keys.filter(|(index, key)| *index >= recent || key.is_doubtful());
            doubtful.for_each(|(_, key)| key.verify(&mut connection));
        }
    }
    let mut connection = KmsClient::open(&site.runtime, site.kms_endpoint()).unwrap();
    let known: usize = clients.iter().map(|client| client.keys.len()).sum();
    for client in &mut clients {
        client.keys.iter_mut().for_each(|key| key.verify(&mut connection));
    }
    assert!(verify_that_all_keys_are_whole(&mut connection) >= known);
    assert!(known > KILLS / 2, "{known} keys: hardly any load");
    site.stop();
    site.holdfast_ok(&["audit", "verify"]);
    verify_that_all_changes_have_records(&site, &clients);
}
