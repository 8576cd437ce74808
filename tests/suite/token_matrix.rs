//! One suite of stories over four tokens; what a token cannot do is refused by name, and is a row of its table too.
//!
//! `tests/golden/tokens/` has what each can do, and `tests/golden/token_matrix.md` all of it as a table.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::kinds_of_keys::MESSAGE;
use crate::support::kms_stories::PLAINTEXT;
use crate::support::site::merged;
use crate::support::token_sites::{SlotDaemon, Token};
use crate::support::{Setup, Site};

const DATA: &[u8] = b"Hello World!";
const GOLDEN: &str = "tests/golden/tokens";
const NOT_IN_SERVICE: &str = "not in service";

/// What a token can do, row by row.
#[derive(Default)]
struct Column(Vec<(String, String)>);

impl Column {
    fn add(&mut self, row: &str, cell: impl Into<String>) {
        self.0.push((row.to_owned(), cell.into()));
    }

    fn text(&self) -> String {
        self.0.iter().map(|(row, cell)| format!("{row} | {cell}\n")).collect()
    }
}

fn golden_file(token: Token) -> PathBuf {
    let name = token.name().split(' ').next().unwrap().to_lowercase();
    Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN).join(format!("{name}.txt"))
}

/// `UPDATE_GOLDEN=1` writes it anew; the difference is for a reviewer to read.
#[track_caller]
fn assert_golden(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(file).unwrap_or_default(), "{}", file.display());
}

/// No software provider: what the token lacks is to be seen.
fn setup() -> Setup {
    let setup = Setup::kms();
    let kms = setup.kms.unwrap_or_default() + "[kms.software_provider]\nkey_specs = []\n";
    Setup { kms: Some(kms), ..Setup::default() }
}

#[track_caller]
fn tell(token: Token) {
    if !token.is_here() {
        return;
    }
    let site = token.prepare(&setup());
    site.run();
    site.wait_ready();
    let mut column = Column::default();
    tell_of_proxy(&site, &mut column);
    for (spec, usage) in KINDS {
        column.add(&format!("KMS {spec} {usage}"), story_of_key(&site, spec, usage));
    }
    assert_golden(&golden_file(token), &column.text());
}

fn tell_of_proxy(site: &Site, column: &mut Column) {
    column.add("`holdfast check`", conformance(site));
    let encrypted = round_trip(site, "foo");
    column.add("XKS Encrypt and Decrypt, with and without CDIV", "yes");
    let health = site.health().assert_ok().json();
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
    column.add("vendor in GetHealthStatus", health["ekmVendor"].as_str().unwrap());
    column.add("key made, listed, rotated, disabled, deleted", keys_are_managed(site));
    column.add("key destroyed by another program", a_destroyed_key_is_missed(site));
    site.stop();
    site.run();
    site.wait_ready();
    assert_eq!(site.decrypt("foo", &encrypted, json!({})).assert_ok().bytes("plaintext"), DATA);
    column.add("restart", "yes");
}

fn conformance(site: &Site) -> &'static str {
    let output = crate::conformance_client::check(site, &["--json"], &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&report["failed"], &report["conforming"]), (&0.into(), &true.into()), "{report:#}");
    "conforms"
}

fn round_trip(site: &Site, key: &str) -> Value {
    let cdiv = json!({"ciphertextDataIntegrityValueAlgorithm": "SHA_256"});
    let mut encrypted = Value::Null;
    for members in [cdiv, json!({})] {
        encrypted = site.encrypt(key, DATA, members).assert_ok().json();
        assert_eq!(site.decrypt(key, &encrypted, json!({})).assert_ok().bytes("plaintext"), DATA);
        let tampered = merged(encrypted.clone(), json!({"authenticationTag": "AAAAAAAAAAAAAAAAAAAAAA=="}));
        site.decrypt(key, &tampered, json!({})).assert_error(400, "InvalidCiphertextException");
    }
    encrypted
}

fn keys_are_managed(site: &Site) -> &'static str {
    site.holdfast_ok(&["key", "create", "matrix"]);
    assert!(site.holdfast_ok(&["key", "list"]).contains("matrix"));
    let before = round_trip(site, "matrix");
    site.holdfast_ok(&["key", "rotate", "matrix"]);
    let after = round_trip(site, "matrix");
    assert_ne!(before["ciphertextMetadata"], after["ciphertextMetadata"]);
    assert_eq!(site.decrypt("matrix", &before, json!({})).assert_ok().bytes("plaintext"), DATA);
    site.holdfast_ok(&["key", "disable", "matrix"]);
    site.encrypt("matrix", DATA, json!({})).assert_error(400, "InvalidStateException");
    site.holdfast_ok(&["key", "enable", "matrix"]);
    round_trip(site, "matrix");
    site.holdfast_ok(&["key", "delete", "matrix", "--confirm", "matrix"]);
    site.encrypt("matrix", DATA, json!({})).assert_error(404, "KeyNotFoundException");
    "yes"
}

/// By a program that the daemon knows nothing of: the same command, with a control socket of its own.
fn a_destroyed_key_is_missed(site: &Site) -> &'static str {
    site.holdfast_ok(&["key", "create", "doomed"]);
    round_trip(site, "doomed");
    let configuration = std::fs::read_to_string(site.path("holdfast.toml")).unwrap();
    let elsewhere = configuration.replace("state_dir = \"state\"", "state_dir = \"elsewhere\"");
    std::fs::write(site.path("elsewhere.toml"), elsewhere).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["key", "delete", "doomed", "--confirm", "doomed", "--config"])
        .arg(site.path("elsewhere.toml"))
        .current_dir(site.folder.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("doomed"), "{output:?}");
    site.wait_until("the loss", || site.encrypt("doomed", DATA, json!({})).status == 404);
    round_trip(site, "foo");
    "noticed at the next request"
}

const KINDS: [(&str, &str); 14] = [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    ("HMAC_224", "GENERATE_VERIFY_MAC"),
    ("HMAC_256", "GENERATE_VERIFY_MAC"),
    ("HMAC_512", "GENERATE_VERIFY_MAC"),
    ("RSA_2048", "SIGN_VERIFY"),
    ("RSA_2048", "ENCRYPT_DECRYPT"),
    ("ECC_NIST_P256", "SIGN_VERIFY"),
    ("ECC_NIST_P256", "KEY_AGREEMENT"),
    ("ECC_NIST_P384", "SIGN_VERIFY"),
    ("ECC_NIST_P521", "SIGN_VERIFY"),
    ("ECC_SECG_P256K1", "SIGN_VERIFY"),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
    ("ML_DSA_65", "SIGN_VERIFY"),
    ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
];

/// Made and used, or refused with what is lacking.
fn story_of_key(site: &Site, spec: &str, usage: &str) -> String {
    let made = site.kms("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage}));
    if made.0.status != 200 {
        let (name, message) = made.error();
        assert_eq!(name, "UnsupportedOperationException", "{spec} {usage}: {message}");
        assert!(!message.is_empty());
        // Refused by name, and nothing is broken.
        assert_eq!(site.admin_status("/readyz"), Some(200));
        return format!("not available: {}", message.trim_start_matches("HSM softhsm lacks "));
    }
    let id = made.ok()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    match usage {
        "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" => symmetric(site, &id),
        "ENCRYPT_DECRYPT" => decrypts(site, &id),
        "SIGN_VERIFY" => signs(site, &id),
        "GENERATE_VERIFY_MAC" => makes_macs(site, &id, &spec.replace("HMAC", "HMAC_SHA")),
        "KEY_AGREEMENT" => agrees(site, &id),
        _ => encapsulates(site, &id),
    }
    "yes".to_owned()
}

fn symmetric(site: &Site, id: &str) {
    let blob = |answer: &crate::support::kms::KmsReply| answer.text("CiphertextBlob");
    let before = blob(&site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT})));
    let data_key = site.kms("GenerateDataKey", &json!({"KeyId": id, "KeySpec": "AES_256"}));
    let opened = site.kms("Decrypt", &json!({"CiphertextBlob": blob(&data_key)})).text("Plaintext");
    assert_eq!(opened, data_key.text("Plaintext"));
    site.kms("RotateKeyOnDemand", &json!({"KeyId": id})).ok();
    let after = blob(&site.kms("Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT})));
    for blob in [before, after] {
        assert_eq!(site.kms("Decrypt", &json!({"CiphertextBlob": blob})).text("Plaintext"), PLAINTEXT);
    }
}

fn decrypts(site: &Site, id: &str) {
    for algorithm in ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"] {
        let of = json!({"KeyId": id, "EncryptionAlgorithm": algorithm});
        let encrypted = site.kms("Encrypt", &merged(of.clone(), json!({"Plaintext": PLAINTEXT})));
        let request = merged(of, json!({"CiphertextBlob": encrypted.text("CiphertextBlob")}));
        assert_eq!(site.kms("Decrypt", &request).text("Plaintext"), PLAINTEXT);
    }
}

fn signs(site: &Site, id: &str) {
    let key = site.kms("DescribeKey", &json!({"KeyId": id})).ok()["KeyMetadata"].clone();
    for algorithm in key["SigningAlgorithms"].as_array().unwrap() {
        // The HSM has no mechanism for it, or not with this parameter; the others of the key work.
        if algorithm == "ED25519_PH_SHA_512" {
            continue;
        }
        let request = json!({
            "KeyId": id, "Message": proxy_api::wire::encode_base64(MESSAGE), "SigningAlgorithm": algorithm,
        });
        let signature = site.kms("Sign", &request).text("Signature");
        let verified = site.kms("Verify", &merged(request, json!({"Signature": signature})));
        assert_eq!(verified.ok()["SignatureValid"], true, "{algorithm}");
    }
}

fn makes_macs(site: &Site, id: &str, algorithm: &str) {
    let request = json!({"KeyId": id, "Message": PLAINTEXT, "MacAlgorithm": algorithm});
    let mac = site.kms("GenerateMac", &request).text("Mac");
    assert_eq!(site.kms("VerifyMac", &merged(request, json!({"Mac": mac}))).ok()["MacValid"], true);
}

fn agrees(site: &Site, id: &str) {
    let peer = site.create_key_of("ECC_NIST_P256", "KEY_AGREEMENT");
    let public = |key: &str| site.kms("GetPublicKey", &json!({"KeyId": key})).text("PublicKey");
    let shared = |key: &str, other: &str| {
        let request = json!({"KeyId": key, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public(other)});
        site.kms("DeriveSharedSecret", &request).text("SharedSecret")
    };
    assert_eq!(shared(id, &peer), shared(&peer, id));
}

fn encapsulates(site: &Site, id: &str) {
    let of = json!({"KeyId": id, "EncapsulationAlgorithm": "ML_KEM"});
    let made = site.kms("Encapsulate", &of);
    let blob = made.text("SharedSecretCiphertextBlob");
    let request = merged(of, json!({"SharedSecretCiphertextBlob": blob}));
    assert_eq!(site.kms("Decapsulate", &request).text("SharedSecret"), made.text("SharedSecret"));
}

#[test]
fn softhsm_does_what_its_table_says() {
    tell(Token::SoftHsm);
}

#[test]
fn nss_softokn_does_what_its_table_says() {
    tell(Token::Nss);
}

#[test]
fn kryoptic_does_what_its_table_says() {
    tell(Token::Kryoptic);
}

/// The soft token of openCryptoki cannot encrypt with AES-GCM.
#[test]
fn opencryptoki_is_refused_at_the_start_with_what_it_lacks() {
    let token = Token::OpenCryptoki;
    if !token.is_here() {
        return;
    }
    let site = token.prepare(&setup());
    let slots = SlotDaemon::start(&site);
    site.run();
    let lacks = "the token has no mechanism CKM_AES_GCM";
    site.wait_until("a refusal", || {
        site.admin("/readyz").is_some_and(|(status, text)| status == 503 && text.contains(lacks))
    });
    site.wait_until("the log", || {
        site.log().contains(&format!("HSM softhsm is UNAVAILABLE: {lacks}"))
            || site.log().contains(&format!("HSM fault: {lacks}"))
    });
    site.encrypt("foo", DATA, json!({})).assert_error(500, "InternalException");
    let mut column = Column::default();
    column.add("`holdfast check`", format!("{NOT_IN_SERVICE}: {lacks}"));
    assert_golden(&golden_file(token), &column.text());
    // In this order: it stays as long as it has clients.
    drop(site);
    drop(slots);
}

/// A session that the token loses, and a login, cost no request on any of them.
#[track_caller]
fn heals(token: Token) {
    if !token.is_here() {
        return;
    }
    let site = token.prepare(&Setup::quiet(1));
    site.run();
    site.wait_ready();
    let encrypted = round_trip(&site, "foo");
    for code in ["CKR_SESSION_CLOSED", "CKR_SESSION_HANDLE_INVALID", "CKR_USER_NOT_LOGGED_IN", "0x82"] {
        for function in ["C_EncryptInit", "C_DecryptInit"] {
            let made = site.calls_during(|| {
                site.inject(&format!("{function} code={code} count=1"));
                round_trip(&site, "foo");
            });
            site.inject("");
            assert_eq!(made.get("C_Finalize"), None, "{code}: {made:?}");
        }
    }
    // As if the HSM had been started anew, with everything in it that was open.
    site.inject("C_EncryptInit code=CKR_CRYPTOKI_NOT_INITIALIZED\nC_GetSlotList code=0x190 count=1");
    site.encrypt("foo", DATA, json!({})).assert_error(500, "InternalException");
    site.wait_until("a new initialization", || site.calls_of("C_Finalize") > 0);
    site.inject("");
    site.wait_until("service", || site.encrypt("foo", DATA, json!({})).status == 200);
    assert_eq!(site.decrypt("foo", &encrypted, json!({})).assert_ok().bytes("plaintext"), DATA);
}

#[test]
fn nss_softokn_heals_from_lost_sessions_logins_and_libraries() {
    heals(Token::Nss);
}

#[test]
fn kryoptic_heals_from_lost_sessions_logins_and_libraries() {
    heals(Token::Kryoptic);
}

/// Rows by name, in the order of the first token, with a cell for each token.
fn matrix() -> String {
    let columns: Vec<Vec<(String, String)>> = Token::ALL.iter().map(|token| read_column(*token)).collect();
    let names = Token::ALL.map(Token::name).join(" | ");
    let mut table = format!("| | {names} |\n| --- | --- | --- | --- | --- |\n");
    for (row, _) in &columns[0] {
        let cells = columns.iter().map(|column| {
            let found = column.iter().find(|(name, _)| name == row);
            found.map_or(NOT_IN_SERVICE, |(_, cell)| cell).to_owned()
        });
        table += &format!("| {row} | {} |\n", cells.collect::<Vec<_>>().join(" | "));
    }
    table
}

fn read_column(token: Token) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(golden_file(token)).unwrap();
    let cells = text.lines().map(|line| line.split_once(" | ").unwrap());
    cells.map(|(row, cell)| (row.to_owned(), cell.to_owned())).collect()
}

#[test]
fn the_table_of_tokens_is_made_of_what_each_can_do() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/token_matrix.md");
    assert_golden(&file, &matrix());
}
