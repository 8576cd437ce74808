//! Sign and Verify, with OpenSSL and other libraries as judges.

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::signature::{ML_DSA_44, ML_DSA_65, ML_DSA_87, UnparsedPublicKey};
use ed25519_dalek::{Digest as _, Sha512, VerifyingKey};
use holdfast::domain::kms::{KeySpec, KeyUsage};
use ml_dsa::{EncodedVerifyingKey, MlDsa65};
use serde_json::{Value, json};

use crate::support::kinds_of_keys::{MESSAGE, base64, kinds};
use crate::support::kms::KmsReply;
use crate::support::kms_stories::key_arn;
use crate::support::site::merged;
use crate::support::{Setup, Site};

const RSA: [&str; 6] = [
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
];

fn request(key: &str, algorithm: &str, message_type: &str, message: &[u8]) -> Value {
    json!({
        "KeyId": key, "SigningAlgorithm": algorithm, "MessageType": message_type, "Message": base64(message),
    })
}

fn sign(site: &Site, request: &Value) -> Vec<u8> {
    let reply = site.kms("Sign", request);
    let served = reply.ok();
    assert_eq!(served["KeyId"], json!(key_arn(request["KeyId"].as_str().unwrap())));
    assert_eq!(served["SigningAlgorithm"], request["SigningAlgorithm"]);
    reply.bytes("Signature")
}

fn verify(site: &Site, request: &Value, signature: &[u8]) -> KmsReply {
    site.kms("Verify", &merged(request.clone(), json!({"Signature": base64(signature)})))
}

fn assert_verifies(site: &Site, request: &Value, signature: &[u8]) {
    let verified = verify(site, request, signature).ok();
    assert_eq!(
        verified,
        json!({
            "KeyId": key_arn(request["KeyId"].as_str().unwrap()), "SignatureValid": true,
            "SigningAlgorithm": request["SigningAlgorithm"],
        })
    );
}

/// The digest of an algorithm whose name ends with the bits of its hash.
fn hashed(algorithm: &str, message: &[u8]) -> Vec<u8> {
    let hash = match algorithm.rsplit('_').next().unwrap() {
        "256" => &SHA256,
        "384" => &SHA384,
        _ => &SHA512,
    };
    digest(hash, message).as_ref().to_vec()
}

/// Whether OpenSSL takes it for a signature of the message.
fn openssl_verifies(site: &Site, key: &str, algorithm: &str, signature: &[u8]) -> bool {
    site.write("public.der", &site.public_key_of(key));
    site.write("message", MESSAGE);
    site.write("signature", signature);
    let hash = format!("-sha{}", algorithm.rsplit('_').next().unwrap());
    let mut arguments =
        vec!["dgst", &hash, "-keyform", "DER", "-verify", "public.der", "-signature", "signature"];
    if algorithm.contains("PSS") {
        let hash = hash.trim_start_matches('-');
        let of = format!("rsa_mgf1_md:{hash}");
        // PSS with another salt than one as long as the digest does not verify so.
        let more =
            ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest", "-sigopt", of.as_str()];
        arguments.extend(more);
        arguments.push("message");
        return site.openssl(&arguments).0;
    }
    arguments.push("message");
    site.openssl(&arguments).0
}

/// Signs as message and as digest; both verify, here and with OpenSSL, and nothing else does.
fn assert_signs(site: &Site, key: &str, algorithm: &str) {
    let raw = request(key, algorithm, "RAW", MESSAGE);
    let digest = request(key, algorithm, "DIGEST", &hashed(algorithm, MESSAGE));
    for signed in [&raw, &digest] {
        let signature = sign(site, signed);
        assert!(openssl_verifies(site, key, algorithm, &signature), "{algorithm}");
        for verified in [&raw, &digest] {
            assert_verifies(site, verified, &signature);
        }
        let mut other = signature.clone();
        other[12] ^= 1;
        for wrong in [&other[..], &signature[1..], b"\0"] {
            verify(site, &raw, wrong).assert_error("KMSInvalidSignatureException", "");
        }
        let other = request(key, algorithm, "RAW", b"another message");
        verify(site, &other, &signature).assert_error("KMSInvalidSignatureException", "");
    }
    let mut default = raw.clone();
    default.as_object_mut().unwrap().remove("MessageType");
    assert_verifies(site, &default, &sign(site, &raw));
}

#[test]
fn rsa_keys_sign_by_every_algorithm_and_openssl_agrees() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_of("RSA_2048", "SIGN_VERIFY");
    for algorithm in RSA {
        assert_signs(&site, &key, algorithm);
    }
    for spec in ["RSA_3072", "RSA_4096"] {
        let key = site.create_key_of(spec, "SIGN_VERIFY");
        assert_signs(&site, &key, "RSASSA_PSS_SHA_512");
        assert_signs(&site, &key, "RSASSA_PKCS1_V1_5_SHA_256");
    }
}

#[test]
fn keys_on_curves_sign_and_openssl_agrees() {
    let site = Site::start_with(&Setup::kms());
    for (spec, algorithm) in [
        ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_P384", "ECDSA_SHA_384"),
        ("ECC_NIST_P521", "ECDSA_SHA_512"),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
    ] {
        let key = site.create_key_of(spec, "SIGN_VERIFY");
        assert_signs(&site, &key, algorithm);
    }
}

#[test]
fn an_edwards_key_signs_messages_and_digests_by_an_algorithm_each() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_key_of("ECC_NIST_EDWARDS25519", "SIGN_VERIFY");
    let raw = request(&key, "ED25519_SHA_512", "RAW", MESSAGE);
    let signature = sign(&site, &raw);
    assert_verifies(&site, &raw, &signature);
    site.write("public.der", &site.public_key_of(&key));
    site.write("message", MESSAGE);
    site.write("signature", &signature);
    site.openssl_ok(&[
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "public.der",
        "-keyform",
        "DER",
        "-rawin",
        "-in",
        "message",
        "-sigfile",
        "signature",
    ]);
    let prehashed = request(&key, "ED25519_PH_SHA_512", "DIGEST", &hashed("512", MESSAGE));
    let signature = sign(&site, &prehashed);
    assert_verifies(&site, &prehashed, &signature);
    let public_key = site.public_key_of(&key);
    let point: [u8; 32] = public_key[public_key.len() - 32..].try_into().unwrap();
    let verifier = VerifyingKey::from_bytes(&point).unwrap();
    let signed = ed25519_dalek::Signature::from_slice(&signature).unwrap();
    verifier.verify_prehashed(Sha512::new_with_prefix(MESSAGE), None, &signed).unwrap();
    // One algorithm's signature is none of the other's.
    verify(&site, &raw, &signature).assert_error("KMSInvalidSignatureException", "");
    let requires = |algorithm: &str, message_type: &str, message: &[u8], types: &str| {
        for operation in ["Sign", "Verify"] {
            let request = request(&key, algorithm, message_type, message);
            let reply = site.kms(operation, &merged(request, json!({"Signature": base64(&signature)})));
            let text = format!("{algorithm} requires MessageType {types}.");
            reply.assert_error("ValidationException", &text);
        }
    };
    requires("ED25519_SHA_512", "DIGEST", &[0; 64], "RAW");
    requires("ED25519_SHA_512", "EXTERNAL_MU", &[0; 64], "RAW");
    requires("ED25519_PH_SHA_512", "RAW", MESSAGE, "DIGEST");
}

#[test]
fn a_lattice_key_signs_messages_and_what_represents_them() {
    let site = Site::start_with(&Setup::kms());
    let algorithm = "ML_DSA_SHAKE_256";
    for (spec, verification) in
        [("ML_DSA_44", &ML_DSA_44), ("ML_DSA_65", &ML_DSA_65), ("ML_DSA_87", &ML_DSA_87)]
    {
        let key = site.create_key_of(spec, "SIGN_VERIFY");
        let raw = request(&key, algorithm, "RAW", MESSAGE);
        let signature = sign(&site, &raw);
        assert_verifies(&site, &raw, &signature);
        UnparsedPublicKey::new(verification, site.public_key_of(&key)).verify(MESSAGE, &signature).unwrap();
        let digest = request(&key, algorithm, "DIGEST", &[0; 64]);
        let text = "ML_DSA_SHAKE_256 requires MessageType RAW or EXTERNAL_MU.";
        site.kms("Sign", &digest).assert_error("ValidationException", text);
        for length in [1, 63, 65] {
            let mu = request(&key, algorithm, "EXTERNAL_MU", &vec![0; length]);
            let text = "Digest is invalid length for algorithm ML_DSA_SHAKE_256.";
            site.kms("Sign", &mu).assert_error("ValidationException", text);
            verify(&site, &mu, &signature).assert_error("ValidationException", text);
        }
    }
    let key = site.create_key_of("ML_DSA_65", "SIGN_VERIFY");
    let public_key = site.public_key_of(&key);
    let raw_key = &public_key[public_key.len() - 1952..];
    let encoded = EncodedVerifyingKey::<MlDsa65>::try_from(raw_key).unwrap();
    let absorb = |hash: &mut _| {
        digest::Update::update(hash, MESSAGE);
        Ok(())
    };
    let mu = ml_dsa::VerifyingKey::<MlDsa65>::decode(&encoded).compute_mu(absorb, &[]).unwrap();
    let (raw, mu) =
        (request(&key, algorithm, "RAW", MESSAGE), request(&key, algorithm, "EXTERNAL_MU", &mu[..]));
    for signed in [&raw, &mu] {
        let signature = sign(&site, signed);
        assert_verifies(&site, &raw, &signature);
        assert_verifies(&site, &mu, &signature);
        UnparsedPublicKey::new(&ML_DSA_65, &public_key).verify(MESSAGE, &signature).unwrap();
    }
}

#[test]
fn messages_have_their_lengths() {
    let site = Site::start_with(&Setup::kms());
    let rsa = site.create_key_of("RSA_2048", "SIGN_VERIFY");
    let curve = site.create_key_of("ECC_NIST_P256", "SIGN_VERIFY");
    for length in [1, 4095, 4096] {
        sign(&site, &request(&rsa, "RSASSA_PSS_SHA_256", "RAW", &vec![7; length]));
        sign(&site, &request(&curve, "ECDSA_SHA_256", "RAW", &vec![7; length]));
    }
    for length in [0, 4097] {
        let refused = site.kms("Sign", &request(&rsa, "RSASSA_PSS_SHA_256", "RAW", &vec![7; length]));
        assert_eq!(refused.error().0, "ValidationException", "{length}");
    }
    for (algorithm, right) in
        [("RSASSA_PSS_SHA_256", 32), ("RSASSA_PKCS1_V1_5_SHA_384", 48), ("RSASSA_PSS_SHA_512", 64)]
    {
        for length in [1, 20, 32, 48, 64, 65].into_iter().filter(|length| *length != right) {
            let request = request(&rsa, algorithm, "DIGEST", &vec![7; length]);
            let text = format!("Digest is invalid length for algorithm {algorithm}.");
            site.kms("Sign", &request).assert_error("ValidationException", &text);
            verify(&site, &request, b"signature").assert_error("ValidationException", &text);
        }
    }
    let mu = request(&curve, "ECDSA_SHA_256", "EXTERNAL_MU", &[0; 64]);
    site.kms("Sign", &mu)
        .assert_error("ValidationException", "ECDSA_SHA_256 requires MessageType RAW or DIGEST.");
}

#[test]
fn only_the_key_itself_signs_and_what_it_was_used_for_is_known() {
    let site = Site::start_with(&Setup::kms());
    let [own, other] = [(), ()].map(|()| site.create_key_of("ECC_NIST_P256", "SIGN_VERIFY"));
    let signature = sign(&site, &request(&own, "ECDSA_SHA_256", "RAW", MESSAGE));
    let by_other = request(&other, "ECDSA_SHA_256", "RAW", MESSAGE);
    verify(&site, &by_other, &signature).assert_error("KMSInvalidSignatureException", "");
    let used = |key: &str| {
        let usage = site.kms("GetKeyLastUsage", &json!({"KeyId": key})).ok();
        usage["KeyLastUsage"]["Operation"].clone()
    };
    assert_eq!([used(&own), used(&other)], [json!("Sign"), Value::Null]);
    verify(&site, &request(&own, "ECDSA_SHA_256", "RAW", MESSAGE), &signature).ok();
    assert_eq!(used(&own), json!("Verify"));
}

/// GetPublicKey says what DescribeKey says, of every key pair, by every name of the key.
#[test]
fn a_public_key_comes_with_what_it_is_good_for() {
    let site = Site::start_with(&Setup::kms());
    let mut asked = 0;
    for (spec, usage) in kinds().into_iter().filter(|(spec, _)| spec.is_asymmetric()) {
        // The greater ones take their time to be made.
        if matches!(spec, KeySpec::Rsa3072 | KeySpec::Rsa4096) && usage == KeyUsage::EncryptDecrypt {
            continue;
        }
        let key = site.create_key_of(spec.as_str(), usage.as_str());
        let alias = format!("alias/{}-{}", spec, usage);
        site.create_alias(&alias, &key);
        let answer = site.kms("GetPublicKey", &json!({"KeyId": alias})).ok();
        assert_eq!(answer["KeyId"], json!(key_arn(&key)));
        let described = site.key_metadata_of(&key);
        for member in [
            "CustomerMasterKeySpec",
            "KeySpec",
            "KeyUsage",
            "EncryptionAlgorithms",
            "SigningAlgorithms",
            "KeyAgreementAlgorithms",
            "EncapsulationAlgorithms",
        ] {
            assert_eq!(answer[member], described[member], "{spec} {usage} {member}");
        }
        assert!(!site.public_key_of(&key).is_empty());
        asked += 1;
    }
    assert!(asked > 15, "{asked}");
    let key = site.create_kms_key();
    let text =
        format!("{} key KeySpec is SYMMETRIC_DEFAULT which is not valid for GetPublicKey.", key_arn(&key));
    site.kms("GetPublicKey", &json!({"KeyId": key})).assert_error("UnsupportedOperationException", &text);
}
