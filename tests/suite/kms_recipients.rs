//! `Recipient`: what an attested enclave asks for, nobody but the enclave can read.

use aws_lc_rs::rsa::KeySize;
use proxy_api::wire::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::support::enclaves::{Enclave, NitroPki, ROOTS_FILE, bytes, map, now_millis, number, recipient};
use crate::support::kms_stories::{PLAINTEXT, key_arn};
use crate::support::site::merged;
use crate::support::{Setup, Site};

const UNSUPPORTED: &str = "Recipient is not supported, because this service was not told which attestation documents \
                           to believe: root_certificates_file in [kms.attestation] is not set.";

struct Scene {
    pki: NitroPki,
    enclave: Enclave,
    site: Site,
    id: String,
}

impl Scene {
    fn new() -> Self {
        let pki = NitroPki::new();
        let site = Site::start_with_recipients(&pki);
        let id = site.create_kms_key();
        Self { pki, enclave: Enclave::new(KeySize::Rsa2048), site, id }
    }

    /// The member that makes the enclave the recipient.
    fn recipient(&self) -> Value {
        json!({"Recipient": recipient(&self.pki.document(&self.enclave))})
    }

    /// A request of each operation, and the member that the plaintext is in without a recipient.
    fn requests(&self) -> [(&'static str, Value); 3] {
        let ciphertext = self.site.kms_encrypt(&self.id);
        [
            ("Decrypt", json!({"CiphertextBlob": ciphertext})),
            ("GenerateDataKey", json!({"KeyId": self.id, "KeySpec": "AES_256"})),
            ("GenerateRandom", json!({"NumberOfBytes": 24})),
        ]
    }
}

#[test]
fn a_recipient_gets_what_only_it_can_read_and_the_answer_is_else_the_same() {
    let scene = Scene::new();
    for (operation, request) in scene.requests() {
        let plain = scene.site.kms(operation, &request).ok();
        let answer = scene.site.kms(operation, &merged(request, scene.recipient())).ok();
        let members = |answer: &Value, but: &str| -> Vec<String> {
            answer.as_object().unwrap().keys().filter(|name| *name != but).cloned().collect()
        };
        assert_eq!(members(&answer, "CiphertextForRecipient"), members(&plain, "Plaintext"), "{operation}");
        let opened = scene.enclave.open_answer(&answer);
        match operation {
            "Decrypt" => {
                assert_eq!(encode_base64(&opened), PLAINTEXT);
                assert_eq!(answer["KeyId"], json!(key_arn(&scene.id)));
                assert_eq!(answer["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
            }
            "GenerateDataKey" => {
                let decrypt = json!({"CiphertextBlob": answer["CiphertextBlob"]});
                let data_key = scene.site.kms("Decrypt", &decrypt).text("Plaintext");
                assert_eq!(decode_base64(&data_key).unwrap(), opened);
                assert_eq!(opened.len(), 32);
            }
            _ => assert_eq!(opened.len(), 24),
        }
    }
    let largest = json!({"KeyId": scene.id, "NumberOfBytes": 1024});
    let answer = scene.site.kms("GenerateDataKey", &merged(largest, scene.recipient())).ok();
    assert_eq!(scene.enclave.open_answer(&answer).len(), 1024);
}

/// The private key in DER as OpenSSL reads it, made public again.
fn public_half(site: &Site, private_key: &[u8]) -> Vec<u8> {
    site.write("private.der", private_key);
    site.openssl_ok(&["pkey", "-inform", "DER", "-in", "private.der", "-pubout", "-outform", "DER"])
}

#[test]
fn the_private_key_of_a_data_key_pair_is_for_the_recipient_alone() {
    let scene = Scene::new();
    let request = json!({"KeyId": scene.id, "KeyPairSpec": "ECC_NIST_P256"});
    let answer = scene.site.kms("GenerateDataKeyPair", &merged(request.clone(), scene.recipient()));
    assert_eq!(answer.ok().get("PrivateKeyPlaintext"), None);
    let opened = scene.enclave.open_answer(&answer.ok());
    assert_eq!(public_half(&scene.site, &opened), answer.bytes("PublicKey"));
    let decrypt = json!({"CiphertextBlob": answer.ok()["PrivateKeyCiphertextBlob"]});
    assert_eq!(scene.site.kms("Decrypt", &decrypt).bytes("Plaintext"), opened);
    let plain = scene.site.kms("GenerateDataKeyPair", &request).ok();
    assert!(plain.get("CiphertextForRecipient").is_none() && plain["PrivateKeyPlaintext"].is_string());
    let record = scene.site.recorded("GenerateDataKeyPair", &merged(request, scene.recipient()));
    let recorded = &record["additionalEventData"]["recipient"]["attestationDocumentEnclaveImageDigest"];
    assert_eq!(*recorded, json!(scene.enclave.pcr(0)));
}

#[test]
fn a_shared_secret_is_for_the_recipient_alone() {
    let scene = Scene::new();
    let [own, peer] = [(); 2].map(|()| scene.site.create_key_of("ECC_NIST_P256", "KEY_AGREEMENT"));
    let peer = encode_base64(&scene.site.public_key_of(&peer));
    let request = json!({"KeyId": own, "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer});
    let answer = scene.site.kms("DeriveSharedSecret", &merged(request.clone(), scene.recipient())).ok();
    assert_eq!(answer.get("SharedSecret"), None);
    let plain = scene.site.kms("DeriveSharedSecret", &request);
    assert_eq!(scene.enclave.open_answer(&answer), plain.bytes("SharedSecret"));
    assert_eq!(plain.ok().get("CiphertextForRecipient"), None);
    let condition = json!({"StringEquals": {"kms:RecipientAttestation:PCR1": scene.enclave.pcr(1)}});
    let user = scene.site.new_user(
        "enclave",
        &json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kms:DeriveSharedSecret", "Resource": "*", "Condition": condition,
        }}),
    );
    let by_user = |request: &Value| scene.site.kms_by(&user, "DeriveSharedSecret", request);
    assert_eq!(by_user(&request).error().0, "AccessDeniedException");
    by_user(&merged(request, scene.recipient())).ok();
}

#[test]
fn without_root_certificates_a_recipient_is_refused_and_nothing_is_answered() {
    let site = Site::start_with(&Setup::kms());
    let (pki, enclave) = (NitroPki::new(), Enclave::new(KeySize::Rsa2048));
    let id = site.create_kms_key();
    let scene = Scene { pki, enclave, site, id };
    for (operation, request) in scene.requests() {
        let reply = scene.site.kms(operation, &merged(request, scene.recipient()));
        reply.assert_error("UnsupportedOperationException", UNSUPPORTED);
    }
}

#[test]
fn an_invalid_recipient_is_refused_and_never_answered_in_the_clear() {
    let scene = Scene::new();
    let document = scene.pki.document(&scene.enclave);
    let stranger = NitroPki::new().document(&scene.enclave);
    let text = "The attestation document in Recipient is not valid: ";
    for (operation, request) in scene.requests() {
        for (recipient, expected) in [
            (json!({}), "Recipient needs KeyEncryptionAlgorithm and AttestationDocument.".to_owned()),
            (
                json!({"AttestationDocument": encode_base64(&document)}),
                "Recipient needs KeyEncryptionAlgorithm and AttestationDocument.".to_owned(),
            ),
            (
                json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
                "Recipient needs KeyEncryptionAlgorithm and AttestationDocument.".to_owned(),
            ),
            (recipient(b"{}"), format!("{text}it is not a COSE_Sign1 structure.")),
            (
                recipient(&stranger),
                format!("{text}its certificate chain does not lead to a trusted root certificate."),
            ),
        ] {
            let reply = scene.site.kms(operation, &merged(request.clone(), json!({"Recipient": recipient})));
            reply.assert_error("ValidationException", &expected);
        }
        for recipient in [
            json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_1", "AttestationDocument": "AA=="}),
            json!({"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": ""}),
        ] {
            let reply = scene.site.kms(operation, &merged(request.clone(), json!({"Recipient": recipient})));
            assert_eq!(reply.error().0, "ValidationException", "{operation} {recipient}");
        }
    }
    scene.site.advance_clock("6m");
    let stale = json!({"NumberOfBytes": 8, "Recipient": recipient(&document)});
    let expected = format!("{text}it is older than five minutes.");
    scene.site.kms("GenerateRandom", &stale).assert_error("ValidationException", &expected);
}

#[test]
fn an_operation_that_knows_no_recipient_ignores_it() {
    let scene = Scene::new();
    for recipient in [json!({"AttestationDocument": "AA=="}), json!("nobody")] {
        let request = json!({"KeyId": scene.id, "KeySpec": "AES_256", "Recipient": recipient});
        let answer = scene.site.kms("GenerateDataKeyWithoutPlaintext", &request).ok();
        assert!(answer.get("CiphertextForRecipient").is_none());
    }
    let nobody = json!({"NumberOfBytes": 8, "Recipient": null});
    assert_eq!(decode_base64(&scene.site.kms("GenerateRandom", &nobody).text("Plaintext")).unwrap().len(), 8);
}

#[test]
fn a_rehearsal_with_a_recipient_is_one() {
    let scene = Scene::new();
    for (operation, request) in scene.requests().into_iter().filter(|(name, _)| *name != "GenerateRandom") {
        let request = merged(request, json!({"DryRun": true}));
        let rehearsed = scene.site.kms(operation, &merged(request.clone(), scene.recipient()));
        assert_eq!(rehearsed.error().0, "DryRunOperationException", "{operation}");
        let invalid = scene.site.kms(operation, &merged(request, json!({"Recipient": recipient(b"no")})));
        assert_eq!(invalid.error().0, "ValidationException", "{operation}");
    }
}

/// A key policy that lets users of the account use the key if this holds.
fn allowing_if(condition: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
         "NotAction": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
         "Resource": "*", "Condition": condition},
    ]})
    .to_string()
}

#[test]
fn key_policies_can_ask_which_enclave_it_is() {
    let scene = Scene::new();
    let [decrypt, data_key, _] = scene.requests();
    let (image, pcr8) = (scene.enclave.pcr(0), scene.enclave.pcr(8));
    let mut other = Enclave::new(KeySize::Rsa2048);
    other.pcrs[0].1[47] ^= 1;
    other.pcrs.retain(|(index, _)| *index != 8);
    let foreign = json!({"Recipient": recipient(&scene.pki.document(&other))});
    for condition in [
        json!({"StringEquals": {"kms:RecipientAttestation:ImageSha384": image}}),
        json!({"StringEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": image.to_uppercase()}}),
        json!({"StringEquals": {"kms:RecipientAttestation:PCR0": image}}),
        json!({"StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR8": pcr8}}),
        json!({"StringEquals": {"KMS:recipientattestation:pcr8": pcr8}}),
        json!({"StringEquals": {"kms:RecipientAttestation:ImageSha384": image,
                                "kms:RecipientAttestation:PCR8": pcr8}}),
    ] {
        let put = json!({"KeyId": scene.id, "PolicyName": "default", "Policy": allowing_if(&condition),
                         "BypassPolicyLockoutSafetyCheck": true});
        scene.site.kms("PutKeyPolicy", &put).ok();
        for (operation, request) in [&decrypt, &data_key] {
            let send = |more: Value| scene.site.kms(operation, &merged(request.clone(), more));
            send(scene.recipient()).ok();
            for more in [json!({}), foreign.clone()] {
                let refused = send(more).error().0;
                assert_eq!(refused, "AccessDeniedException", "{operation} {condition}");
            }
        }
    }
    let upper = json!({"StringEquals": {"kms:RecipientAttestation:ImageSha384": image.to_uppercase()}});
    assert_ne!(image, image.to_uppercase());
    let put = json!({"KeyId": scene.id, "PolicyName": "default", "Policy": allowing_if(&upper),
                     "BypassPolicyLockoutSafetyCheck": true});
    scene.site.kms("PutKeyPolicy", &put).ok();
    let reply = scene.site.kms(decrypt.0, &merged(decrypt.1, scene.recipient()));
    assert_eq!(reply.error().0, "AccessDeniedException");
}

#[test]
fn identity_policies_can_ask_which_enclave_it_is_also_of_random_bytes() {
    let scene = Scene::new();
    let user = scene.site.new_user(
        "enclave",
        &json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kms:*", "Resource": "*",
            "Condition": {"StringEquals": {"kms:RecipientAttestation:PCR2": scene.enclave.pcr(2)}},
        }}),
    );
    for (operation, request) in scene.requests() {
        assert_eq!(
            scene.site.kms_by(&user, operation, &request).error().0,
            "AccessDeniedException",
            "{operation}"
        );
        let answer = scene.site.kms_by(&user, operation, &merged(request, scene.recipient())).ok();
        assert!(!scene.enclave.open_answer(&answer).is_empty());
    }
}

#[test]
fn a_document_is_looked_at_before_anything_is_authorized() {
    let scene = Scene::new();
    let nobody = scene.site.new_user(
        "nobody",
        &json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "*",
        }}),
    );
    for (operation, request) in scene.requests() {
        let invalid = merged(request.clone(), json!({"Recipient": recipient(b"no")}));
        assert_eq!(scene.site.kms_by(&nobody, operation, &invalid).error().0, "ValidationException");
        let valid = merged(request, scene.recipient());
        assert_eq!(scene.site.kms_by(&nobody, operation, &valid).error().0, "AccessDeniedException");
    }
}

#[test]
fn the_trail_says_which_enclave_got_an_answer() {
    let scene = Scene::new();
    let expected = json!({
        "attestationDocumentModuleId": "i-0123456789abcdef0-enc0123456789abcdef",
        "attestationDocumentEnclaveImageDigest": scene.enclave.pcr(0),
        "attestationDocumentEnclavePCR1": scene.enclave.pcr(1),
        "attestationDocumentEnclavePCR2": scene.enclave.pcr(2),
        "attestationDocumentEnclavePCR3": scene.enclave.pcr(3),
        "attestationDocumentEnclavePCR4": scene.enclave.pcr(4),
        "attestationDocumentEnclavePCR8": scene.enclave.pcr(8),
    });
    for (operation, request) in scene.requests() {
        let record = scene.site.recorded(operation, &merged(request.clone(), scene.recipient()));
        assert_eq!(record["additionalEventData"], json!({"recipient": expected}), "{operation}");
        assert!(!record["requestParameters"].to_string().contains("ecipient"), "{record}");
        let plain = scene.site.recorded(operation, &request);
        assert_eq!(plain.get("additionalEventData"), None, "{operation}");
        assert_eq!(plain["requestParameters"], record["requestParameters"]);
    }
    let draft = {
        let mut draft = scene.pki.draft(&scene.enclave, now_millis());
        draft.set("pcrs", map([(number(0, 0), bytes(&[0xab; 48]))]));
        json!({"NumberOfBytes": 8, "Recipient": recipient(&scene.pki.sign(&draft))})
    };
    let record = scene.site.recorded("GenerateRandom", &draft);
    let few = json!({"attestationDocumentModuleId": "i-0123456789abcdef0-enc0123456789abcdef",
                     "attestationDocumentEnclaveImageDigest": "ab".repeat(48)});
    assert_eq!(record["additionalEventData"]["recipient"], few);
}

#[test]
fn roots_change_while_requests_go_on() {
    let scene = Scene::new();
    let other = NitroPki::new();
    let request =
        |pki: &NitroPki| json!({"NumberOfBytes": 8, "Recipient": recipient(&pki.document(&scene.enclave))});
    let is_served = |pki: &NitroPki| scene.site.kms("GenerateRandom", &request(pki)).0.status == 200;
    assert!(is_served(&scene.pki) && !is_served(&other));
    // The file is watched.
    std::fs::write(scene.site.path(ROOTS_FILE), &other.root_pem).unwrap();
    scene.site.wait_until("the other root", || is_served(&other));
    assert!(!is_served(&scene.pki));
    // What is no root certificate leaves the old ones in force.
    std::fs::write(scene.site.path(ROOTS_FILE), "nothing").unwrap();
    scene.site.wait_until("a refusal", || scene.site.log().contains("no certificate as PEM"));
    assert!(is_served(&other));
    let checked = scene.site.holdfast(&["config", "check"]);
    assert!(String::from_utf8_lossy(&checked.stderr).contains("no certificate as PEM"), "{checked:?}");
    let without = |text: String| {
        text.replace("[kms.attestation]\n", "")
            .replace(&format!("root_certificates_file = \"{ROOTS_FILE}\"\n"), "")
    };
    scene.site.edit_configuration(without);
    let refusal = || scene.site.kms("GenerateRandom", &request(&other)).error().0;
    scene
        .site
        .wait_until("no recipients", || scene.site.kms("GenerateRandom", &request(&other)).0.status != 200);
    assert_eq!(refusal(), "UnsupportedOperationException");
}
