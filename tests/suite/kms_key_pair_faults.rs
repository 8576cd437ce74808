//! What goes wrong with the HSM under key pairs, MACs and imports, and what their callers are told: through the shim.

use serde_json::{Value, json};

use crate::support::importing::{Parameters, base64, lasting};
use crate::support::kms_stories::PLAINTEXT;
use crate::support::site::merged;
use crate::support::{Setup, Site};

const MATERIAL: [u8; 32] = [7; 32];

/// Requests that make the HSM compute in other ways than by AES-GCM, and the call that each fails by.
struct Requests(Vec<(&'static str, Value, &'static str)>);

impl Requests {
    fn new(site: &Site) -> Self {
        let make =
            |spec: &str, usage: &str| site.create_key_with(&json!({"KeySpec": spec, "KeyUsage": usage}));
        let (signer, maker) = (make("ECC_NIST_P256", "SIGN_VERIFY"), make("HMAC_256", "GENERATE_VERIFY_MAC"));
        let (reader, agreed) = (make("RSA_2048", "ENCRYPT_DECRYPT"), make("ECC_NIST_P256", "KEY_AGREEMENT"));
        let peer = site.kms("GetPublicKey", &json!({"KeyId": agreed})).text("PublicKey");
        let oaep = json!({"KeyId": reader, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"});
        let encrypt = merged(oaep.clone(), json!({"Plaintext": PLAINTEXT}));
        let blob = site.kms("Encrypt", &encrypt).text("CiphertextBlob");
        let waiting = site.create_key_to_import(&json!({}));
        let parameters = Parameters::of(site, &waiting, "RSAES_OAEP_SHA_256", "RSA_2048");
        let wrapped = base64(&parameters.wrap(&MATERIAL));
        Self(vec![
            (
                "Sign",
                json!({"KeyId": signer, "Message": PLAINTEXT, "SigningAlgorithm": "ECDSA_SHA_256"}),
                "C_Sign",
            ),
            (
                "GenerateMac",
                json!({"KeyId": maker, "Message": PLAINTEXT, "MacAlgorithm": "HMAC_SHA_256"}),
                "C_Sign",
            ),
            ("Decrypt", merged(oaep, json!({"CiphertextBlob": blob})), "C_Decrypt"),
            (
                "DeriveSharedSecret",
                json!({"KeyId": agreed, "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer}),
                "C_DeriveKey",
            ),
            (
                "ImportKeyMaterial",
                merged(
                    json!({"KeyId": waiting, "ImportToken": parameters.token, "EncryptedKeyMaterial": wrapped}),
                    lasting(),
                ),
                "C_WrapKey",
            ),
            (
                "CreateKey",
                json!({"KeySpec": "ECC_NIST_P384", "KeyUsage": "SIGN_VERIFY"}),
                "C_GenerateKeyPair",
            ),
        ])
    }
}

fn site() -> Site {
    let Setup { hsm, health, .. } = Setup::quiet(2);
    let site = Site::prepare(&Setup { shim: true, hsm, health, ..Setup::kms() });
    site.edit_configuration(|text| text.replace("request_deadline_ms = 20000", "request_deadline_ms = 1500"));
    site.run();
    site.wait_ready();
    site
}

fn keys(site: &Site) -> usize {
    site.kms("ListKeys", &json!({})).ok()["Keys"].as_array().unwrap().len()
}

#[test]
fn a_call_that_fails_is_nobody_elses_fault_and_changes_nothing() {
    let site = site();
    let Requests(requests) = Requests::new(&site);
    let before = keys(&site);
    for (operation, request, function) in &requests {
        site.inject(&format!("{function} code=CKR_DEVICE_ERROR"));
        site.kms(operation, request).assert_error("KMSInternalException", "internal error");
        site.inject("");
        assert_eq!(keys(&site), before, "{operation}");
    }
    for (operation, request, _) in &requests {
        site.wait_until(operation, || site.kms(operation, request).0.status == 200);
    }
}

#[test]
fn a_call_that_hangs_costs_its_deadline_and_no_other_request() {
    let site = site();
    let Requests(requests) = Requests::new(&site);
    let before = keys(&site);
    let other = site.create_kms_key();
    for (operation, request, function) in &requests {
        site.inject(&format!("{function} hang"));
        let (name, _) = site.kms(operation, request).error();
        assert_eq!(name, "DependencyTimeoutException", "{operation}");
        site.kms("Encrypt", &json!({"KeyId": other, "Plaintext": PLAINTEXT})).ok();
        site.inject("");
        site.wait_until("the sessions", || {
            site.metric(r#"holdfast_hsm_sessions_stuck{hsm="softhsm"}"#) == Some(0.0)
        });
        assert_eq!(keys(&site), before + 1, "{operation}");
        site.wait_until(operation, || site.kms(operation, request).0.status == 200);
        if *operation == "CreateKey" {
            assert_eq!(keys(&site), before + 2);
        }
    }
}
