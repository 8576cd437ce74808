//! The root key is rotated while clients work: none of them sees an error, and everything that was made before works.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use proxy_api::client::Endpoint;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::audit_trail::trail_lines;
use crate::support::external_key_stores::new_external_key;
use crate::support::importing::{Parameters, lasting};
use crate::support::kms::{KmsClient, KmsReply};
use crate::support::kms_callers::Credentials;
use crate::support::kms_stories::PLAINTEXT;
use crate::support::site::SOFTHSM;
use crate::support::{Setup, Site};

fn site() -> Site {
    Site::start_with(&Setup::kms_with_proxies("ca.pem", ""))
}

/// The answer of a `holdfast root-key` command.
#[track_caller]
fn root_key(site: &Site, arguments: &[&str]) -> Value {
    let output = site.holdfast(&[&["root-key", "--json"], arguments].concat());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"))
}

/// What a refused command says.
#[track_caller]
fn refusal(site: &Site, arguments: &[&str]) -> String {
    let output = site.holdfast(&[&["root-key"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Ids of the former and the current root key.
#[track_caller]
fn rotate(site: &Site) -> (String, String) {
    let rotated = root_key(site, &["rotate"])["rotated"].clone();
    let text = |member: &str| rotated[member].as_str().unwrap().to_owned();
    (text("from"), text("to"))
}

fn remaining(site: &Site) -> u64 {
    root_key(site, &["status"])["status"]["former"]["uses"].as_u64().unwrap_or(0)
}

#[track_caller]
fn wait_until_over(site: &Site) {
    site.wait_until("everything under the current root key", || remaining(site) == 0);
}

#[track_caller]
fn retire(site: &Site, id: &str) {
    let retired = root_key(site, &["retire", id, "--confirm", id])["retired"].clone();
    assert_eq!(retired["destroyed_in"], json!(["softhsm"]), "{retired}");
    let listed = root_key(site, &["list"]);
    assert!(!listed.to_string().contains(id), "{listed}");
}

/// A request whose answer is known from before: what it must have in it.
struct Remembered {
    operation: &'static str,
    request: Value,
    member: &'static str,
    answer: Value,
}

impl Remembered {
    #[track_caller]
    fn assert(&self, site: &Site) {
        let answer = site.kms(self.operation, &self.request).ok();
        assert_eq!(answer[self.member], self.answer, "{} {}", self.operation, self.request);
    }
}

fn decrypt(site: &Site, key: &str, algorithm: &str) -> Remembered {
    let request = json!({"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionAlgorithm": algorithm});
    let blob = site.kms("Encrypt", &request).text("CiphertextBlob");
    let request = json!({"KeyId": key, "CiphertextBlob": blob, "EncryptionAlgorithm": algorithm});
    Remembered { operation: "Decrypt", request, member: "Plaintext", answer: json!(PLAINTEXT) }
}

fn symmetric(site: &Site, key: &str) -> Remembered {
    decrypt(site, key, "SYMMETRIC_DEFAULT")
}

fn mac(site: &Site, key: &str) -> Remembered {
    let request = json!({"KeyId": key, "Message": PLAINTEXT, "MacAlgorithm": "HMAC_SHA_256"});
    let answer = site.kms("GenerateMac", &request).ok()["Mac"].clone();
    Remembered { operation: "GenerateMac", request, member: "Mac", answer }
}

/// What signs with the key after it, and whether its signature of now is still good.
struct Signer {
    key: String,
    algorithm: &'static str,
}

impl Signer {
    fn new(site: &Site, spec: &str, algorithm: &'static str) -> Self {
        Self { key: site.create_key_of(spec, "SIGN_VERIFY"), algorithm }
    }

    #[track_caller]
    fn assert(&self, site: &Site) {
        let request = json!({"KeyId": self.key, "Message": PLAINTEXT, "SigningAlgorithm": self.algorithm});
        let signature = site.kms("Sign", &request).text("Signature");
        let mut verification = request;
        verification["Signature"] = json!(signature);
        assert_eq!(site.kms("Verify", &verification).ok()["SignatureValid"], true, "{}", self.algorithm);
    }
}

/// Something of every kind that is under the root key.
struct Everything {
    remembered: Vec<Remembered>,
    signers: Vec<Signer>,
    user: Credentials,
    session: Credentials,
    imported: String,
    store: String,
    token: Value,
}

const MATERIAL: [u8; 32] = [0x42; 32];

impl Everything {
    fn make(site: &Site) -> Self {
        let symmetric_key = site.create_kms_key();
        let before_rotation = symmetric(site, &symmetric_key);
        site.kms("RotateKeyOnDemand", &json!({"KeyId": symmetric_key})).ok();
        let imported = site.create_key_to_import(&json!({}));
        site.import(&imported, &MATERIAL, &lasting()).ok();
        let primary = site.create_key_with(&json!({"MultiRegion": true}));
        site.kms("ReplicateKey", &json!({"KeyId": primary, "ReplicaRegion": "eu-west-1"})).ok();
        let store = site.connected_external_store("rotated", &site.proxy_endpoint());
        let external = site.create_key_with(&new_external_key(&store, "foo"));
        let rsa = site.create_key_of("RSA_2048", "ENCRYPT_DECRYPT");
        let hmac = site.create_key_of("HMAC_256", "GENERATE_VERIFY_MAC");
        let remembered = vec![
            before_rotation,
            symmetric(site, &symmetric_key),
            symmetric(site, &imported),
            symmetric(site, &primary),
            symmetric(site, &external),
            decrypt(site, &rsa, "RSAES_OAEP_SHA_256"),
            mac(site, &hmac),
        ];
        let signers = [
            ("RSA_2048", "RSASSA_PSS_SHA_256"),
            ("ECC_NIST_P256", "ECDSA_SHA_256"),
            ("ECC_NIST_P384", "ECDSA_SHA_384"),
            ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
            ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
            ("ML_DSA_44", "ML_DSA_SHAKE_256"),
        ];
        let user = site.new_user(
            "alice",
            &json!({"Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*",
            }}),
        );
        let session = site.sts_by(&user, "GetSessionToken", &[]).credentials();
        let wanted = json!({"KeyId": imported, "WrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256", "WrappingKeySpec": "RSA_2048"});
        let token = site.kms("GetParametersForImport", &wanted).ok();
        Self {
            remembered,
            signers: signers.map(|(spec, algorithm)| Signer::new(site, spec, algorithm)).into(),
            user,
            session,
            imported,
            store,
            token,
        }
    }

    #[track_caller]
    fn assert(&self, site: &Site) {
        self.remembered.iter().for_each(|remembered| remembered.assert(site));
        self.signers.iter().for_each(|signer| signer.assert(site));
        for caller in [&self.user, &self.session] {
            site.kms_by(caller, "ListKeys", &json!({})).ok();
        }
        let pair = json!({"KeyId": self.imported, "KeyPairSpec": "ECC_NIST_P256"});
        site.kms("GenerateDataKeyPair", &pair).ok();
    }

    /// With the token that was given out when it was made.
    fn import_with_the_first_token(&self, site: &Site) -> KmsReply {
        let parameters = Parameters::from(&self.token, "RSA_AES_KEY_WRAP_SHA_256");
        site.import_with(&parameters, &self.imported, &MATERIAL, &lasting())
    }

    /// Only the material that was there can be imported again: its fingerprint is read.
    #[track_caller]
    fn assert_imports(&self, site: &Site) {
        let other = site.import(&self.imported, &[7; 32], &lasting());
        assert_eq!(other.error().0, "IncorrectKeyMaterialException");
        site.import(&self.imported, &MATERIAL, &lasting()).ok();
        site.disconnect_store(&self.store);
        site.connect_store(&self.store);
    }
}

/// Encrypts and decrypts, makes keys and signs until it is told to stop; never sees an error.
fn work((runtime, endpoint): (&Runtime, Endpoint), done: &AtomicU64, stop: &AtomicBool) {
    let mut client = KmsClient::open(runtime, endpoint).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let key = client.call("CreateKey", &json!({})).unwrap().ok()["KeyMetadata"]["KeyId"].clone();
        for _ in 0..5 {
            let blob = client.call("Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT})).unwrap();
            let blob = blob.text("CiphertextBlob");
            let plain = client.call("Decrypt", &json!({"CiphertextBlob": blob})).unwrap();
            assert_eq!(plain.text("Plaintext"), PLAINTEXT);
            done.fetch_add(1, Ordering::Relaxed);
        }
        client.call("UpdateKeyDescription", &json!({"KeyId": key, "Description": "busy"})).unwrap().ok();
        client.call("RotateKeyOnDemand", &json!({"KeyId": key})).unwrap().ok();
    }
}

#[test]
fn a_rotation_under_load_is_seen_by_nobody_and_everything_works_afterwards() {
    let site = site();
    let everything = Everything::make(&site);
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (former, current) = thread::scope(|scope| {
        let (runtime, done, stop) = (&site.runtime, &done, &stop);
        let start = |_| {
            let endpoint = site.kms_endpoint();
            scope.spawn(move || work((runtime, endpoint), done, stop))
        };
        let clients: Vec<_> = (0..2).map(start).collect();
        site.wait_until("some load", || done.load(Ordering::Relaxed) > 10);
        let (former, current) = rotate(&site);
        wait_until_over(&site);
        let so_far = done.load(Ordering::Relaxed);
        site.wait_until("load under the new root key", || done.load(Ordering::Relaxed) > so_far + 10);
        everything.import_with_the_first_token(&site).ok();
        retire(&site, &former);
        let so_far = done.load(Ordering::Relaxed);
        site.wait_until("load without the former one", || done.load(Ordering::Relaxed) > so_far + 10);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        (former, current)
    });
    everything.assert(&site);
    everything.assert_imports(&site);
    // Its wrapping key was under the root key that is gone: ask for another one.
    let refused = everything.import_with_the_first_token(&site);
    assert_eq!(refused.error().0, "InvalidImportTokenException");
    site.stop();
    site.run();
    site.wait_ready();
    everything.assert(&site);
    let lines: Vec<_> = trail_lines(&site);
    let recorded = |name: &str| lines.iter().any(|line| line.to_string().contains(name));
    let retired =
        [r#""keepInHsm":false"#, r#""unknown":false"#, r#""destroyedIn":["softhsm"]"#, r#""failedIn":[]"#];
    let ids = [former.as_str(), current.as_str()];
    for name in ["CreateRootKey", "RotateRootKey", "RetireRootKey"].into_iter().chain(ids).chain(retired) {
        assert!(recorded(name), "{name} is not in the audit trail");
    }
    site.holdfast_ok(&["audit", "verify"]);
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let site = site();
    let everything = Everything::make(&site);
    let keys: Vec<_> = (0..40).map(|_| symmetric(&site, &site.create_kms_key())).collect();
    let (former, _) = rotate(&site);
    let mut kills = 0;
    loop {
        let before = remaining(&site);
        if before == 0 || kills == 3 {
            break;
        }
        site.wait_until("some progress", || remaining(&site) < before);
        site.kill();
        kills += 1;
        site.run();
        site.wait_ready();
        keys[kills].assert(&site);
    }
    assert!(kills >= 2, "it was over before it could be killed");
    wait_until_over(&site);
    assert!(refusal(&site, &["rotate"]).contains("is not over"));
    retire(&site, &former);
    keys.iter().for_each(|key| key.assert(&site));
    everything.assert(&site);
    everything.assert_imports(&site);
    let (next_former, _) = rotate(&site);
    wait_until_over(&site);
    retire(&site, &next_former);
    everything.assert(&site);
}

#[test]
fn a_root_key_that_is_needed_is_not_retired_and_backups_say_which_they_need() {
    let site = site();
    let key = symmetric(&site, &site.create_kms_key());
    let old_backup = site.path("old.db");
    let said = site.holdfast_ok(&["backup", old_backup.to_str().unwrap()]);
    let (former, current) = rotate(&site);
    assert!(said.contains(&former) && !said.contains(&current), "{said}");
    let of = |id: &str, confirm: &str| refusal(&site, &["retire", id, "--confirm", confirm]);
    assert!(of(&former, &current).contains("--confirm"));
    assert!(of(&current, &current).contains("is the current one"));
    assert!(of(&"ab".repeat(16), &"ab".repeat(16)).contains("not the former one"));
    assert!(of("ab", "ab").contains("not the id"));
    assert!(refusal(&site, &["rotate", "--to", &current]).contains("is not over"));
    wait_until_over(&site);
    assert_eq!(site.metric(r#"holdfast_kms_root_key_uses{root_key="former"}"#), Some(0.0));
    retire(&site, &former);
    key.assert(&site);
    site.stop();
    std::fs::rename(site.path("state"), site.path("state.lost")).unwrap();
    let refused = site.holdfast(&["restore", old_backup.to_str().unwrap()]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains(&former), "{told}");
}

#[test]
fn a_backup_of_the_end_of_a_rotation_does_not_need_the_former_root_key() {
    let site = Site::start_with(&Setup::kms());
    let key = symmetric(&site, &site.create_kms_key());
    let (former, current) = rotate(&site);
    wait_until_over(&site);
    let backup = site.path("after.db");
    let said = site.holdfast_ok(&["backup", backup.to_str().unwrap()]);
    assert!(said.contains(&current) && !said.contains(&former), "{said}");
    retire(&site, &former);
    site.stop();
    std::fs::rename(site.path("state"), site.path("state.lost")).unwrap();
    site.holdfast_ok(&["restore", backup.to_str().unwrap()]);
    site.run();
    site.wait_ready();
    key.assert(&site);
    // The file knows of it still.
    let status = root_key(&site, &["status"])["status"].clone();
    assert_eq!((&status["former"]["uses"], &status["failure"]), (&json!(0), &Value::Null), "{status}");
    retire(&site, &former);
    assert_eq!(root_key(&site, &["status"])["status"]["former"], Value::Null);
    key.assert(&site);
}

#[test]
fn a_missing_former_root_key_is_told_and_stops_only_what_is_under_it() {
    let site = Site::start_with(&Setup::kms());
    let keys: Vec<_> = (0..60).map(|_| symmetric(&site, &site.create_kms_key())).collect();
    let (former, current) = rotate(&site);
    site.kill();
    site.other_tool(&format!("destroy-root {former}"));
    site.run();
    site.wait_ready();
    symmetric(&site, &site.create_kms_key()).assert(&site);
    let status = || root_key(&site, &["status"])["status"].clone();
    site.wait_until("the failure", || {
        status()["failure"].as_str().is_some_and(|text| text.contains(&former))
    });
    assert_eq!(status()["former"]["missing_in"], json!(["softhsm"]));
    let lost = keys.iter().filter(|key| site.kms(key.operation, &key.request).0.status != 200).count();
    // And perhaps the key of session tokens.
    let uses = usize::try_from(remaining(&site)).unwrap();
    assert!((lost..=lost + 1).contains(&uses), "{uses} under it, {lost} keys lost");
    assert!(lost > 0, "it was over before it could be killed");
    assert!(site.log().contains(&format!("root key {former}, the former one")), "{}", site.log());
    assert!(root_key(&site, &["list"]).to_string().contains(&current));
    assert!(refusal(&site, &["retire", &former, "--confirm", &former]).contains("still needed"));
}

#[test]
fn a_missing_current_root_key_is_shown_and_the_former_one_can_be_retired() {
    let site = Site::start_with(&Setup::kms());
    site.create_kms_key();
    let (former, current) = rotate(&site);
    wait_until_over(&site);
    site.stop();
    site.other_tool(&format!("destroy-root {current}"));
    site.run();
    site.wait_until("an answer", || site.holdfast(&["root-key", "list"]).status.success());
    assert!(site.admin_status("/readyz") != Some(200));
    let status = root_key(&site, &["status"])["status"].clone();
    assert_eq!(status["current"]["missing_in"], json!(["softhsm"]), "{status}");
    assert!(refusal(&site, &["rotate"]).contains("cannot be used now"));
    root_key(&site, &["retire", &former, "--confirm", &former, "--keep-in-hsm"]);
    let listed = root_key(&site, &["list"])["listed"][0].clone();
    assert_eq!((&listed["former"], &listed["ids"]), (&Value::Null, &json!([former])), "{listed}");
}

#[test]
fn a_rotation_goes_on_only_when_every_hsm_has_the_new_root_key() {
    let second =
        "[[hsm]]\nname = \"second\"\nmodule = \"second.so\"\ntoken_label = \"second\"\npin_file = \"pin\"\n";
    let site = Site::prepare(&Setup { tables: second.to_owned(), ..Setup::kms() });
    std::fs::copy(SOFTHSM, site.path("second.so")).unwrap();
    site.init_token("second");
    site.holdfast_ok(&["key", "create", "holdfast-health", "--hsm", "second"]);
    site.run();
    site.wait_ready();
    let key = symmetric(&site, &site.create_kms_key());
    site.stop();
    let both = "[kms]\nhsms = [\"softhsm\", \"second\"]";
    site.edit_configuration(|text| text.replace("[kms]\nhsms = [\"softhsm\"]", both));
    site.run();
    site.wait_ready();

    let made = root_key(&site, &["rotate"])["made"].clone();
    assert_eq!(made["missing_in"], json!(["second"]));
    let id = made["id"].as_str().unwrap().to_owned();
    let refused = refusal(&site, &["rotate", "--to", &id]);
    assert!(refused.contains("HSM second"), "{refused}");
    assert_eq!(remaining(&site), 0);
    key.assert(&site);
    root_key(&site, &["retire", &id, "--confirm", &id, "--unknown"]);

    // Another one of that id is not the same root key.
    let id = "5c".repeat(16);
    for (token, value) in [("holdfast", "a"), ("second", "b")] {
        site.other_tool_on(token, &format!("import-root {id} {}", value.repeat(32)));
    }
    let refused = refusal(&site, &["rotate", "--to", &id]);
    assert!(refused.contains("HSM second"), "{refused}");

    // As the maker's tool would have copied it.
    let id = "6d".repeat(16);
    for token in ["holdfast", "second"] {
        site.other_tool_on(token, &format!("import-root {id} {}", "c".repeat(32)));
    }
    assert_eq!(root_key(&site, &["rotate", "--to", &id])["rotated"]["to"], json!(id));
    wait_until_over(&site);
    key.assert(&site);
    symmetric(&site, &site.create_kms_key()).assert(&site);
}
