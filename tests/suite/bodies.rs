//! XKS v1, Encrypt and Decrypt: the members of bodies, their types, Base64, sizes, and the shape of answers.

use proxy_api::wire::encode_base64;
use serde_json::{Value, json};

use crate::support::requests::{PATHS, operation_of};
use crate::support::site::merged;
use crate::support::{Reply, Setup, Site, metadata};

const AAD: &str = "additionalAuthenticatedData";
const CDIV_ALGORITHM: &str = "ciphertextDataIntegrityValueAlgorithm";

/// The members of each request that are Base64.
fn base64_members(path: &str) -> &'static [&'static str] {
    match operation_of(path) {
        "Encrypt" => &["plaintext", AAD],
        "Decrypt" => &["ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata", AAD],
        _ => &[],
    }
}

#[track_caller]
fn assert_invalid(reply: &Reply, member: &str) {
    reply.assert_error(400, "ValidationException");
    let message = reply.text("errorMessage");
    assert!(message.contains(&format!("`{member}`")), "{message} does not name {member}");
}

/// Rows 3.1, 3.14, 4.1, 8.t1.
#[test]
fn each_required_member_is_missed_in_turn_and_none_may_have_another_type() {
    let site = Site::start();
    for (path, request) in site.right_requests() {
        let required = request.as_object().unwrap().keys().filter(|member| *member != "ciphertextMetadata");
        for member in required {
            let missing = merged(request.clone(), json!({ member.as_str(): null }));
            assert_invalid(&site.post(path, &missing), member);
        }
        let mut members: Vec<_> = request.as_object().unwrap().keys().map(String::as_str).collect();
        members.extend(base64_members(path));
        for member in members {
            for value in [json!(7), json!(true), json!([]), json!(["QQ=="]), json!({"a": "QQ=="})] {
                let mut wrong = request.clone();
                wrong[member] = value;
                let reply = site.post(path, &wrong);
                let is_metadata_object = member == "requestMetadata" && wrong[member].is_object();
                assert!(reply.status == 400 || is_metadata_object, "{path} {wrong}");
                reply.assert_error(400, "ValidationException");
            }
        }
    }
}

/// Rows 3.1, 4.1: which of two values counts is a question that nobody may have to ask.
#[test]
fn a_member_that_appears_twice_is_refused() {
    let site = Site::start();
    for (path, request) in site.right_requests() {
        let text = request.to_string();
        for (member, value) in request.as_object().unwrap() {
            let twice = text.replacen('{', &format!("{{\"{member}\":{value},"), 1);
            assert_invalid(&site.post_bytes(path, twice), member);
        }
        for (member, value) in request["requestMetadata"].as_object().unwrap() {
            let start = r#""requestMetadata":{"#;
            let twice = text.replacen(start, &format!("{start}\"{member}\":{value},"), 1);
            assert_invalid(&site.post_bytes(path, twice), member);
        }
        // The same member, spelled with an escape.
        let twice = text.replacen('{', r#"{"requestMetadat\u0061":{},"#, 1);
        assert_invalid(&site.post_bytes(path, twice), "requestMetadata");
    }
}

/// Rows 1.1, 8.1, 8.t1.
#[test]
fn what_is_not_one_json_object_is_refused() {
    let site = Site::start();
    for (path, request) in site.right_requests() {
        let text = request.to_string();
        let deep = format!("{{\"later\":{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let bodies = [
            b"".to_vec(),
            b"null".to_vec(),
            b"[]".to_vec(),
            b"\"{}\"".to_vec(),
            b"\xff\xfe{\0}\0".to_vec(),
            b"\0".to_vec(),
            b"requestMetadata=x".to_vec(),
            b"<requestMetadata/>".to_vec(),
            deep.into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            format!("[{text}]").into_bytes(),
            format!("{text}{text}").into_bytes(),
            format!("{text},").into_bytes(),
            text.as_bytes()[..text.len() - 1].to_vec(),
            text.replace(':', "=").into_bytes(),
            text.replace('"', "'").into_bytes(),
            text.replacen('{', "{/**/", 1).into_bytes(),
            text.replacen('{', "{,", 1).into_bytes(),
            [&text.as_bytes()[..text.len() - 1], b",\"later\":\"\xff\"}"].concat(),
            text.replacen('{', "{\"later\":\"\n\",", 1).into_bytes(),
            text.replacen('{', "{\"later\":01,", 1).into_bytes(),
            text.replacen('{', "{\"later\":NaN,", 1).into_bytes(),
        ];
        for body in bodies {
            site.post_bytes(path, body).assert_error(400, "ValidationException");
        }
        for right in [
            serde_json::to_string_pretty(&request).unwrap(),
            format!("\r\n\t {text} \n"),
            text.replace('/', "\\/"),
            text.replacen("kmsOperation", "\\u006bmsOperation", 1),
        ] {
            site.post_bytes(path, right).assert_ok();
        }
    }
}

/// Rows 1.25, 4.8.
#[test]
fn base64_is_the_padded_standard_alphabet_and_nothing_else() {
    let site = Site::start();
    for (path, request) in site.right_requests() {
        for member in base64_members(path) {
            for text in [
                "_-8=",
                "QQ",
                "QQ=",
                "QQ===",
                "QR==",
                "Q Q=",
                " QQ==",
                "QQ==\n",
                "QUJD\r\nQUJD",
                "=",
                "QQ==QQ==",
                "Q\u{e9}==",
                "QUI\u{ff1d}",
                "%2B%2B8=",
                "QQ==,",
            ] {
                let reply = site.post(path, &merged(request.clone(), json!({ *member: text })));
                assert_invalid(&reply, member);
            }
        }
        if path == PATHS[2] {
            let every_digit = encode_base64(&(0..=255).collect::<Vec<u8>>());
            assert!(every_digit.contains('+') && every_digit.contains('/'));
            site.post(path, &merged(request, json!({ "plaintext": every_digit }))).assert_ok();
        }
    }
}

/// Rows 3.2, 3.8, 4.1.
#[test]
fn only_the_algorithms_of_version_1_are_known() {
    let site = Site::start();
    let [_, _, (encrypt_path, encrypt), (decrypt_path, decrypt)] = site.right_requests();
    for (path, request, member) in [
        (encrypt_path, &encrypt, "encryptionAlgorithm"),
        (decrypt_path, &decrypt, "encryptionAlgorithm"),
        (encrypt_path, &encrypt, CDIV_ALGORITHM),
    ] {
        for name in
            ["", "aes_gcm", "AES_GCM ", "AES_CBC", "AES_256_GCM", "SHA_512", "sha_256", "SHA-256", "NONE"]
        {
            assert_invalid(&site.post(path, &merged(request.clone(), json!({ member: name }))), member);
        }
    }
    // Decrypt has no CDIV, so that the member is one that it does not know.
    site.post(decrypt_path, &merged(decrypt, json!({ CDIV_ALGORITHM: "SHA_512" }))).assert_ok();
}

/// A request at the limits of what must work: two ARNs of 2048 characters, and these many bytes.
fn large(site: &Site, plaintext_bytes: usize, aad_bytes: usize) -> (Reply, Value) {
    let arn = format!("arn:aws:iam::123456789012:user/{}", "a".repeat(2048 - 31));
    let request_metadata =
        merged(metadata("Encrypt"), json!({"awsPrincipalArn": arn, "kmsKeyArn": arn, "kmsViaService": arn}));
    let members = json!({"requestMetadata": request_metadata, AAD: encode_base64(&vec![0xa5; aad_bytes])});
    (site.encrypt("foo", &vec![0x5a; plaintext_bytes], members.clone()), members)
}

/// Rows 1.24, 3.3–3.6, 4.2, 8.t10; peer fault 2.
#[test]
fn sizes_up_to_the_limits_work_and_above_them_are_unsupported() {
    let site = Site::start();
    let pid = site.pid();
    for (plaintext_bytes, aad_bytes) in [(4300, 8192), (8192, 16_384), (0, 16_384), (8192, 0)] {
        let (reply, members) = large(&site, plaintext_bytes, aad_bytes);
        let decrypted = site.decrypt("foo", &reply.assert_ok().json(), members);
        assert_eq!(decrypted.assert_ok().bytes("plaintext"), vec![0x5a; plaintext_bytes]);
    }
    let encrypted = large(&site, 4300, 8192).0.json();
    for (plaintext_bytes, aad_bytes) in
        [(8193, 0), (0, 16_385), (8193, 16_385), (0, 65_535), (0, 65_536), (65_536, 65_536), (1 << 20, 0)]
    {
        let (reply, members) = large(&site, plaintext_bytes, aad_bytes);
        reply.assert_error(501, "UnsupportedOperationException");
        let longer = json!({ "ciphertext": encode_base64(&vec![0x5a; plaintext_bytes]) });
        site.decrypt("foo", &encrypted, merged(members, longer))
            .assert_error(501, "UnsupportedOperationException");
    }
    site.health().assert_ok();
    assert_eq!((site.exit_status(), site.pid()), (None, pid));
}

/// Rows 3.5, 3.6, 6.2; peer fault 2: with every limit at its highest, the length of the AAD still fits its two bytes.
#[test]
fn aad_of_65_536_bytes_is_refused_by_encrypt_and_by_decrypt() {
    let limits = "plaintext_bytes_max = 65536\naad_bytes_max = 65535".to_owned();
    let site = Site::start_with(&Setup { limits, ..Setup::default() });
    let (reply, members) = large(&site, 65_536, 65_535);
    let encrypted = reply.assert_ok().json();
    let decrypted = site.decrypt("foo", &encrypted, members.clone());
    assert_eq!(decrypted.assert_ok().bytes("plaintext").len(), 65_536);
    for aad_bytes in [65_536, 65_537, 70_000] {
        let (reply, members) = large(&site, 12, aad_bytes);
        reply.assert_error(501, "UnsupportedOperationException");
        site.decrypt("foo", &encrypted, members).assert_error(501, "UnsupportedOperationException");
    }
    site.decrypt("foo", &encrypted, members).assert_ok();
    site.edit_configuration(|text| text.replace("aad_bytes_max = 65535", "aad_bytes_max = 65536"));
    assert!(!site.holdfast(&["config", "check"]).status.success());
}

/// Rows 3.7, 3.9–3.12, 3.17, 4.7.
#[test]
fn an_answer_is_one_line_of_exact_lengths_without_nulls() {
    let site = Site::start();
    for plaintext_bytes in [0, 1, 15, 16, 17, 255, 4300] {
        let plaintext: Vec<u8> = (0..=255).cycle().take(plaintext_bytes).collect();
        for with_cdiv in [false, true] {
            let members = if with_cdiv { json!({ CDIV_ALGORITHM: "SHA_256" }) } else { json!({}) };
            let reply = site.encrypt("foo", &plaintext, members);
            let encrypted = reply.assert_ok().json();
            let mut members: Vec<_> = encrypted.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            let mut expected =
                vec!["authenticationTag", "ciphertext", "ciphertextMetadata", "initializationVector"];
            if with_cdiv {
                expected.insert(2, "ciphertextDataIntegrityValue");
                assert_eq!(reply.bytes("ciphertextDataIntegrityValue").len(), 32);
            }
            assert_eq!(members, expected);
            assert_eq!(reply.bytes("ciphertext").len(), plaintext_bytes);
            assert_eq!(reply.bytes("initializationVector").len(), 12);
            assert_eq!(reply.bytes("authenticationTag").len(), 16);
            assert!(reply.bytes("ciphertextMetadata").len() <= 20);
            assert!(!reply.body.contains(&b'\n') && !encrypted.to_string().contains("null"));

            let decrypted = site.decrypt("foo", &encrypted, json!({}));
            assert_eq!(decrypted.assert_ok().json(), json!({ "plaintext": encode_base64(&plaintext) }));
            assert!(!decrypted.body.contains(&b'\n'));
        }
    }
}

/// Rows 3.7, 6.2: absent and empty are the same on both sides.
#[test]
fn empty_parts_and_absent_parts_are_the_same() {
    let site = Site::prepare(&Setup::default());
    site.import_key("of-another-tool", b"1", "0123456789abcdef0123456789abcdef");
    site.run();
    site.wait_ready();
    let (absent, empty) = (json!({}), json!({ AAD: "" }));
    for (encrypt, decrypt) in [(&absent, &empty), (&empty, &absent)] {
        let encrypted = site.encrypt("foo", b"x", encrypt.clone()).assert_ok().json();
        site.decrypt("foo", &encrypted, decrypt.clone()).assert_ok();
    }
    let encrypted = site.encrypt("of-another-tool", b"x", absent).assert_ok().json();
    assert!(encrypted.get("ciphertextMetadata").is_none());
    site.decrypt("of-another-tool", &encrypted, json!({"ciphertextMetadata": ""})).assert_ok();
}
