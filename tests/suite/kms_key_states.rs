//! Every cell of the key state table that a key can be in, asked of a running daemon.

#![expect(clippy::too_many_lines, reason = "a request for every operation: one table")]

use std::path::Path;

use serde_json::{Value, json};

use crate::support::importing::{Parameters, base64, lasting};
use crate::support::site::merged;
use crate::support::{Setup, Site};

const STATES: [&str; 5] =
    ["Enabled", "Disabled", "PendingDeletion", "PendingReplicaDeletion", "PendingImport"];
const ROTATION: [&str; 5] = [
    "DisableKeyRotation",
    "EnableKeyRotation",
    "GetKeyRotationStatus",
    "ListKeyRotations",
    "RotateKeyOnDemand",
];
const IMPORT: [&str; 3] = ["DeleteImportedKeyMaterial", "GetParametersForImport", "ImportKeyMaterial"];
const MATERIAL: [u8; 32] = [7; 32];
const SYMMETRIC: (&str, &str) = ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
const PLAINTEXT: &str = "cGxhaW4=";

/// The golden table: action, and a cell for each state of the head.
fn table() -> Vec<(String, Vec<(String, String)>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/key_states.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let cells = |line: &str| -> Vec<String> {
        let padded = format!("{line:<300}");
        (0..8).map(|column| padded[36 + column * 26..62 + column * 26].trim().to_owned()).collect()
    };
    let mut lines = text.lines();
    let states = cells(lines.next().unwrap());
    assert!(states.iter().any(|state| state == "PendingImport"), "{states:?}");
    lines
        .map(|line| (line[..36].trim().to_owned(), states.iter().cloned().zip(cells(line)).collect()))
        .collect()
}

/// A key that is brought into a state, with what it had before.
struct Subject {
    id: String,
    arn: String,
    alias: String,
    /// Absent where the key could never encrypt or be granted.
    ciphertext: Option<String>,
    grant: Option<String>,
    /// A signature, a tag, an encapsulated secret or a public key, of a key that makes one.
    made: Option<String>,
    /// What was wrapped for its import.
    to_import: Value,
}

/// Which kind of key an action is about.
fn kind(action: &str) -> (&'static str, &'static str) {
    match action {
        "GenerateMac" | "VerifyMac" => ("HMAC_256", "GENERATE_VERIFY_MAC"),
        "GetPublicKey" | "Sign" | "Verify" => ("ECC_NIST_P256", "SIGN_VERIFY"),
        "DeriveSharedSecret" => ("ECC_NIST_P256", "KEY_AGREEMENT"),
        "Decapsulate" | "Encapsulate" => ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
        _ => SYMMETRIC,
    }
}

fn kem() -> Value {
    json!({"EncapsulationAlgorithm": "ML_KEM"})
}

fn mac() -> Value {
    json!({"Message": PLAINTEXT, "MacAlgorithm": "HMAC_SHA_256"})
}

fn pair() -> Value {
    json!({"KeyPairSpec": "ECC_NIST_P256"})
}

fn signed() -> Value {
    json!({"Message": PLAINTEXT, "SigningAlgorithm": "ECDSA_SHA_256"})
}

/// What a new key of this kind makes for the request that takes it.
fn made(site: &Site, id: &str, usage: &str) -> Option<String> {
    let (operation, members, member) = match usage {
        "ENCAPSULATE_DECAPSULATE" => ("Encapsulate", kem(), "SharedSecretCiphertextBlob"),
        "GENERATE_VERIFY_MAC" => ("GenerateMac", mac(), "Mac"),
        "KEY_AGREEMENT" => ("GetPublicKey", json!({}), "PublicKey"),
        "SIGN_VERIFY" => ("Sign", signed(), "Signature"),
        _ => return None,
    };
    Some(site.kms(operation, &merged(json!({"KeyId": id}), members)).text(member))
}

impl Subject {
    fn new(site: &Site, (action, state): (&str, &str), number: usize) -> Self {
        let (spec, usage) = kind(action);
        let metadata = site.kms("CreateKey", &new_key(action, state)).ok()["KeyMetadata"].clone();
        let text = |member: &str| metadata[member].as_str().unwrap().to_owned();
        let (id, arn, alias) = (text("KeyId"), text("Arn"), format!("alias/subject-{number}"));
        site.kms("CreateAlias", &json!({"AliasName": alias, "TargetKeyId": id})).ok();
        let mut subject =
            Self { id, arn, alias, ciphertext: None, grant: None, made: None, to_import: Value::Null };
        let id = subject.id.as_str();
        if action == "ImportKeyMaterial" {
            let parameters = Parameters::of(site, id, "RSAES_OAEP_SHA_256", "RSA_2048");
            let wrapped = base64(&parameters.wrap(&MATERIAL));
            subject.to_import = json!({"ImportToken": parameters.token, "EncryptedKeyMaterial": wrapped});
        }
        let id = subject.id.as_str();
        if state != "PendingImport" && IMPORT.contains(&action) {
            site.import(id, &MATERIAL, &lasting()).ok();
        }
        if state != "PendingImport" {
            subject.made = made(site, id, usage);
        }
        if state != "PendingImport" && spec == SYMMETRIC.0 {
            let body = json!({"KeyId": id, "Plaintext": "cGxhaW4="});
            subject.ciphertext = Some(site.kms("Encrypt", &body).text("CiphertextBlob"));
            let grantee = "arn:aws:iam::123456789012:user/admin";
            let body = json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": ["Decrypt"]});
            subject.grant = Some(site.kms("CreateGrant", &body).text("GrantId"));
        }
        if state == "PendingReplicaDeletion" || (action == "UpdatePrimaryRegion" && state == "Enabled") {
            site.kms("ReplicateKey", &json!({"KeyId": id, "ReplicaRegion": "eu-west-1"})).ok();
        }
        match state {
            "Disabled" => drop(site.kms("DisableKey", &json!({"KeyId": id})).ok()),
            "PendingDeletion" | "PendingReplicaDeletion" => {
                drop(site.kms("ScheduleKeyDeletion", &json!({"KeyId": id})).ok())
            }
            _ => {}
        }
        assert_eq!(state_of(site, id), state);
        subject
    }

    /// The request that is the action of a row, with another key that is enabled.
    fn request(&self, action: &str, other: &Other, number: usize) -> (&'static str, Value) {
        let Self { id, arn, alias, ciphertext, grant, made, to_import } = self;
        // Of a key that cannot make any, anything will do.
        let made = made.as_deref().unwrap_or(PLAINTEXT);
        let blob = ciphertext.as_ref().unwrap_or(&other.ciphertext);
        // For a key without a grant: one that is not there.
        let grant = grant.clone().unwrap_or_else(|| "0".repeat(64));
        let grantee = "arn:aws:iam::123456789012:user/admin";
        let tags = json!([{"TagKey": "a", "TagValue": "b"}]);
        let plaintext = PLAINTEXT;
        let new_alias = format!("alias/new-{number}");
        let with =
            |operation: &'static str, members: Value| (operation, merged(json!({"KeyId": id}), members));
        match action {
            "CreateAlias" => ("CreateAlias", json!({"AliasName": new_alias, "TargetKeyId": id})),
            "CreateGrant" => {
                with("CreateGrant", json!({"GranteePrincipal": grantee, "Operations": ["Decrypt"]}))
            }
            "Decrypt" => with("Decrypt", json!({"CiphertextBlob": blob})),
            "DeleteAlias" => ("DeleteAlias", json!({"AliasName": alias})),
            "Decapsulate" => with("Decapsulate", merged(kem(), json!({"SharedSecretCiphertextBlob": made}))),
            "DeriveSharedSecret" => {
                with("DeriveSharedSecret", json!({"KeyAgreementAlgorithm": "ECDH", "PublicKey": made}))
            }
            "Encapsulate" => with("Encapsulate", kem()),
            "GenerateDataKeyPair" => with("GenerateDataKeyPair", pair()),
            "GenerateDataKeyPairWithoutPlaintext" => with("GenerateDataKeyPairWithoutPlaintext", pair()),
            "GenerateMac" => with("GenerateMac", mac()),
            "Sign" => with("Sign", signed()),
            "Verify" => with("Verify", merged(signed(), json!({"Signature": made}))),
            "VerifyMac" => with("VerifyMac", merged(mac(), json!({"Mac": made}))),
            "Encrypt" => with("Encrypt", json!({"Plaintext": plaintext})),
            "EnableKeyRotation" => with("EnableKeyRotation", json!({})),
            "GenerateDataKey" => with("GenerateDataKey", json!({"KeySpec": "AES_256"})),
            "GenerateDataKeyWithoutPlaintext" => {
                with("GenerateDataKeyWithoutPlaintext", json!({"KeySpec": "AES_256"}))
            }
            "PutKeyPolicy" => with("PutKeyPolicy", json!({"Policy": other.policy})),
            "ReEncryptFrom" => (
                "ReEncrypt",
                json!({"CiphertextBlob": blob, "SourceKeyId": id, "DestinationKeyId": other.id}),
            ),
            "ReEncryptTo" => {
                ("ReEncrypt", json!({"CiphertextBlob": other.ciphertext, "DestinationKeyId": id}))
            }
            "ReplicateKey" => with("ReplicateKey", json!({"ReplicaRegion": "eu-north-1"})),
            "UpdatePrimaryRegion" => with("UpdatePrimaryRegion", json!({"PrimaryRegion": "eu-west-1"})),
            "GetParametersForImport" => with(
                "GetParametersForImport",
                json!({"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}),
            ),
            "ImportKeyMaterial" => with("ImportKeyMaterial", merged(lasting(), to_import.clone())),
            "RetireGrant" => ("RetireGrant", json!({"KeyId": arn, "GrantId": grant})),
            "RevokeGrant" => with("RevokeGrant", json!({"GrantId": grant})),
            "TagResource" => with("TagResource", json!({"Tags": tags})),
            "UntagResource" => with("UntagResource", json!({"TagKeys": ["a"]})),
            "UpdateAlias" => ("UpdateAlias", json!({"AliasName": other.alias, "TargetKeyId": id})),
            "UpdateAliasFrom" => ("UpdateAlias", json!({"AliasName": alias, "TargetKeyId": other.id})),
            "UpdateKeyDescription" => with("UpdateKeyDescription", json!({"Description": "new"})),
            _ => with(
                PLAIN.iter().find(|name| **name == action).unwrap_or_else(|| panic!("{action}?")),
                json!({}),
            ),
        }
    }
}

/// A multi-Region key where the state or the action is of no other, and one of imported material likewise.
fn new_key(action: &str, state: &str) -> Value {
    let is_multi_region =
        state == "PendingReplicaDeletion" || ["ReplicateKey", "UpdatePrimaryRegion"].contains(&action);
    let is_imported = state == "PendingImport" || IMPORT.contains(&action);
    let origin = if is_imported { "EXTERNAL" } else { "AWS_KMS" };
    let (spec, usage) = kind(action);
    json!({"Origin": origin, "MultiRegion": is_multi_region, "KeySpec": spec, "KeyUsage": usage})
}

/// Operations that take a key and nothing else.
const PLAIN: [&str; 17] = [
    "CancelKeyDeletion",
    "DeleteImportedKeyMaterial",
    "DescribeKey",
    "DisableKey",
    "DisableKeyRotation",
    "EnableKey",
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

/// An enabled key beside the one that is asked for.
struct Other {
    id: String,
    alias: String,
    ciphertext: String,
    policy: String,
}

impl Other {
    fn new(site: &Site) -> Self {
        let id = site.create_kms_key();
        let alias = "alias/other".to_owned();
        site.kms("CreateAlias", &json!({"AliasName": alias, "TargetKeyId": id})).ok();
        let ciphertext =
            site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": "cGxhaW4="})).text("CiphertextBlob");
        let policy = site.kms("GetKeyPolicy", &json!({"KeyId": id})).text("Policy");
        Self { id, alias, ciphertext, policy }
    }
}

fn state_of(site: &Site, id: &str) -> String {
    let described = site.kms("DescribeKey", &json!({"KeyId": id})).ok();
    described["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
}

/// The name and message that a cell stands for; none for success.
fn expected(action: &str, state: &str, cell: &str, arn: &str) -> Option<(&'static str, String)> {
    if state == "PendingImport" && ROTATION.contains(&action) {
        let text = format!("{arn} origin is EXTERNAL which is not valid for this operation.");
        return Some(("UnsupportedOperationException", text));
    }
    match cell {
        "yes" => None,
        "disabled" => Some(("DisabledException", format!("{arn} is disabled."))),
        "not pending deletion" => {
            Some(("KMSInvalidStateException", format!("{arn} is not pending deletion.")))
        }
        "is PendingDeletion" => Some(("KMSInvalidStateException", format!("{arn} is pending deletion."))),
        "is PendingReplicaDeletion" => {
            Some(("KMSInvalidStateException", format!("{arn} is pending replica deletion.")))
        }
        "is PendingImport" => Some(("KMSInvalidStateException", format!("{arn} is pending import."))),
        other => panic!("{action} in {state}: what is `{other}`?"),
    }
}

#[test]
fn every_cell_of_the_key_state_table_has_its_error_and_text() {
    let site = Site::start_with(&Setup::kms());
    let mut number = 0;
    for (action, cells) in table() {
        for (state, cell) in cells.iter().filter(|(state, _)| STATES.contains(&state.as_str())) {
            // Lattice keys have no imported material.
            if state == "PendingImport" && ["Decapsulate", "Encapsulate"].contains(&action.as_str()) {
                continue;
            }
            number += 1;
            let subject = Subject::new(&site, (&action, state), number);
            let other = Other::new(&site);
            let (operation, body) = subject.request(&action, &other, number);
            let reply = site.kms(operation, &body);
            // A key that waits for its material has never had a grant: the state is no obstacle, but there is none.
            let has_no_grant = subject.grant.is_none() && ["RetireGrant", "RevokeGrant"].contains(&&*action);
            match expected(&action, state, cell, &subject.arn) {
                None if has_no_grant => assert_eq!(reply.error().0, "NotFoundException", "{action} {state}"),
                None => assert_eq!(
                    reply.0.status,
                    200,
                    "{action} in {state}: {}",
                    String::from_utf8_lossy(&reply.0.body)
                ),
                Some((name, text)) => {
                    assert_eq!(reply.error(), (name.to_owned(), text), "{action} in {state}");
                    assert_eq!(state_of(&site, &subject.id), *state, "{action}");
                }
            }
            site.kms("DeleteAlias", &json!({"AliasName": "alias/other"})).ok();
        }
    }
    assert!(number > 5 * 30, "only {number} cells");
}
