//! Every return code in every call on the way of a request: what the caller is told, and what is done, as the table of
//! return codes says.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use holdfast::clock::SystemClock;
use holdfast::config::{Config, Hedging};
use holdfast::domain::kms::{KeySpec, KeyUsage};
use holdfast::key_manager::backing_key::{BackingKey, BackingKeys, Computation};
use holdfast::key_manager::pkcs11::HsmGroup;
use holdfast::key_manager::{
    BoundAad, Decrypt, Encrypt, Encrypted, HealthState, HsmError, KeyManager, Lookup,
};
use holdfast::secret::SecretBytes;

use crate::support::faults::Calls;
use crate::support::wrapped::{Keys, deadline, site, story};
use crate::wrapped_key_kinds::kind;

const PLAINTEXT: &[u8] = b"Hello World!";

/// The two tables of `golden/pkcs11_return_codes.txt`.
struct Table {
    remedies: HashMap<String, String>,
    rows: Vec<Row>,
}

/// A code, and whom it blames.
struct Row {
    code: String,
    name: String,
    decrypting: String,
    unwrapping: String,
    logging_in: String,
    otherwise: String,
}

impl Table {
    fn read() -> Self {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pkcs11_return_codes.txt");
        let text = std::fs::read_to_string(golden).unwrap();
        let mut parts = text.split("\n\n").map(|part| part.lines().skip(1).map(words));
        let remedies = parts.next().unwrap().map(|words| (words[0].clone(), words[1].clone())).collect();
        let rows = parts.next().unwrap().map(|words| {
            let [code, name, decrypting, unwrapping, logging_in, otherwise] = words.try_into().unwrap();
            Row { code, name, decrypting, unwrapping, logging_in, otherwise }
        });
        let rows: Vec<_> = rows.collect();
        assert!(rows.len() > 100, "{}", rows.len());
        Self { remedies, rows }
    }

    fn remedy(&self, blame: &str) -> &str {
        &self.remedies[blame]
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// What makes one call of each kind.
struct Requests<'a> {
    keys: &'a Keys,
    group: HsmGroup,
    encrypted: Encrypted,
    wrapped: BackingKey,
    signer: BackingKey,
}

impl<'a> Requests<'a> {
    fn new(keys: &'a Keys) -> Self {
        keys.opened();
        let group = HsmGroup::new(
            "walk",
            keys.hsms.clone(),
            &Hedging { share_max_percent: 5 },
            Arc::new(SystemClock),
        );
        let wrapped = keys.key(1);
        let signer = keys.key_of(kind(KeySpec::Hmac256, KeyUsage::GenerateVerifyMac));
        let encrypted =
            Encrypted { iv: Vec::new(), ciphertext: Vec::new(), tag: Vec::new(), integrity_value: None };
        let mut requests = Self { keys, group, encrypted, wrapped, signer };
        requests.encrypted = requests.encrypt().unwrap();
        requests.mac().unwrap();
        requests
    }

    fn key(&self) -> Arc<holdfast::key_manager::external_key::ExternalKey> {
        let Lookup::Found(key) = self.group.find("foo") else { panic!("no key foo") };
        key
    }

    fn encrypt(&self) -> Result<Encrypted, HsmError> {
        let request = Encrypt {
            key: self.key(),
            plaintext: SecretBytes::new(PLAINTEXT.to_vec()),
            aad: BoundAad::new(b"", b"").unwrap(),
            integrity_value: false,
        };
        self.keys.runtime.block_on(self.group.encrypt(request, deadline())).result
    }

    fn decrypt(&self) -> Result<(), HsmError> {
        let Encrypted { iv, ciphertext, tag, .. } = &self.encrypted;
        let request = Decrypt {
            key: self.key(),
            version: 0,
            iv: iv.clone(),
            ciphertext_and_tag: [ciphertext.as_slice(), tag].concat(),
            aad: BoundAad::new(b"", b"").unwrap(),
        };
        let plaintext = self.keys.runtime.block_on(self.group.decrypt(request, deadline())).result?;
        assert_eq!(plaintext.expose(), PLAINTEXT);
        Ok(())
    }

    fn mac(&self) -> Result<(), HsmError> {
        let (algorithm, message) =
            (self.signer.kind.mac_algorithms()[0], SecretBytes::new(PLAINTEXT.to_vec()));
        self.keys.compute(&self.signer, Computation::Mac { algorithm, message }).map(drop)
    }

    fn unwrap(&self) -> Result<(), HsmError> {
        self.keys.forget(&self.wrapped);
        self.keys.try_encrypt(&self.wrapped, b"").map(drop)
    }

    fn random(&self) -> Result<(), HsmError> {
        self.keys.runtime.block_on(self.keys.group.random(32, deadline())).result.map(drop)
    }

    /// The request that makes this call.
    fn make(&self, function: &str) -> Result<(), HsmError> {
        match function {
            "C_DecryptInit" | "C_Decrypt" => self.decrypt(),
            "C_GenerateRandom" => self.random(),
            "C_SignInit" | "C_Sign" => self.mac(),
            "C_UnwrapKey" => self.unwrap(),
            _ => self.encrypt().map(drop),
        }
    }

    /// The same while these faults are in force, and the calls it took.
    fn make_with(&self, function: &str, faults: &str) -> (Result<(), HsmError>, Calls) {
        let mut result = Ok(());
        let made = self.keys.calls_during(|| {
            self.keys.inject(faults);
            result = self.make(function);
        });
        self.keys.inject("");
        (result, made)
    }

    /// A probe, and the calls it took.
    fn probe_with(&self, faults: &str) -> Calls {
        let made = self.keys.calls_during(|| {
            self.keys.inject(faults);
            self.keys.probe();
        });
        self.keys.inject("");
        made
    }

    #[track_caller]
    fn assert_well(&self, function: &str, case: &str) {
        self.keys.wait_until(case, || {
            self.keys.probe();
            self.keys.hsms[0].health().state != HealthState::Unavailable
        });
        assert_eq!(self.make(function), Ok(()), "{case}");
    }

    fn set_pin(&self) {
        let config = Config::load(&self.keys.folder.join("holdfast.toml")).unwrap();
        self.keys.hsms[0].set_pin(&config.hsms[0].read_pin().unwrap().unwrap());
    }
}

/// Calls that say what was repaired.
fn repairs(made: &Calls) -> [u64; 4] {
    ["C_OpenSession", "C_CloseSession", "C_Login", "C_Finalize"]
        .map(|function| made.get(function).copied().unwrap_or(0))
}

fn told(result: &Result<(), HsmError>) -> &'static str {
    match result {
        Ok(()) => "done",
        Err(HsmError::BadCiphertext) => "bad ciphertext",
        Err(HsmError::Device(_)) => "device",
        Err(HsmError::TooLong) => "too long",
        Err(HsmError::Unavailable(_)) => "unavailable",
        Err(HsmError::Unsupported(_)) => "unsupported",
        Err(HsmError::UsageRefused) => "usage refused",
        Err(_) => "something else",
    }
}

/// What a caller is told about what no remedy heals within the request.
fn answer(blame: &str) -> &'static str {
    match blame {
        "Data" => "bad ciphertext",
        "Length" => "too long",
        "Pin" => "unavailable",
        "Usage" => "usage refused",
        _ => "device",
    }
}

/// A token that does not know a mechanism is not broken.
fn is_unsupported(function: &str, name: &str) -> bool {
    let codes = [
        "CurveNotSupported",
        "FunctionNotSupported",
        "MechanismInvalid",
        "MechanismParamInvalid",
        "ParameterSetNotSupported",
    ];
    function.starts_with("C_Sign") && codes.contains(&name)
}

const ON_THE_WAY: [&str; 8] = [
    "C_EncryptInit",
    "C_Encrypt",
    "C_DecryptInit",
    "C_Decrypt",
    "C_SignInit",
    "C_Sign",
    "C_UnwrapKey",
    "C_GenerateRandom",
];

fn blame<'r>(function: &str, row: &'r Row) -> &'r str {
    match function {
        "C_DecryptInit" | "C_Decrypt" => &row.decrypting,
        "C_UnwrapKey" => &row.unwrapping,
        "C_Login" => &row.logging_in,
        _ => &row.otherwise,
    }
}

/// Once: what heals within a request is healed, what does not costs a session and no more.
#[test]
fn every_code_once_is_met_as_the_table_says_and_the_next_request_works() {
    let name = "recovery_walk::every_code_once_is_met_as_the_table_says_and_the_next_request_works";
    story(
        name,
        || site(1, 9),
        |keys| {
            let (table, requests) = (Table::read(), Requests::new(keys));
            for function in ON_THE_WAY {
                // A login that was lost under another function has cost the unwrapped keys.
                assert_eq!(requests.make(function), Ok(()));
                for row in &table.rows {
                    once(&table, &requests, (function, row));
                }
            }
        },
    );
}

/// What the caller may be told, with how many sessions opened and closed and how many logins.
fn accepted(table: &Table, function: &str, row: &Row) -> Vec<(&'static str, u64, u64, u64)> {
    let blame = blame(function, row);
    if is_unsupported(function, &row.name) {
        return vec![("unsupported", 0, 0, 0)];
    }
    match table.remedy(blame) {
        "Keep" => vec![(answer(blame), 0, 0, 0)],
        "Try" | "FindAgain" if function.ends_with("Init") => vec![("done", 0, 0, 0)],
        // A call that was lost on its way may leave its operation active, which takes another session.
        "Try" | "FindAgain" => vec![("done", 0, 0, 0), ("done", 1, 1, 0)],
        "Reopen" => vec![("done", 1, 1, 0)],
        // The anchor and the session; unwrapped keys are held by a third.
        "LogIn" => vec![("done", 2, 2, 1), ("done", 3, 3, 1)],
        "Check" | "Reinitialize" | "Never" => vec![(answer(blame), 0, 1, 0)],
        other => panic!("{other} is no remedy"),
    }
}

fn once(table: &Table, requests: &Requests<'_>, (function, row): (&str, &Row)) {
    let case = format!("{function} returned {} once", row.name);
    let (result, made) = requests.make_with(function, &format!("{function} code={} count=1", row.code));
    let [opened, closed, logged_in, finalized] = repairs(&made);
    let met = (told(&result), opened, closed, logged_in);
    assert!(accepted(table, function, row).contains(&met), "{case}: {met:?} {made:?}");
    assert_eq!(finalized, 0, "{case}: {made:?}");
    if table.remedy(blame(function, row)) == "FindAgain" && function.ends_with("cryptInit") {
        assert_eq!(made["C_FindObjectsInit"], 1, "{case}: {made:?}");
    }
    // A call that never reached the token may have left its operation active: that is healed too.
    assert_eq!(requests.make(function), Ok(()), "after {case}");
}

/// Lasting: the caller is told, the watcher climbs as far as the code says and no further, and all is well once it stops.
#[test]
fn every_code_that_stays_is_told_and_overcome_when_it_stops() {
    let name = "recovery_walk::every_code_that_stays_is_told_and_overcome_when_it_stops";
    story(
        name,
        || site(1, 9),
        |keys| {
            let (table, requests) = (Table::read(), Requests::new(keys));
            for function in ["C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt"] {
                for row in &table.rows {
                    lasting(&table, &requests, (function, row));
                }
            }
        },
    );
}

fn lasting(table: &Table, requests: &Requests<'_>, (function, row): (&str, &Row)) {
    let blame = blame(function, row);
    let case = format!("{function} goes on returning {}", row.name);
    let fault = format!("{function} code={}", row.code);
    let (result, made) = requests.make_with(function, &fault);
    let expected = match table.remedy(blame) {
        "Keep" | "Never" => answer(blame),
        _ => "device",
    };
    assert_eq!(told(&result), expected, "{case}: {made:?}");
    let [_, _, _, finalized] = repairs(&made);
    assert_eq!(finalized, 0, "{case}: no request initializes the library: {made:?}");
    let made = requests.probe_with(&fault);
    assert_eq!(requests.keys.hsms[0].health().state, HealthState::Unavailable, "{case}");
    let [.., finalized] = repairs(&made);
    match table.remedy(blame) {
        "Keep" | "Never" => assert_eq!(finalized, 0, "{case}: {made:?}"),
        // Not if that was done a moment ago.
        _ => assert!(finalized <= 1, "{case}: {made:?}"),
    }
    requests.assert_well(function, &case);
}

/// C_Login: what may have counted as a wrong PIN is not tried again, and what did not is.
#[test]
fn every_code_of_a_login_is_tried_again_or_never() {
    let name = "recovery_walk::every_code_of_a_login_is_tried_again_or_never";
    story(
        name,
        || site(1, 9),
        |keys| {
            let (table, requests) = (Table::read(), Requests::new(keys));
            for row in table.rows.iter().filter(|row| row.name != "UserAlreadyLoggedIn") {
                let case = format!("C_Login returned {}", row.name);
                let faults = format!("C_EncryptInit code=0x101 count=1\nC_Login code={} count=1", row.code);
                let (result, made) = requests.make_with("C_EncryptInit", &faults);
                let again = requests.make_with("C_EncryptInit", "");
                let logins = |made: &Calls| repairs(made)[2];
                match table.remedy(&row.logging_in) {
                    "Never" => {
                        assert_eq!((told(&result), logins(&made)), ("unavailable", 1), "{case}: {made:?}");
                        assert_eq!((told(&again.0), logins(&again.1)), ("unavailable", 0), "{case}");
                        let probed = requests.probe_with("");
                        assert_eq!(logins(&probed), 0, "{case}: {probed:?}");
                        assert_eq!(keys.metric("hsm_pin_rejected"), 1, "{case}");
                        requests.set_pin();
                    }
                    "Check" | "Keep" | "Reinitialize" => {
                        assert_eq!(told(&again.0), "done", "{case}: {:?}", again.1);
                    }
                    // Within the request.
                    _ => assert_eq!(told(&result), "done", "{case}: {made:?}"),
                }
                requests.assert_well("C_EncryptInit", &case);
                assert_eq!(keys.metric("hsm_pin_rejected"), 0, "{case}");
            }
        },
    );
}

/// Calls on the way back into service: each code once, and the next try succeeds.
#[test]
fn every_code_on_the_way_back_is_overcome() {
    let name = "recovery_walk::every_code_on_the_way_back_is_overcome";
    story(
        name,
        || site(1, 9),
        |keys| {
            let (table, requests) = (Table::read(), Requests::new(keys));
            let lost = [
                ("C_OpenSession", "0xb3"),
                ("C_GetSessionInfo", "0xb0"),
                ("C_FindObjectsInit", "0x82"),
                ("C_FindObjects", "0x82"),
            ];
            for (function, lost) in lost {
                for row in &table.rows {
                    let case = format!("{function} returned {} on the way back", row.name);
                    let faults =
                        format!("C_EncryptInit code={lost} count=1\n{function} code={} count=1", row.code);
                    let (_, made) = requests.make_with("C_EncryptInit", &faults);
                    assert_eq!(repairs(&made)[3], 0, "{case}: {made:?}");
                    assert!(made.get(function).is_some_and(|count| *count > 0), "{case}: {made:?}");
                    requests.assert_well("C_EncryptInit", &case);
                }
            }
        },
    );
}

#[test]
fn every_code_of_an_initialization_is_overcome_by_the_next() {
    let name = "recovery_walk::every_code_of_an_initialization_is_overcome_by_the_next";
    story(
        name,
        || site(1, 9),
        |keys| {
            let (table, requests) = (Table::read(), Requests::new(keys));
            for row in &table.rows {
                let case = format!("C_Initialize returned {}", row.name);
                requests.set_pin();
                let made = requests.probe_with(&format!("C_Initialize code={} count=1", row.code));
                assert!(made["C_Initialize"] > 0, "{case}: {made:?}");
                requests.set_pin();
                requests.assert_well("C_EncryptInit", &case);
            }
        },
    );
}

/// Wrong lengths and forgotten objects, on the way of a request.
#[test]
fn what_no_code_says_is_noticed_too() {
    let name = "recovery_walk::what_no_code_says_is_noticed_too";
    story(
        name,
        || site(1, 9),
        |keys| {
            let requests = Requests::new(keys);
            let stale = "C_EncryptInit code=0x82 count=1\n";
            for (function, faults) in [
                ("C_Decrypt", "C_Decrypt short count=1"),
                ("C_Encrypt", "C_Encrypt short count=1"),
                ("C_Sign", "C_Sign short count=1"),
                ("C_EncryptInit", &format!("{stale}C_FindObjects forget count=1")),
            ] {
                let (result, made) = requests.make_with(function, faults);
                assert!(result.is_err(), "{faults}: {made:?}");
                requests.assert_well(function, faults);
            }
        },
    );
}
