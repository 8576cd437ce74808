//! Multi-Region keys with imported material: the same material is imported into each of them.

use serde_json::{Value, json};

use crate::support::importing::{Parameters, base64, lasting};
use crate::support::kms::KmsReply;
use crate::support::kms_stories::PLAINTEXT;
use crate::support::regions::{ASIA, EUROPE, HOME, MultiRegionKey};
use crate::support::site::merged;
use crate::support::{Setup, Site};

const ALGORITHM: &str = "RSA_AES_KEY_WRAP_SHA_256";
const FIRST: [u8; 32] = [1; 32];
const SECOND: [u8; 32] = [2; 32];

fn start() -> Site {
    Site::start_with(&Setup::kms())
}

fn parameters(key: &MultiRegionKey<'_>, region: &str) -> Parameters {
    let request = json!({"WrappingAlgorithm": ALGORITHM, "WrappingKeySpec": "RSA_2048"});
    Parameters::from(&key.call(region, "GetParametersForImport", &request).ok(), ALGORITHM)
}

fn import_with(
    key: &MultiRegionKey<'_>,
    (region, parameters): (&str, &Parameters),
    material: &[u8],
    more: Value,
) -> KmsReply {
    let request = json!({"ImportToken": parameters.token,
        "EncryptedKeyMaterial": base64(&parameters.wrap(material))});
    key.call(region, "ImportKeyMaterial", &merged(request, more))
}

fn import(key: &MultiRegionKey<'_>, region: &str, material: &[u8], more: Value) -> KmsReply {
    import_with(key, (region, &parameters(key, region)), material, more)
}

/// A primary with material at home, and a replica in Europe that waits for it.
fn replicated(site: &Site) -> MultiRegionKey<'_> {
    let key = MultiRegionKey::create_with(site, &json!({"MultiRegion": true, "Origin": "EXTERNAL"}));
    assert_eq!(key.state(HOME), "PendingImport");
    import(&key, HOME, &FIRST, lasting()).ok();
    let made = key.replicate_to(EUROPE).ok()["ReplicaKeyMetadata"].clone();
    assert_eq!((&made["KeyState"], &made["Enabled"]), (&json!("PendingImport"), &json!(false)));
    for member in ["KeyId", "KeySpec", "KeyUsage", "Origin"] {
        assert_eq!(made[member], key.metadata(HOME)[member]);
    }
    key
}

#[test]
fn a_replica_takes_only_the_material_of_its_primary() {
    let site = start();
    let key = replicated(&site);
    let ciphertext = key.encrypt(HOME);
    let text = format!("{} is pending import.", key.arn(EUROPE));
    key.call(EUROPE, "Decrypt", &json!({"CiphertextBlob": ciphertext}))
        .assert_error("KMSInvalidStateException", &text);
    assert_eq!(import(&key, EUROPE, &SECOND, lasting()).error().0, "IncorrectKeyMaterialException");
    // Each key has wrapping keys and tokens of its own.
    let of_primary = parameters(&key, HOME);
    let foreign = import_with(&key, (EUROPE, &of_primary), &FIRST, lasting());
    assert_eq!(foreign.error().0, "InvalidImportTokenException");
    assert_eq!(key.state(EUROPE), "PendingImport");
    import(&key, EUROPE, &FIRST, lasting()).ok();
    assert_eq!(key.state(EUROPE), "Enabled");
    key.assert_decrypts(EUROPE, &ciphertext);
    key.assert_decrypts(HOME, &key.encrypt(EUROPE));
    let current = [HOME, EUROPE].map(|region| key.metadata(region)["CurrentKeyMaterialId"].clone());
    assert_eq!(current[0], current[1]);
}

#[test]
fn material_ends_in_each_region_by_itself() {
    let site = start();
    let key = replicated(&site);
    let ciphertext = key.encrypt(HOME);
    let now: f64 = site.admin("/dev/clock").unwrap().1.trim().parse().unwrap();
    let for_a_day = json!({"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": now + 86_400.0});
    import(&key, EUROPE, &FIRST, for_a_day).ok();
    let models = [HOME, EUROPE].map(|region| key.metadata(region)["ExpirationModel"].clone());
    assert_eq!(models, ["KEY_MATERIAL_DOES_NOT_EXPIRE", "KEY_MATERIAL_EXPIRES"]);
    site.advance_clock("25h");
    assert_eq!((key.state(HOME), key.state(EUROPE)), ("Enabled".to_owned(), "PendingImport".to_owned()));
    key.assert_decrypts(HOME, &ciphertext);
    import(&key, EUROPE, &FIRST, lasting()).ok();
    key.ok(HOME, "DeleteImportedKeyMaterial");
    assert_eq!((key.state(HOME), key.state(EUROPE)), ("PendingImport".to_owned(), "Enabled".to_owned()));
    key.assert_decrypts(EUROPE, &ciphertext);
    import(&key, HOME, &FIRST, lasting()).ok();
    key.assert_decrypts(HOME, &key.encrypt(EUROPE));
}

#[test]
fn new_material_encrypts_when_every_region_has_it() {
    let site = start();
    let key = replicated(&site);
    import(&key, EUROPE, &FIRST, lasting()).ok();
    let before = key.encrypt(HOME);
    let new = || merged(lasting(), json!({"ImportType": "NEW_KEY_MATERIAL"}));
    assert_eq!(import(&key, EUROPE, &SECOND, new()).error().0, "KMSInvalidStateException");
    let id = import(&key, HOME, &SECOND, new()).text("KeyMaterialId");
    let state = |region| {
        let listed =
            key.call(region, "ListKeyRotations", &json!({"IncludeKeyMaterial": "ALL_KEY_MATERIAL"})).ok();
        let entries = listed["Rotations"].as_array().unwrap().clone();
        entries.into_iter().find(|entry| entry["KeyMaterialId"] == id).unwrap()["KeyMaterialState"].clone()
    };
    assert_eq!(state(HOME), "PENDING_MULTI_REGION_IMPORT_AND_ROTATION");
    let text = format!("{} is pending import.", key.arn(EUROPE));
    key.call(HOME, "RotateKeyOnDemand", &json!({})).assert_error("KMSInvalidStateException", &text);
    key.assert_decrypts(EUROPE, &key.encrypt(HOME));
    import(&key, EUROPE, &SECOND, merged(lasting(), json!({"KeyMaterialId": id}))).ok();
    assert_eq!([HOME, EUROPE].map(state), ["PENDING_ROTATION", "PENDING_ROTATION"]);
    key.ok(HOME, "RotateKeyOnDemand");
    assert_eq!([HOME, EUROPE].map(state), ["CURRENT", "CURRENT"]);
    for region in [HOME, EUROPE] {
        key.assert_decrypts(region, &before);
        key.assert_decrypts(region, &key.encrypt(HOME));
    }
    // A replica that is made now needs both.
    key.replicate_to(ASIA).ok();
    for (material, is_last) in [(&FIRST, false), (&SECOND, true)] {
        assert_eq!(key.state(ASIA), "PendingImport");
        import(&key, ASIA, material, lasting()).ok();
        assert_eq!(key.state(ASIA) == "Enabled", is_last);
    }
    key.assert_decrypts(ASIA, &before);
}

#[test]
fn unrelated_keys_with_the_same_material_do_not_decrypt_for_each_other() {
    let site = start();
    let [one, other] = [(); 2].map(|()| {
        let key = MultiRegionKey::create_with(&site, &json!({"Origin": "EXTERNAL"}));
        import(&key, HOME, &FIRST, lasting()).ok();
        key
    });
    let wrong = other.call(HOME, "Decrypt", &json!({"CiphertextBlob": one.encrypt(HOME)}));
    assert_eq!(wrong.error().0, "IncorrectKeyException");
    assert_eq!(one.call(HOME, "Encrypt", &json!({"Plaintext": PLAINTEXT})).0.status, 200);
}
