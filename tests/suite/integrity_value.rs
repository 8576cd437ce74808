//! XKS v1, Appendix C: the value is the hash of what is sent, and nothing is sent that the HSM cannot decrypt again.

use aws_lc_rs::digest::{SHA256, digest};
use proxy_api::wire::encode_base64;
use serde_json::{Value, json};

use crate::support::{Reply, Setup, Site};

const PLAINTEXT: &[u8] = b"Hello World!";
const AAD: &[u8] = b"project=nile,department=marketing";

fn with_integrity_value(aad: &[u8]) -> Value {
    json!({
        "additionalAuthenticatedData": encode_base64(aad),
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
    })
}

/// What of the answer the value covers, in the order of the specification.
fn parts(reply: &Reply, aad: &[u8]) -> Vec<u8> {
    let has_metadata = reply.json().get("ciphertextMetadata").is_some();
    let metadata = if has_metadata { reply.bytes("ciphertextMetadata") } else { Vec::new() };
    let [iv, ciphertext, tag] =
        ["initializationVector", "ciphertext", "authenticationTag"].map(|member| reply.bytes(member));
    [aad, &metadata, &iv, &ciphertext, &tag].concat()
}

/// Writes what the HSM is to suffer; a call may read the file at any moment.
fn inject(site: &Site, faults: &str) {
    std::fs::write(site.path("faults.new"), faults).unwrap();
    std::fs::rename(site.path("faults.new"), site.path("faults")).unwrap();
}

/// Calls of a PKCS#11 function so far.
fn calls(site: &Site, function: &str) -> u64 {
    let counts = std::fs::read_to_string(site.path("counts")).unwrap();
    let count = counts.lines().find_map(|line| line.strip_prefix(function)?.strip_prefix(' '));
    count.unwrap().trim().parse().unwrap()
}

fn start_with_shim() -> Site {
    // No probe comes between the calls that are counted.
    let health = "probe_interval_seconds = 55".to_owned();
    Site::start_with(&Setup { shim: true, health, ..Setup::default() })
}

/// Rows 3.8, 7.1, 7.2, 7.7.
#[test]
fn the_value_is_the_hash_of_the_parts_as_they_travel() {
    let site = Site::prepare(&Setup::default());
    site.import_key("of-another-tool", b"1", "0123456789abcdef0123456789ABCDEF");
    site.run();
    site.wait_ready();
    for key in ["foo", "of-another-tool"] {
        for aad in [AAD, b""] {
            let reply = site.encrypt(key, PLAINTEXT, with_integrity_value(aad));
            let expected = digest(&SHA256, &parts(reply.assert_ok(), aad));
            assert_eq!(reply.bytes("ciphertextDataIntegrityValue"), expected.as_ref());
        }
        let without = site.encrypt(key, PLAINTEXT, json!({})).assert_ok().json();
        assert!(without.get("ciphertextDataIntegrityValue").is_none());
    }
}

/// Rows 7.3, 7.8.
#[test]
fn a_value_costs_one_decryption_and_no_more() {
    let site = start_with_shim();
    let spent = |members: Value| {
        let before = (calls(&site, "C_Encrypt"), calls(&site, "C_Decrypt"));
        site.encrypt("foo", PLAINTEXT, members).assert_ok();
        (calls(&site, "C_Encrypt") - before.0, calls(&site, "C_Decrypt") - before.1)
    };
    assert_eq!(spent(json!({})), (1, 0));
    assert_eq!(spent(with_integrity_value(AAD)), (1, 1));
}

/// Rows 3.15, 4.10, 7.3–7.6, 8.t12: whatever is wrong with the HSM, no value vouches for it, and nobody else is blamed.
#[test]
fn an_hsm_that_errs_in_the_check_gives_no_answer_but_an_internal_error() {
    let site = start_with_shim();
    for fault in [
        // The ciphertext is not what the token made.
        "C_Encrypt corrupt",
        "C_Encrypt short",
        // The check decryption succeeds, with another plaintext.
        "C_Decrypt corrupt",
        "C_Decrypt short",
        // It fails, with codes that otherwise blame the caller.
        "C_Decrypt code=CKR_ENCRYPTED_DATA_INVALID",
        "C_Decrypt code=CKR_GENERAL_ERROR",
        "C_Decrypt code=CKR_DEVICE_ERROR",
    ] {
        inject(&site, fault);
        let reply = site.encrypt("foo", PLAINTEXT, with_integrity_value(AAD));
        reply.assert_error(500, "InternalException");
        inject(&site, "");
        let serves = || site.encrypt("foo", PLAINTEXT, with_integrity_value(AAD)).status == 200;
        site.wait_until("service after the fault", serves);
    }
}
