//! Encrypt, Decrypt and ReEncrypt with RSA keys, and with OpenSSL on the other side.

use serde_json::{Value, json};

use crate::support::kinds_of_keys::{MESSAGE, base64};
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::site::merged;
use crate::support::{Setup, Site};

type LongestTexts = [(&'static str, usize); 3];

/// Algorithm, hash, and the longest texts by the bits of the key (AWS KMS Developer Guide, RSA key specs).
const ALGORITHMS: [(&str, &str, LongestTexts); 2] = [
    ("RSAES_OAEP_SHA_1", "sha1", [("RSA_2048", 214), ("RSA_3072", 342), ("RSA_4096", 470)]),
    ("RSAES_OAEP_SHA_256", "sha256", [("RSA_2048", 190), ("RSA_3072", 318), ("RSA_4096", 446)]),
];

fn encrypt(key: &str, algorithm: &str, plaintext: &[u8]) -> Value {
    json!({"KeyId": key, "EncryptionAlgorithm": algorithm, "Plaintext": base64(plaintext)})
}

fn decrypt(key: &str, algorithm: &str, ciphertext: &[u8]) -> Value {
    json!({"KeyId": key, "EncryptionAlgorithm": algorithm, "CiphertextBlob": base64(ciphertext)})
}

/// A ciphertext by OpenSSL.
fn encrypted_outside(site: &Site, key: &str, hash: &str, plaintext: &[u8]) -> Vec<u8> {
    site.write("public.der", &site.public_key_of(key));
    site.write("plaintext", plaintext);
    let (digest, mgf1) = (format!("rsa_oaep_md:{hash}"), format!("rsa_mgf1_md:{hash}"));
    site.openssl_ok(&[
        "pkeyutl",
        "-encrypt",
        "-pubin",
        "-inkey",
        "public.der",
        "-keyform",
        "DER",
        "-in",
        "plaintext",
        "-pkeyopt",
        "rsa_padding_mode:oaep",
        "-pkeyopt",
        &digest,
        "-pkeyopt",
        &mgf1,
    ])
}

#[test]
fn texts_up_to_the_longest_come_back_and_longer_ones_are_refused() {
    let site = Site::start_with(&Setup::kms());
    for spec in ["RSA_2048", "RSA_3072", "RSA_4096"] {
        let key = site.create_key_of(spec, "ENCRYPT_DECRYPT");
        for (algorithm, hash, longest) in ALGORITHMS {
            let max = longest.iter().find(|(own, _)| *own == spec).unwrap().1;
            for length in [1, max] {
                let plaintext = vec![7; length];
                let encrypted = site.kms("Encrypt", &encrypt(&key, algorithm, &plaintext));
                assert_eq!(encrypted.ok()["EncryptionAlgorithm"], json!(algorithm));
                assert_eq!(encrypted.ok()["KeyId"], json!(key_arn(&key)));
                let outside = encrypted_outside(&site, &key, hash, &plaintext);
                for ciphertext in [encrypted.bytes("CiphertextBlob"), outside] {
                    let decrypted = site.kms("Decrypt", &decrypt(&key, algorithm, &ciphertext));
                    assert_eq!(decrypted.bytes("Plaintext"), plaintext, "{spec} {algorithm}");
                    let expected = json!({
                        "KeyId": key_arn(&key), "EncryptionAlgorithm": algorithm,
                        "Plaintext": base64(&plaintext),
                    });
                    assert_eq!(decrypted.ok(), expected);
                }
            }
            let text = format!(
                "Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {max} bytes."
            );
            site.kms("Encrypt", &encrypt(&key, algorithm, &vec![7; max + 1]))
                .assert_error("ValidationException", &text);
        }
    }
}

#[test]
fn a_ciphertext_names_no_key_and_nothing_but_its_key_and_algorithm_decrypts_it() {
    let site = Site::start_with(&Setup::kms());
    let [key, other] = [(), ()].map(|()| site.create_key_of("RSA_2048", "ENCRYPT_DECRYPT"));
    let request = encrypt(&key, "RSAES_OAEP_SHA_256", MESSAGE);
    let ciphertext = site.kms("Encrypt", &request).bytes("CiphertextBlob");
    let mut changed = ciphertext.clone();
    changed[9] ^= 1;
    for (key, algorithm, ciphertext) in [
        (&other, "RSAES_OAEP_SHA_256", &ciphertext[..]),
        (&key, "RSAES_OAEP_SHA_1", &ciphertext),
        (&key, "RSAES_OAEP_SHA_256", &changed),
        (&key, "RSAES_OAEP_SHA_256", &ciphertext[1..]),
        (&key, "RSAES_OAEP_SHA_256", &[255; 256]),
        (&key, "RSAES_OAEP_SHA_256", b"\0"),
    ] {
        site.kms("Decrypt", &decrypt(key, algorithm, ciphertext))
            .assert_error("InvalidCiphertextException", "");
    }
    let mut nameless = decrypt(&key, "RSAES_OAEP_SHA_256", &ciphertext);
    nameless.as_object_mut().unwrap().remove("KeyId");
    let text = "A key must be named to decrypt with RSAES_OAEP_SHA_256.";
    site.kms("Decrypt", &nameless).assert_error("ValidationException", text);
    // Without an algorithm, a symmetric key is meant.
    let text = "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.";
    let plain = json!({"KeyId": key, "Plaintext": PLAINTEXT});
    site.kms("Encrypt", &plain).assert_error("InvalidKeyUsageException", text);
    let plain = json!({"KeyId": key, "CiphertextBlob": base64(&ciphertext)});
    site.kms("Decrypt", &plain).assert_error("InvalidKeyUsageException", text);
    let plain = json!({"CiphertextBlob": base64(&ciphertext)});
    site.kms("Decrypt", &plain).assert_error("InvalidCiphertextException", "");
}

#[test]
fn rsa_keys_know_no_encryption_context() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_of("RSA_2048", "ENCRYPT_DECRYPT");
    let context = json!({"EncryptionContext": {"a": "b"}});
    let text = "EncryptionContext is only supported with symmetric encryption keys.";
    let request = encrypt(&key, "RSAES_OAEP_SHA_256", MESSAGE);
    site.kms("Encrypt", &merged(request, context.clone())).assert_error("ValidationException", text);
    let request = decrypt(&key, "RSAES_OAEP_SHA_256", &[1; 256]);
    site.kms("Decrypt", &merged(request, context)).assert_error("ValidationException", text);
}

#[test]
fn a_text_goes_from_any_kind_of_key_to_any_other() {
    let site = Site::start_with(&Setup::kms());
    let symmetric = site.create_kms_key();
    let [small, great] = ["RSA_2048", "RSA_3072"].map(|spec| site.create_key_of(spec, "ENCRYPT_DECRYPT"));
    let keys =
        [(&symmetric, "SYMMETRIC_DEFAULT"), (&small, "RSAES_OAEP_SHA_1"), (&great, "RSAES_OAEP_SHA_256")];
    for (source, source_algorithm) in keys {
        let request = encrypt(source, source_algorithm, MESSAGE);
        let blob = site.kms("Encrypt", &request).text("CiphertextBlob");
        for (destination, algorithm) in keys {
            let request = json!({
                "CiphertextBlob": blob, "SourceKeyId": source, "SourceEncryptionAlgorithm": source_algorithm,
                "DestinationKeyId": destination, "DestinationEncryptionAlgorithm": algorithm,
            });
            let moved = site.kms("ReEncrypt", &request);
            let answer = moved.ok();
            assert_eq!(answer["SourceKeyId"], json!(key_arn(source)));
            assert_eq!(answer["KeyId"], json!(key_arn(destination)));
            assert_eq!(answer["SourceEncryptionAlgorithm"], json!(source_algorithm));
            assert_eq!(answer["DestinationEncryptionAlgorithm"], json!(algorithm));
            let is_symmetric = |algorithm: &str| algorithm == "SYMMETRIC_DEFAULT";
            assert_eq!(answer.get("SourceKeyMaterialId").is_some(), is_symmetric(source_algorithm));
            assert_eq!(answer.get("DestinationKeyMaterialId").is_some(), is_symmetric(algorithm));
            let request = decrypt(destination, algorithm, &moved.bytes("CiphertextBlob"));
            assert_eq!(site.kms("Decrypt", &request).bytes("Plaintext"), MESSAGE);
        }
    }
    let long =
        site.kms("Encrypt", &encrypt(&symmetric, "SYMMETRIC_DEFAULT", &[7; 215])).text("CiphertextBlob");
    let request = json!({
        "CiphertextBlob": long, "DestinationKeyId": small, "DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_1",
    });
    let text = "Algorithm RSAES_OAEP_SHA_1 and key spec RSA_2048 cannot encrypt data larger than 214 bytes.";
    site.kms("ReEncrypt", &request).assert_error("ValidationException", text);
    let request = json!({
        "CiphertextBlob": long, "SourceEncryptionAlgorithm": "RSAES_OAEP_SHA_1", "DestinationKeyId": symmetric,
    });
    let text = "A key must be named to decrypt with RSAES_OAEP_SHA_1.";
    site.kms("ReEncrypt", &request).assert_error("ValidationException", text);
}
