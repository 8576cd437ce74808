//! The record of every operation, served and refused, as a file that a reviewer can read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use holdfast::kms::OperationName;
use regex_lite::{Captures, Regex};
use serde_json::{Value, json};

use crate::support::external_key_stores::new_external_key;
use crate::support::kms::Account;
use crate::support::records::request_id;
use crate::support::{Setup, Site};

/// What the service does by itself.
const SERVICE_EVENTS: [&str; 3] = ["DeleteKey", "RotateKey", "SynchronizeMultiRegionKey"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audit")
}

/// What differs from run to run, with what stands for it. Those with a number are told apart.
struct Placeholders {
    patterns: Vec<(Regex, &'static str)>,
}

impl Placeholders {
    fn new() -> Self {
        let patterns = [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "uuid"),
            (r"\bmrk-[0-9a-f]{32}\b", "mrk"),
            (r"\b[0-9a-f]{64}\b", "id"),
            (r"\bcks-[0-9a-f]{17}\b", "cks"),
            (r"vpce-svc-[0-9a-f]{16}", "vpce-svc"),
            (r"\b(?:AIDA|AKIA|AROA|ASIA)[A-Z2-7]{16,17}\b", "unique id"),
            (r"localhost:[0-9]+", "host"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "time"),
            (
                r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{1,2}, \d{4}, \d{1,2}:\d\d:\d\d [AP]M",
                "date",
            ),
        ];
        Self { patterns: patterns.map(|(text, name)| (Regex::new(text).unwrap(), name)).into() }
    }

    /// The same thing is the same placeholder throughout a file.
    fn apply(&self, text: &str) -> String {
        self.patterns.iter().fold(text.to_owned(), |text, (pattern, name)| {
            let mut known: Vec<String> = Vec::new();
            let replace = |found: &Captures<'_>| {
                if matches!(*name, "date" | "host" | "time") {
                    return format!("<{name}>");
                }
                let at = known.iter().position(|known| *known == found[0]).unwrap_or_else(|| {
                    known.push(found[0].to_owned());
                    known.len() - 1
                });
                format!("<{name} {}>", at + 1)
            };
            pattern.replace_all(&text, replace).into_owned()
        })
    }
}

/// The records of a story in which every operation is asked for by who may do it, and by who may do nothing.
fn told() -> BTreeMap<String, Vec<Value>> {
    let site = Site::start_with(&Setup::kms_with_proxies("ca.pem", ""));
    let stranger = site.kms_user("stranger");
    let mut operations: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    let mut tell = |account: Option<&Account>, operation: &str, body: &Value| {
        let reply = account
            .map_or_else(|| site.kms(operation, body), |account| site.kms_as(account, operation, body));
        last = request_id(&reply);
        operations.insert(last.clone(), operation.to_owned());
        if account.is_none() {
            reply.ok();
        }
    };
    for (operation, body) in site.kms_requests() {
        tell(Some(&stranger), operation, &body);
        tell(None, operation, &body);
    }
    let store = site.connected_external_store("external", &site.proxy_endpoint());
    tell(None, "CreateKey", &new_external_key(&store, "foo"));
    let key = site.create_kms_key();
    tell(None, "RotateKeyOnDemand", &json!({"KeyId": key}));
    tell(None, "ScheduleKeyDeletion", &json!({"KeyId": key, "PendingWindowInDays": 7}));
    let rotating = site.create_kms_key();
    tell(None, "EnableKeyRotation", &json!({"KeyId": rotating, "RotationPeriodInDays": 90}));
    site.advance_clock("91d");
    site.records_with("the record of the rotation", |record| {
        record["serviceEventDetails"]["rotationType"] == "AUTOMATIC"
    });
    let all = site.records_with("the last record", |record| record["requestID"] == last);
    let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in all {
        let name = record["eventName"].as_str().unwrap().to_owned();
        let asked = operations.get(record["requestID"].as_str().unwrap_or_default());
        let is_second = name == "CreateKey" && asked.is_some_and(|asked| asked == "ReplicateKey");
        assert!(is_second || asked.is_none_or(|asked| *asked == name), "{record}");
        if asked.is_some() || SERVICE_EVENTS.contains(&name.as_str()) {
            by_name.entry(asked.unwrap_or(&name).clone()).or_default().push(record);
        }
    }
    by_name
}

/// `UPDATE_GOLDEN=1` writes them anew; the difference is for a reviewer to read.
#[test]
fn the_records_of_every_operation_are_the_golden_ones() {
    let (told, placeholders) = (told(), Placeholders::new());
    let mut wrong = Vec::new();
    for (name, records) in &told {
        let text = placeholders.apply(&serde_json::to_string_pretty(records).unwrap()) + "\n";
        let path = folder().join(format!("{name}.json"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            wrong.push(format!("{name}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_operation_is_without_a_golden_record_and_each_has_one_that_failed() {
    let names: BTreeSet<_> =
        OperationName::ALL.iter().map(|name| name.as_str()).chain(SERVICE_EVENTS).collect();
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name());
    let files: BTreeSet<_> = files.map(|file| file.to_str().unwrap().replace(".json", "")).collect();
    assert_eq!(files, names.iter().map(|name| (*name).to_owned()).collect());
    for name in names {
        let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let records: Vec<Value> = serde_json::from_str(&text).unwrap();
        let failed = records.iter().filter(|record| record.get("errorCode").is_some()).count();
        let is_asked_for = !SERVICE_EVENTS.contains(&name);
        assert_eq!(failed > 0, is_asked_for, "{name}");
        assert!(records.len() > failed, "{name}");
    }
}
