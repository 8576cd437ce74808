//! Multi-Region keys: what related keys have in common, what each has alone, and which of them is the primary.

use serde_json::{Value, json};

use crate::support::kms_stories::{PLAINTEXT, delegating_policy};
use crate::support::regions::{ASIA, EUROPE, HOME, MultiRegionKey, arn_in};
use crate::support::site::merged;
use crate::support::{Setup, Site};

const UNSUPPORTED: &str = "UnsupportedOperationException";
const INVALID_STATE: &str = "KMSInvalidStateException";

fn start() -> Site {
    Site::start_with(&Setup::kms())
}

fn entry(region: &str, id: &str) -> Value {
    json!({"Arn": arn_in(region, id), "Region": region})
}

fn configuration(kind: &str, primary: &str, replicas: &[&str], id: &str) -> Value {
    let replicas: Vec<_> = replicas.iter().map(|region| entry(region, id)).collect();
    json!({"MultiRegionKeyType": kind, "PrimaryKey": entry(primary, id), "ReplicaKeys": replicas})
}

fn without<'v>(metadata: &'v Value, members: &[&str]) -> Vec<(&'v String, &'v Value)> {
    let metadata = metadata.as_object().unwrap();
    metadata.iter().filter(|(name, _)| !members.contains(&name.as_str())).collect()
}

#[test]
fn a_multi_region_key_is_made_as_a_primary_key_without_replicas() {
    let site = start();
    let key = MultiRegionKey::create(&site);
    let digits = key.id.strip_prefix("mrk-").unwrap();
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    assert!(digits.len() == 32 && digits.bytes().all(is_digit), "{digits}");
    let metadata = key.metadata(HOME);
    assert_eq!(metadata["MultiRegion"], true);
    assert_eq!(metadata["MultiRegionConfiguration"], configuration("PRIMARY", HOME, &[], &key.id));
    let single = site.key_metadata_of(&site.create_kms_key());
    let members =
        ["Arn", "CreationDate", "CurrentKeyMaterialId", "KeyId", "MultiRegion", "MultiRegionConfiguration"];
    assert_eq!(without(&metadata, &members), without(&single, &members));
    assert_eq!((&single["MultiRegion"], single.get("MultiRegionConfiguration")), (&json!(false), None));
    let policy = |id: &str| site.kms("GetKeyPolicy", &json!({"KeyId": id})).ok()["Policy"].clone();
    assert_eq!(policy(&key.id), policy(single["KeyId"].as_str().unwrap()));
}

#[test]
fn a_replica_has_the_id_and_material_of_its_primary_and_defaults_for_the_rest() {
    let site = start();
    let own_policy = delegating_policy(&[json!({"Effect": "Allow", "Principal": {"AWS": "*"},
        "Action": "kms:DescribeKey", "Resource": "*"})]);
    let request = json!({"MultiRegion": true, "Description": "of the primary", "Policy": own_policy,
        "Tags": [{"TagKey": "of", "TagValue": "the primary"}]});
    let key = MultiRegionKey::create_with(&site, &request);
    key.ok(HOME, "EnableKeyRotation");
    site.create_alias("alias/of-the-primary", &key.id);
    key.assert_absent(EUROPE);
    site.advance_clock("1h");
    let replicated = key.replicate_to(EUROPE).ok();
    let metadata = key.metadata(EUROPE);
    assert_eq!(replicated["ReplicaKeyMetadata"], metadata);
    assert_eq!(replicated.as_object().unwrap().len(), 3, "{replicated}");
    assert_eq!(replicated["ReplicaTags"], json!([]));
    let default = site.kms("GetKeyPolicy", &json!({"KeyId": site.create_kms_key()})).ok()["Policy"].clone();
    assert_eq!(replicated["ReplicaPolicy"], default);
    assert_eq!(key.ok(EUROPE, "GetKeyPolicy")["Policy"], default);
    assert_eq!(key.ok(EUROPE, "ListResourceTags")["Tags"], json!([]));
    assert_eq!(key.ok(EUROPE, "ListAliases")["Aliases"], json!([]));

    let primary = key.metadata(HOME);
    let own = ["Arn", "CreationDate", "Description", "MultiRegionConfiguration"];
    assert_eq!(without(&metadata, &own), without(&primary, &own));
    assert_eq!((&metadata["Arn"], &metadata["Description"]), (&json!(key.arn(EUROPE)), &json!("")));
    assert_eq!((&metadata["KeyState"], &metadata["Enabled"]), (&json!("Enabled"), &json!(true)));
    let [created, of_primary] = [&metadata, &primary].map(|key| key["CreationDate"].as_f64().unwrap());
    assert!((3600.0..3700.0).contains(&(created - of_primary)), "{created} {of_primary}");
    let rotation = |region| key.ok(region, "GetKeyRotationStatus");
    assert_eq!(rotation(EUROPE), rotation(HOME));
    assert_eq!(rotation(EUROPE)["KeyRotationEnabled"], true);
}

#[test]
fn every_related_key_lists_the_same_primary_and_replicas() {
    let site = start();
    let key = MultiRegionKey::create(&site);
    let configuration_in = |region| key.metadata(region)["MultiRegionConfiguration"].clone();
    let first = key.replicate_to(EUROPE).ok();
    let second = key.replicate_to(ASIA).ok();
    let of_first = &first["ReplicaKeyMetadata"]["MultiRegionConfiguration"];
    assert_eq!(*of_first, configuration("REPLICA", HOME, &[EUROPE], &key.id));
    let both = [ASIA, EUROPE];
    let of_second = &second["ReplicaKeyMetadata"]["MultiRegionConfiguration"];
    assert_eq!(*of_second, configuration("REPLICA", HOME, &both, &key.id));
    assert_eq!(configuration_in(HOME), configuration("PRIMARY", HOME, &both, &key.id));
    for region in both {
        assert_eq!(configuration_in(region), configuration("REPLICA", HOME, &both, &key.id));
    }
    // Lists are of one Region.
    let single = site.create_kms_key();
    site.kms_in(EUROPE, "CreateAlias", &json!({"AliasName": "alias/there", "TargetKeyId": key.id})).ok();
    let keys = |region| site.kms_in(region, "ListKeys", &json!({})).ok()["Keys"].clone();
    assert_eq!(keys(EUROPE), json!([{"KeyId": key.id, "KeyArn": key.arn(EUROPE)}]));
    assert_eq!(keys(HOME).as_array().unwrap().len(), 2, "{single}");
    let aliases = |region| site.kms_in(region, "ListAliases", &json!({})).ok()["Aliases"].clone();
    assert_eq!(aliases(EUROPE).as_array().unwrap().len(), 1);
    assert_eq!((aliases(HOME), aliases(ASIA)), (json!([]), json!([])));
    key.call(HOME, "DescribeKey", &json!({"KeyId": key.arn(EUROPE)}))
        .assert_error("NotFoundException", "Invalid arn eu-west-1");
}

#[test]
fn what_one_region_encrypts_every_other_decrypts_and_an_unrelated_key_does_not() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    let unrelated = MultiRegionKey::in_regions(&site, &[EUROPE]);
    assert_ne!(key.id, unrelated.id);
    for from in [HOME, EUROPE, ASIA] {
        let ciphertext = key.encrypt(from);
        for to in [HOME, EUROPE, ASIA] {
            key.assert_decrypts(to, &ciphertext);
        }
        let wrong = unrelated.call(EUROPE, "Decrypt", &json!({"CiphertextBlob": ciphertext}));
        assert_eq!(wrong.error().0, "IncorrectKeyException");
    }
    let data_key = key.call(EUROPE, "GenerateDataKey", &json!({"KeySpec": "AES_256"})).ok();
    let decrypted = site.kms_in(ASIA, "Decrypt", &json!({"CiphertextBlob": data_key["CiphertextBlob"]})).ok();
    assert_eq!(decrypted["Plaintext"], data_key["Plaintext"]);
    assert_eq!(decrypted["KeyMaterialId"], data_key["KeyMaterialId"]);

    let body = json!({"CiphertextBlob": key.encrypt(HOME), "DestinationKeyId": unrelated.id});
    let moved = site.kms_in(EUROPE, "ReEncrypt", &body).ok();
    assert_eq!(
        (&moved["SourceKeyId"], &moved["KeyId"]),
        (&json!(key.arn(EUROPE)), &json!(unrelated.arn(EUROPE)))
    );
    unrelated.assert_decrypts(HOME, moved["CiphertextBlob"].as_str().unwrap());
    // Where there is no related key, there is none.
    let absent = site.kms_in("eu-north-1", "Decrypt", &json!({"CiphertextBlob": key.encrypt(HOME)}));
    assert_eq!(absent.error().0, "AccessDeniedException");
    let single = site.kms_encrypt(&site.create_kms_key());
    let denied = site.kms_in(EUROPE, "Decrypt", &json!({"CiphertextBlob": single}));
    assert_eq!(denied.error().0, "AccessDeniedException");
}

#[test]
fn what_each_key_has_alone_changes_in_one_region_only() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    let everything = |region| {
        let mut metadata = key.metadata(region);
        metadata["MultiRegionConfiguration"].take();
        let of_key = ["GetKeyPolicy", "ListResourceTags", "ListAliases", "ListGrants"]
            .map(|operation| key.ok(region, operation));
        (metadata, of_key)
    };
    let before = [HOME, ASIA].map(everything);
    let ciphertext = key.encrypt(HOME);
    key.call(EUROPE, "UpdateKeyDescription", &json!({"Description": "Europe"})).ok();
    key.call(EUROPE, "TagResource", &json!({"Tags": [{"TagKey": "a", "TagValue": "b"}]})).ok();
    key.call(
        EUROPE,
        "PutKeyPolicy",
        &json!({"Policy": delegating_policy(&[json!({"Effect": "Allow",
        "Principal": {"AWS": "*"}, "Action": "kms:Encrypt", "Resource": "*"})])}),
    )
    .ok();
    site.kms_in(EUROPE, "CreateAlias", &json!({"AliasName": "alias/a", "TargetKeyId": key.id})).ok();
    let grantee = "arn:aws:iam::123456789012:user/admin";
    key.call(EUROPE, "CreateGrant", &json!({"GranteePrincipal": grantee, "Operations": ["Decrypt"]})).ok();
    key.ok(EUROPE, "DisableKey");
    assert_eq!([HOME, ASIA].map(everything), before);
    assert_eq!(key.state(EUROPE), "Disabled");
    let refused = key.call(EUROPE, "Encrypt", &json!({"Plaintext": PLAINTEXT}));
    refused.assert_error("DisabledException", &format!("{} is disabled.", key.arn(EUROPE)));

    // A replica is usable when its primary and every other replica are disabled.
    key.ok(HOME, "DisableKey");
    key.assert_decrypts(ASIA, &ciphertext);
    key.ok(EUROPE, "EnableKey");
    key.assert_decrypts(EUROPE, &key.encrypt(ASIA));
    assert_eq!(key.state(HOME), "Disabled");
}

#[test]
fn only_an_enabled_primary_key_is_replicated_and_once_into_a_region() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    for there in [HOME, EUROPE] {
        let text = format!("There is a key with this ID in the Region already: {}", key.arn(there));
        key.replicate_to(there).assert_error("AlreadyExistsException", &text);
    }
    let from_replica = key.call(EUROPE, "ReplicateKey", &json!({"ReplicaRegion": ASIA}));
    from_replica
        .assert_error(UNSUPPORTED, &format!("{} is not a multi-Region primary key.", key.arn(EUROPE)));
    let single = site.create_kms_key();
    for operation in [("ReplicateKey", "ReplicaRegion"), ("UpdatePrimaryRegion", "PrimaryRegion")] {
        let of_single = site.kms(operation.0, &json!({"KeyId": single, operation.1: EUROPE}));
        assert_eq!(of_single.error().0, UNSUPPORTED);
    }
    for region in ["cn-north-1", "us-gov-west-1"] {
        let text = format!("Multi-Region keys are related within one partition, and {region} is in another.");
        key.replicate_to(region).assert_error(UNSUPPORTED, &text);
    }
    for region in ["", "nowhere", "EU-WEST-1", "eu-west-1x"] {
        assert_eq!(key.replicate_to(region).error().0, "ValidationException", "{region}");
    }
    key.ok(HOME, "DisableKey");
    key.replicate_to(ASIA).assert_error("DisabledException", &format!("{} is disabled.", key.arn(HOME)));
    key.ok(HOME, "EnableKey");
    // Also when the replica that is there waits for its deletion.
    key.schedule_deletion(EUROPE, 7);
    assert_eq!(key.replicate_to(EUROPE).error().0, "AlreadyExistsException");
    key.schedule_deletion(HOME, 7);
    let text = format!("{} is pending replica deletion.", key.arn(HOME));
    key.replicate_to(ASIA).assert_error(INVALID_STATE, &text);
    let external = MultiRegionKey::create_with(&site, &json!({"MultiRegion": true, "Origin": "EXTERNAL"}));
    assert_eq!(external.state(HOME), "PendingImport");
    let text = format!("{} is pending import.", external.arn(HOME));
    external.replicate_to(EUROPE).assert_error(INVALID_STATE, &text);
    assert_eq!(
        key.call(HOME, "ReplicateKey", &json!({"ReplicaRegion": ASIA, "KeyId": "alias/a"})).error().0,
        "NotFoundException"
    );
    key.assert_absent(ASIA);
}

#[test]
fn policy_tags_and_description_of_a_replica_can_be_given_and_are_checked() {
    let site = start();
    let key = MultiRegionKey::create(&site);
    let replicate =
        |members: Value| key.call(HOME, "ReplicateKey", &merged(json!({"ReplicaRegion": EUROPE}), members));
    let closed = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/nobody"}, "Action": "kms:Encrypt", "Resource": "*"}]});
    for (members, error) in [
        (json!({"Policy": "{"}), "MalformedPolicyDocumentException"),
        (json!({"Policy": closed.to_string()}), "MalformedPolicyDocumentException"),
        (json!({"Policy": " ".repeat(32_769)}), "LimitExceededException"),
        (json!({"Tags": [{"TagKey": "aws:a", "TagValue": ""}]}), "TagException"),
        (json!({"Tags": [{"TagKey": "a", "TagValue": ""}, {"TagKey": "a", "TagValue": ""}]}), "TagException"),
        (json!({"Description": "x".repeat(8193)}), "ValidationException"),
    ] {
        assert_eq!(replicate(members.clone()).error().0, error, "{members}");
        key.assert_absent(EUROPE);
    }
    let policy = delegating_policy(&[]);
    let tags = json!([{"TagKey": "a", "TagValue": "b"}, {"TagKey": "c", "TagValue": ""}]);
    let made = replicate(json!({"Policy": policy, "Tags": tags, "Description": "there"})).ok();
    assert_eq!((&made["ReplicaPolicy"], &made["ReplicaTags"]), (&json!(policy), &tags));
    assert_eq!(made["ReplicaKeyMetadata"]["Description"], "there");
    assert_eq!(key.ok(EUROPE, "GetKeyPolicy")["Policy"], policy);
    assert_eq!(key.ok(EUROPE, "ListResourceTags")["Tags"], tags);
    let bypassing =
        json!({"ReplicaRegion": ASIA, "Policy": closed.to_string(), "BypassPolicyLockoutSafetyCheck": true});
    key.call(HOME, "ReplicateKey", &bypassing).ok();
}

#[test]
fn rotation_is_of_the_primary_and_follows_in_every_region() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    let regions = [HOME, EUROPE, ASIA];
    let mut ciphertexts = vec![key.encrypt(EUROPE)];
    let same = |operation: &str| {
        let [home, europe, asia] = regions.map(|region| key.ok(region, operation));
        assert_eq!((&home, &home), (&europe, &asia));
        home
    };
    key.call(HOME, "EnableKeyRotation", &json!({"RotationPeriodInDays": 90})).ok();
    let status = same("GetKeyRotationStatus");
    assert_eq!((&status["KeyRotationEnabled"], &status["RotationPeriodInDays"]), (&json!(true), &json!(90)));
    for operation in ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"] {
        let text = format!("{} is not a multi-Region primary key.", key.arn(EUROPE));
        key.call(EUROPE, operation, &json!({})).assert_error(UNSUPPORTED, &text);
    }
    assert_eq!(same("GetKeyRotationStatus"), status);

    key.ok(HOME, "RotateKeyOnDemand");
    ciphertexts.push(key.encrypt(ASIA));
    site.advance_clock("91d");
    ciphertexts.push(key.encrypt(HOME));
    let rotations = same("ListKeyRotations");
    let types = |listed: &Value| -> Vec<Value> {
        listed["Rotations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rotation| rotation["RotationType"].clone())
            .collect()
    };
    assert_eq!(types(&rotations), ["ON_DEMAND", "AUTOMATIC"]);
    // A replica that is made later has every generation too.
    key.replicate_to("sa-east-1").ok();
    assert_eq!(key.ok("sa-east-1", "ListKeyRotations"), rotations);
    let current = key.metadata(HOME)["CurrentKeyMaterialId"].clone();
    for region in [HOME, EUROPE, ASIA, "sa-east-1"] {
        assert_eq!(key.metadata(region)["CurrentKeyMaterialId"], current);
        ciphertexts.iter().for_each(|ciphertext| key.assert_decrypts(region, ciphertext));
    }
    key.ok(HOME, "DisableKeyRotation");
    assert_eq!(same("GetKeyRotationStatus")["KeyRotationEnabled"], false);
    // Nothing rotates twice: there is one rotation of the set, not one of each key.
    site.advance_clock("200d");
    assert_eq!(same("ListKeyRotations"), rotations);
}

#[test]
fn a_disabled_replica_follows_a_rotation() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    key.ok(EUROPE, "DisableKey");
    key.ok(HOME, "RotateKeyOnDemand");
    let ciphertext = key.encrypt(HOME);
    key.ok(EUROPE, "EnableKey");
    key.assert_decrypts(EUROPE, &ciphertext);
}

#[test]
fn another_key_becomes_the_primary_and_nothing_else_changes() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    key.call(EUROPE, "UpdateKeyDescription", &json!({"Description": "Europe"})).ok();
    key.ok(HOME, "EnableKeyRotation");
    let ciphertext = key.encrypt(HOME);
    let everything = |region| {
        let mut metadata = key.metadata(region);
        metadata["MultiRegionConfiguration"].take();
        (metadata, key.ok(region, "GetKeyPolicy"), key.ok(region, "GetKeyRotationStatus"))
    };
    let before = [HOME, EUROPE, ASIA].map(everything);
    let updated = key.call(HOME, "UpdatePrimaryRegion", &json!({"PrimaryRegion": EUROPE}));
    assert_eq!((updated.0.status, updated.0.body.len()), (200, 0));
    assert_eq!([HOME, EUROPE, ASIA].map(everything), before);
    for (region, kind) in [(HOME, "REPLICA"), (EUROPE, "PRIMARY"), (ASIA, "REPLICA")] {
        let expected = configuration(kind, EUROPE, &[ASIA, HOME], &key.id);
        assert_eq!(key.metadata(region)["MultiRegionConfiguration"], expected);
        key.assert_decrypts(region, &ciphertext);
    }
    // What the primary does is done there now, and reaches the former primary.
    let refused = key.replicate_to("sa-east-1");
    assert_eq!(refused.error().0, UNSUPPORTED);
    assert_eq!(key.call(HOME, "RotateKeyOnDemand", &json!({})).error().0, UNSUPPORTED);
    key.call(EUROPE, "ReplicateKey", &json!({"ReplicaRegion": "sa-east-1"})).ok();
    key.ok(EUROPE, "RotateKeyOnDemand");
    key.assert_decrypts(HOME, &key.encrypt(EUROPE));
    site.advance_clock("366d");
    let rotations = [HOME, EUROPE, ASIA, "sa-east-1"].map(|region| key.ok(region, "ListKeyRotations"));
    assert_eq!(rotations[0]["Rotations"].as_array().unwrap().len(), 2);
    assert!(rotations.iter().all(|listed| *listed == rotations[0]), "{rotations:?}");
    // And back.
    key.call(EUROPE, "UpdatePrimaryRegion", &json!({"PrimaryRegion": HOME})).ok();
    key.ok(HOME, "DisableKeyRotation");
}

#[test]
fn a_primary_is_made_of_an_enabled_replica_by_an_enabled_primary() {
    let site = start();
    let key = MultiRegionKey::in_regions(&site, &[EUROPE, ASIA]);
    let update = |from, to: &str| key.call(from, "UpdatePrimaryRegion", &json!({"PrimaryRegion": to}));
    let text = |text: &str, region| format!("{} {text}", key.arn(region));
    update(HOME, HOME).assert_error(UNSUPPORTED, &text("is the multi-Region primary key already.", HOME));
    update(EUROPE, ASIA).assert_error(UNSUPPORTED, &text("is not a multi-Region primary key.", EUROPE));
    let absent = format!("Key '{}' does not exist", key.arn("sa-east-1"));
    update(HOME, "sa-east-1").assert_error("NotFoundException", &absent);
    assert_eq!(update(HOME, "nowhere").error().0, "ValidationException");
    for region in [HOME, EUROPE] {
        key.ok(region, "DisableKey");
        update(HOME, EUROPE).assert_error("DisabledException", &text("is disabled.", region));
        key.ok(region, "EnableKey");
    }
    key.schedule_deletion(EUROPE, 7);
    update(HOME, EUROPE).assert_error(INVALID_STATE, &text("is pending deletion.", EUROPE));
    key.schedule_deletion(HOME, 7);
    update(HOME, ASIA).assert_error(INVALID_STATE, &text("is pending replica deletion.", HOME));
    key.ok(HOME, "CancelKeyDeletion");
    key.ok(HOME, "EnableKey");
    update(HOME, ASIA).ok();
    assert_eq!(key.metadata(EUROPE)["MultiRegionConfiguration"]["PrimaryKey"]["Region"], ASIA);
}

#[test]
fn what_cannot_be_multi_region_is_refused_and_what_is_not_stays_so() {
    let site = start();
    for (origin, members) in [
        ("AWS_CLOUDHSM", json!({"CustomKeyStoreId": "cks-1234567890abcdef0"})),
        ("EXTERNAL_KEY_STORE", json!({"CustomKeyStoreId": "cks-1234567890abcdef0", "XksKeyId": "foo"})),
    ] {
        let request = merged(json!({"MultiRegion": true, "Origin": origin}), members);
        let text = "Custom key stores do not support multi-Region keys.";
        site.kms("CreateKey", &request).assert_error(UNSUPPORTED, text);
    }
    let id = site.create_kms_key();
    assert!(!id.starts_with("mrk-"));
}

#[test]
fn related_keys_count_in_the_quota_of_their_own_region() {
    let site = Site::start_with(&Setup::kms_with_resource_quotas("keys = 2"));
    let key = MultiRegionKey::create(&site);
    site.create_kms_key();
    assert_eq!(site.kms("CreateKey", &json!({})).error().0, "LimitExceededException");
    key.replicate_to(EUROPE).ok();
    let create = || site.kms_in(EUROPE, "CreateKey", &json!({}));
    create().ok();
    assert_eq!(create().error().0, "LimitExceededException");
    for _ in 0..2 {
        site.kms_in(ASIA, "CreateKey", &json!({})).ok();
    }
    let text = "The account has as many keys in this Region as it may have.";
    key.replicate_to(ASIA).assert_error("LimitExceededException", text);
    key.assert_absent(ASIA);
    assert_eq!(key.metadata(HOME)["MultiRegionConfiguration"]["ReplicaKeys"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_has_no_more_than_sixty_three_replicas() {
    let site = start();
    let key = MultiRegionKey::create(&site);
    for number in 1..64 {
        key.replicate_to(&format!("eu-test-{number}")).ok();
    }
    let text = format!("{} has as many related keys as it may have.", key.arn(HOME));
    key.replicate_to("eu-test-64").assert_error("LimitExceededException", &text);
    key.ok(HOME, "RotateKeyOnDemand");
    key.assert_decrypts("eu-test-63", &key.encrypt(HOME));
}

/// Of every kind that is made, what one Region computes another one checks.
#[test]
fn keys_of_every_kind_are_related() {
    let site = start();
    let message = json!("bWVzc2FnZQ==");
    for (kind, first, second) in [
        (
            json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}),
            ("Sign", json!({"Message": message, "SigningAlgorithm": "RSASSA_PSS_SHA_256"}), "Signature"),
            (
                "Verify",
                json!({"Message": message, "SigningAlgorithm": "RSASSA_PSS_SHA_256"}),
                "SignatureValid",
            ),
        ),
        (
            json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
            ("Sign", json!({"Message": message, "SigningAlgorithm": "ECDSA_SHA_256"}), "Signature"),
            ("Verify", json!({"Message": message, "SigningAlgorithm": "ECDSA_SHA_256"}), "SignatureValid"),
        ),
        (
            json!({"KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY"}),
            ("Sign", json!({"Message": message, "SigningAlgorithm": "ED25519_SHA_512"}), "Signature"),
            ("Verify", json!({"Message": message, "SigningAlgorithm": "ED25519_SHA_512"}), "SignatureValid"),
        ),
        (
            json!({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}),
            ("GenerateMac", json!({"Message": message, "MacAlgorithm": "HMAC_SHA_256"}), "Mac"),
            ("VerifyMac", json!({"Message": message, "MacAlgorithm": "HMAC_SHA_256"}), "MacValid"),
        ),
        (
            json!({"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}),
            (
                "Encrypt",
                json!({"Plaintext": PLAINTEXT, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
                "CiphertextBlob",
            ),
            ("Decrypt", json!({"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}), "Plaintext"),
        ),
    ] {
        let key = MultiRegionKey::create_with(&site, &merged(json!({"MultiRegion": true}), kind));
        key.replicate_to(EUROPE).ok();
        let own = ["Arn", "CreationDate", "MultiRegionConfiguration"];
        assert_eq!(without(&key.metadata(HOME), &own), without(&key.metadata(EUROPE), &own));
        let ((compute, request, made), (check, members, answer)) = (first, second);
        for (from, to) in [(HOME, EUROPE), (EUROPE, HOME)] {
            let computed = key.call(from, compute, &request).text(made);
            let checked = key.call(to, check, &merged(members.clone(), json!({made: computed}))).ok();
            let expected = if answer == "Plaintext" { json!(PLAINTEXT) } else { json!(true) };
            assert_eq!(checked[answer], expected);
        }
        // Of an object in the token too: it goes with the last of them.
        key.schedule_deletion(EUROPE, 7);
        site.advance_clock("8d");
        key.assert_absent(EUROPE);
        key.call(HOME, compute, &request).ok();
    }
}
