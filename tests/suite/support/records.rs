//! The records of the audit trail of a site.

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use super::kms::{ACCOUNT, KmsReply};
use super::site::Site;

/// What a line begins with that is no record.
const NO_RECORDS: [&str; 6] =
    ["{\"checkpoint\"", "{\"gap\"", "{\"intent\"", "{\"key\"", "{\"removed\"", "{\"trail\""];

impl Site {
    /// The lines of the trail, whole, as they were written.
    pub fn trail_lines(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.path("state/audit")) else { return Vec::new() };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
        files.sort();
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let whole = text.rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap_or_default();
        whole.lines().map(str::to_owned).collect()
    }

    /// The intents of the trail, in their order.
    pub fn intents(&self) -> Vec<Value> {
        let lines = self.trail_lines().into_iter().filter(|line| line.starts_with("{\"intent\""));
        lines.map(|line| serde_json::from_str::<Value>(&line).unwrap()["intent"].clone()).collect()
    }

    /// The records of the trail, in their order.
    pub fn records(&self) -> Vec<Value> {
        let is_record = |line: &String| !NO_RECORDS.iter().any(|start| line.starts_with(start));
        let lines = self.trail_lines().into_iter().filter(is_record);
        lines.map(|line| without_chain(&line)).collect()
    }

    /// Waits for a record, and answers with all that there are then.
    #[track_caller]
    pub fn records_with(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let records = RefCell::new(Vec::new());
        self.wait_until(what, || {
            records.replace(self.records()).clear();
            records.borrow().iter().any(&is_wanted)
        });
        records.into_inner()
    }

    /// The records of the call that was answered so: one, or one in the trail of each account.
    #[track_caller]
    pub fn records_of(&self, reply: &KmsReply) -> Vec<Value> {
        let id = request_id(reply);
        let all = self.records_with(&format!("a record of request {id}"), |record| record["requestID"] == id);
        all.into_iter().filter(|record| record["requestID"] == id).collect()
    }

    /// The one record of the call that was answered so.
    #[track_caller]
    pub fn record_of(&self, reply: &KmsReply) -> Value {
        let mut records = self.records_of(reply);
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }

    /// The one record of a request that succeeds, of the administrator of the first account.
    #[track_caller]
    pub fn recorded(&self, operation: &str, body: &Value) -> Value {
        let reply = self.kms(operation, body);
        reply.ok();
        self.record_of(&reply)
    }
}

pub fn request_id(reply: &KmsReply) -> String {
    reply.0.headers["x-amzn-requestid"].to_str().unwrap().to_owned()
}

fn without_chain(line: &str) -> Value {
    let mut record: Map<String, Value> = serde_json::from_str(line).unwrap();
    record.remove("chain");
    Value::Object(record)
}

/// An entry of `resources`: a key or alias of the first account.
pub fn resource(arn: &str) -> Value {
    json!({"accountId": ACCOUNT.id, "type": "AWS::KMS::Key", "ARN": arn})
}

pub fn of_key(key: &str) -> Value {
    json!({"KeyId": key})
}

/// Asserts that a record has these members, whatever others it has.
#[track_caller]
pub fn assert_members(record: &Value, expected: &Value) {
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(record[member], *value, "{member} of {record:#}");
    }
}
