//! Every cell of the acceptance matrix, asked of a running daemon: which key does what, and in which words it refuses.

#![expect(clippy::too_many_lines, reason = "a request for every operation: one table")]

use std::collections::BTreeMap;
use std::path::Path;

use holdfast::domain::kms::{EncryptionAlgorithm, MacAlgorithm, SigningAlgorithm};
use serde_json::{Value, json};

use crate::support::external_key_stores::new_external_key;
use crate::support::kinds_of_keys::base64;
use crate::support::kms_stories::key_arn;
use crate::support::site::merged;
use crate::support::{Setup, Site};

const SERVED: &str = "served";
/// What depends on more than the kind of key: it must not be refused for that.
const NEEDS_MORE: [&str; 6] = [
    "CancelKeyDeletion",
    "ImportKeyMaterial",
    "ReplicateKey",
    "RetireGrant",
    "RevokeGrant",
    "UpdatePrimaryRegion",
];
const ADMINISTRATOR: &str = "arn:aws:iam::123456789012:user/admin";
/// Stands for every ciphertext, signature and public key where the key refuses before it looks.
const ANYTHING: &str = "bWVzc2FnZQ==";

/// Of one kind of key, each action with its algorithm, and what becomes of it.
struct Section {
    spec: String,
    usage: String,
    feature: String,
    cells: Vec<(String, Option<String>, String)>,
}

fn sections() -> Vec<Section> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/acceptance_matrix.txt");
    let mut sections: Vec<Section> = Vec::new();
    let mut outcome = String::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        if let Some(names) = line.strip_prefix("    ") {
            let cells = names.split(' ').flat_map(|name| {
                let (action, algorithm) = name.split_once('/').unwrap_or((name, ""));
                let algorithms = if algorithm == "*" { all_algorithms(action) } else { vec![algorithm] };
                algorithms
                    .into_iter()
                    .map(|algorithm| {
                        let algorithm = Some(algorithm.to_owned()).filter(|name| !name.is_empty());
                        (action.to_owned(), algorithm, outcome.clone())
                    })
                    .collect::<Vec<_>>()
            });
            sections.last_mut().unwrap().cells.extend(cells);
        } else if let Some(text) = line.strip_prefix("  ") {
            text.clone_into(&mut outcome);
        } else {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let mut word = || words.next().unwrap();
            sections.push(Section { spec: word(), usage: word(), feature: word(), cells: Vec::new() });
        }
    }
    sections
}

/// Every algorithm that a request for the action can name.
fn all_algorithms(action: &str) -> Vec<&'static str> {
    match action {
        "GenerateMac" | "VerifyMac" => MacAlgorithm::ALL.iter().map(|name| name.as_str()).collect(),
        "Sign" | "Verify" => SigningAlgorithm::ALL.iter().map(|name| name.as_str()).collect(),
        _ => EncryptionAlgorithm::ALL.iter().map(|name| name.as_str()).collect(),
    }
}

/// A key of a section, with what its requests need.
struct Subject<'s> {
    site: &'s Site,
    id: String,
    alias: String,
    /// A symmetric encryption key.
    other: &'s str,
    /// Texts that the key made.
    made: BTreeMap<(&'static str, String), String>,
}

impl Subject<'_> {
    /// What an operation that is served makes for the one that undoes it.
    fn made(&mut self, by: &'static str, algorithm: &str, body: Value, member: &str) -> String {
        let name = (by, algorithm.to_owned());
        if let Some(known) = self.made.get(&name) {
            return known.clone();
        }
        let made = self.site.kms(by, &merged(json!({"KeyId": self.id}), body)).text(member);
        self.made.insert(name, made.clone());
        made
    }

    /// The request that is a cell, with what the key made itself if the cell is one that is served.
    fn request(&mut self, action: &str, algorithm: &str, is_served: bool) -> (&'static str, Value) {
        let id = self.id.clone();
        let with =
            |operation: &'static str, members: Value| (operation, merged(json!({"KeyId": id}), members));
        let encrypted = |subject: &mut Self| {
            let body = json!({"Plaintext": ANYTHING, "EncryptionAlgorithm": algorithm});
            subject.made("Encrypt", algorithm, body, "CiphertextBlob")
        };
        match action {
            "Decapsulate" => {
                let asked = json!({"EncapsulationAlgorithm": algorithm});
                let blob = if is_served {
                    self.made("Encapsulate", algorithm, asked.clone(), "SharedSecretCiphertextBlob")
                } else {
                    ANYTHING.to_owned()
                };
                with("Decapsulate", merged(asked, json!({"SharedSecretCiphertextBlob": blob})))
            }
            "Decrypt" => {
                let blob = if is_served { encrypted(self) } else { ANYTHING.to_owned() };
                with("Decrypt", json!({"CiphertextBlob": blob, "EncryptionAlgorithm": algorithm}))
            }
            "DeriveSharedSecret" => {
                let peer = if is_served {
                    self.made("GetPublicKey", "", json!({}), "PublicKey")
                } else {
                    ANYTHING.to_owned()
                };
                with("DeriveSharedSecret", json!({"KeyAgreementAlgorithm": algorithm, "PublicKey": peer}))
            }
            "Encapsulate" => with("Encapsulate", json!({"EncapsulationAlgorithm": algorithm})),
            "Encrypt" => with("Encrypt", json!({"Plaintext": ANYTHING, "EncryptionAlgorithm": algorithm})),
            "GenerateMac" => with("GenerateMac", json!({"Message": ANYTHING, "MacAlgorithm": algorithm})),
            "ReEncryptFrom" => {
                let blob = if is_served { encrypted(self) } else { ANYTHING.to_owned() };
                let request = json!({
                    "CiphertextBlob": blob, "SourceKeyId": id, "SourceEncryptionAlgorithm": algorithm,
                    "DestinationKeyId": self.other,
                });
                ("ReEncrypt", request)
            }
            "ReEncryptTo" => {
                let blob = self.site.kms_encrypt(self.other);
                let request = json!({
                    "CiphertextBlob": blob, "DestinationKeyId": id, "DestinationEncryptionAlgorithm": algorithm,
                });
                ("ReEncrypt", request)
            }
            "Sign" => with("Sign", signed(algorithm)),
            "Verify" => {
                let signature = if is_served {
                    self.made("Sign", algorithm, signed(algorithm), "Signature")
                } else {
                    ANYTHING.to_owned()
                };
                with("Verify", merged(signed(algorithm), json!({"Signature": signature})))
            }
            "VerifyMac" => {
                let asked = json!({"Message": ANYTHING, "MacAlgorithm": algorithm});
                let tag = if is_served {
                    self.made("GenerateMac", algorithm, asked.clone(), "Mac")
                } else {
                    ANYTHING.to_owned()
                };
                with("VerifyMac", merged(asked, json!({"Mac": tag})))
            }
            _ => self.plain_request(action),
        }
    }

    /// Of an action that names no algorithm.
    fn plain_request(&self, action: &str) -> (&'static str, Value) {
        let Self { id, alias, .. } = self;
        let with =
            |operation: &'static str, members: Value| (operation, merged(json!({"KeyId": id}), members));
        let grant = json!({"GranteePrincipal": ADMINISTRATOR, "Operations": ["DescribeKey"]});
        match action {
            "CreateAlias" => ("CreateAlias", json!({"AliasName": alias, "TargetKeyId": id})),
            "CreateGrant" => with("CreateGrant", grant),
            "DeleteAlias" => ("DeleteAlias", json!({"AliasName": alias})),
            "GenerateDataKey" => with("GenerateDataKey", json!({"KeySpec": "AES_256"})),
            "GenerateDataKeyPair" => with("GenerateDataKeyPair", json!({"KeyPairSpec": "ECC_NIST_P256"})),
            "GenerateDataKeyPairWithoutPlaintext" => {
                with("GenerateDataKeyPairWithoutPlaintext", json!({"KeyPairSpec": "ECC_NIST_P256"}))
            }
            "GenerateDataKeyWithoutPlaintext" => {
                with("GenerateDataKeyWithoutPlaintext", json!({"KeySpec": "AES_256"}))
            }
            "GetParametersForImport" => {
                let wrapping =
                    json!({"WrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256", "WrappingKeySpec": "RSA_2048"});
                with("GetParametersForImport", wrapping)
            }
            "ImportKeyMaterial" => {
                with("ImportKeyMaterial", json!({"ImportToken": ANYTHING, "EncryptedKeyMaterial": ANYTHING}))
            }
            "PutKeyPolicy" => {
                let policy = self.site.kms("GetKeyPolicy", &json!({"KeyId": id})).text("Policy");
                with("PutKeyPolicy", json!({"Policy": policy}))
            }
            "ReplicateKey" => with("ReplicateKey", json!({"ReplicaRegion": "eu-west-1"})),
            "RetireGrant" => ("RetireGrant", json!({"KeyId": key_arn(id), "GrantId": "0".repeat(64)})),
            "RevokeGrant" => with("RevokeGrant", json!({"GrantId": "0".repeat(64)})),
            "TagResource" => with("TagResource", json!({"Tags": [{"TagKey": "a", "TagValue": "b"}]})),
            "UntagResource" => with("UntagResource", json!({"TagKeys": ["a"]})),
            "UpdateAlias" | "UpdateAliasFrom" => {
                ("UpdateAlias", json!({"AliasName": alias, "TargetKeyId": id}))
            }
            "UpdateKeyDescription" => with("UpdateKeyDescription", json!({"Description": "new"})),
            "UpdatePrimaryRegion" => with("UpdatePrimaryRegion", json!({"PrimaryRegion": "eu-west-1"})),
            _ => with(
                PLAIN.iter().find(|name| **name == action).unwrap_or_else(|| panic!("{action}?")),
                json!({}),
            ),
        }
    }

    /// What is not as the matrix says.
    fn check(
        &mut self,
        feature: &str,
        (action, algorithm, expected): &(String, Option<String>, String),
    ) -> Result<(), String> {
        let is_served = expected == SERVED;
        // Only a key with material makes anything.
        let is_pending = feature == "imported";
        let algorithm = algorithm.as_deref().unwrap_or_default();
        let (operation, request) = self.request(action, algorithm, is_served && !is_pending);
        let reply = self.site.kms(operation, &request);
        if reply.0.status == 200 {
            return if is_served { Ok(()) } else { Err("it is served".to_owned()) };
        }
        let (name, text) = reply.error();
        let arn = key_arn(&self.id);
        let found = format!("{name} {text}").trim_end().to_owned();
        let of_state = format!("KMSInvalidStateException {arn} is pending import.");
        // Note 6 of the key state table.
        let of_rotation = format!(
            "UnsupportedOperationException {arn} origin is EXTERNAL which is not valid for this operation."
        );
        let is_right = if is_served {
            let is_of_kind = ["InvalidKeyUsageException", "UnsupportedOperationException"].contains(&&*name);
            (is_pending && (found == of_state || (action == "GetKeyRotationStatus" && found == of_rotation)))
                || (NEEDS_MORE.contains(&action.as_str()) && !is_of_kind)
        } else {
            let expected = expected.replace("{arn}", &arn).replace("{action}", action);
            // The algorithm is looked at after the state.
            let is_of_algorithm = expected.contains("{algorithm}");
            found == expected.replace("{algorithm}", algorithm)
                || (is_pending && is_of_algorithm && found == of_state)
        };
        if is_right { Ok(()) } else { Err(found) }
    }
}

/// Operations that take a key and nothing else.
const PLAIN: [&str; 16] = [
    "CancelKeyDeletion",
    "DeleteImportedKeyMaterial",
    "DescribeKey",
    "DisableKeyRotation",
    "EnableKeyRotation",
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "GetPublicKey",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListResourceTags",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
];
/// They change the state of the key, which has a walk of its own.
const ENDS: [&str; 3] = ["DisableKey", "EnableKey", "ScheduleKeyDeletion"];

fn signed(algorithm: &str) -> Value {
    if algorithm == "ED25519_PH_SHA_512" {
        return json!({"Message": base64(&[7; 64]), "MessageType": "DIGEST", "SigningAlgorithm": algorithm});
    }
    json!({"Message": ANYTHING, "SigningAlgorithm": algorithm})
}

/// Asks for everything in the sections with this feature; how many cells there were.
fn walk(site: &Site, feature: &str, members: &Value) -> usize {
    let other = site.create_kms_key();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for (number, section) in sections().iter().enumerate().filter(|(_, section)| section.feature == feature) {
        let kind = json!({"KeySpec": section.spec, "KeyUsage": section.usage});
        let id = site.create_key_with(&merged(kind, members.clone()));
        let alias = format!("alias/matrix-{number}");
        let mut subject = Subject { site, id, alias, other: &other, made: BTreeMap::new() };
        // An alias is there before it is changed, and changed before it is gone.
        let order = ["CreateAlias", "UpdateAlias", "UpdateAliasFrom"];
        let mut cells: Vec<_> = section.cells.iter().collect();
        cells.sort_by_key(|(action, ..)| {
            order.iter().position(|first| first == action).unwrap_or(order.len())
        });
        for cell in cells.into_iter().filter(|(action, ..)| !ENDS.contains(&action.as_str())) {
            asked += 1;
            if let Err(found) = subject.check(feature, cell) {
                let Section { spec, usage, .. } = section;
                wrong.push(format!("{spec} {usage} {feature}: {cell:?}, but {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    asked
}

#[test]
fn keys_of_one_region_do_and_refuse_what_the_matrix_says() {
    let site = Site::start_with(&Setup::kms());
    let asked = walk(&site, "single-Region", &json!({}));
    assert!(asked > 1000, "{asked}");
}

#[test]
fn multi_region_keys_do_and_refuse_what_the_matrix_says() {
    let site = Site::start_with(&Setup::kms());
    let asked = walk(&site, "multi-Region primary", &json!({"MultiRegion": true}));
    assert!(asked > 1000, "{asked}");
}

/// They wait for their material: what they refuse for their kind, they refuse nevertheless.
#[test]
fn keys_with_imported_material_do_and_refuse_what_the_matrix_says() {
    let site = Site::start_with(&Setup::kms());
    let asked = walk(&site, "imported", &json!({"Origin": "EXTERNAL"}));
    assert!(asked > 500, "{asked}");
}

#[test]
fn keys_in_external_key_stores_do_and_refuse_what_the_matrix_says() {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", ""));
    let store = site.connected_external_store("external", &site.proxy_endpoint());
    let mut members = new_external_key(&store, "foo");
    for member in ["KeySpec", "KeyUsage"] {
        members.as_object_mut().unwrap().remove(member);
    }
    let asked = walk(&site, "external", &members);
    assert!(asked > 40, "{asked}");
}
