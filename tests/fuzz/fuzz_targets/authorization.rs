//! A case with all layers of policies, chosen by bytes: no panic, the same answer twice, and never more access by a Deny.
#![no_main]

use holdfast::simulation::{Decision, Reply, answer};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const CALLERS: [&str; 6] = [
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:sts::111122223333:assumed-role/ops/s",
    "arn:aws:sts::444455556666:assumed-role/ops/s",
    "s3.amazonaws.com",
    "",
];
const PRINCIPALS: [&str; 6] = [
    "*",
    "111122223333",
    "arn:aws:iam::444455556666:root",
    "arn:aws:iam::111122223333:user/alice",
    "arn:aws:iam::111122223333:role/ops",
    "arn:aws:sts::444455556666:assumed-role/ops/s",
];
const ACTIONS: [&str; 4] = ["kms:Decrypt", "kms:*", "kms:De?rypt", "kms:Sign"];
const RESOURCES: [&str; 3] = ["*", "arn:aws:kms:*:*:key/*", "arn:aws:kms:r:111122223333:key/${x:a, 'k'}"];
const OPERATORS: [&str; 10] = [
    "StringEquals", "StringNotLike", "ForAnyValue:StringLike", "ForAllValues:StringNotEquals", "ArnLike", "Null",
    "NumericLessThanIfExists", "DateGreaterThan", "NotIpAddress", "BinaryEquals",
];

/// Bytes as choices; none left is the first choice.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn of<'c, T>(&mut self, all: &'c [T]) -> &'c T {
        &all[usize::from(self.0.next().copied().unwrap_or_default()) % all.len()]
    }

    fn is(&mut self) -> bool {
        *self.of(&[false, true])
    }

    /// A text of what comes next, up to a zero.
    fn text(&mut self) -> String {
        let bytes: Vec<u8> = self.0.by_ref().take_while(|byte| **byte != 0).take(40).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn statement(&mut self, with_principal: bool) -> Value {
        let effect = *self.of(&["Allow", "Deny"]);
        let mut made = json!({ "Effect": effect, "Action": self.of(&ACTIONS), "Resource": self.of(&RESOURCES) });
        if with_principal {
            let name = if effect == "Deny" && self.is() { "NotPrincipal" } else { "Principal" };
            made[name] = json!({ "AWS": [self.of(&PRINCIPALS), self.of(&PRINCIPALS)] });
        }
        if self.is() {
            let operator = *self.of(&OPERATORS);
            made["Condition"] = json!({ operator: { *self.of(&["x:a", "x:b", "aws:TagKeys"]): [self.text()] } });
        }
        made
    }

    fn policy(&mut self, with_principal: bool) -> Value {
        let statements: Vec<_> = (0..=*self.of(&[0, 1, 2])).map(|_| self.statement(with_principal)).collect();
        json!({ "Version": "2012-10-17", "Statement": statements })
    }

    fn list(&mut self) -> Value {
        let policies: Vec<_> =
            (0..*self.of(&[1, 0, 2])).map(|_| json!({ "name": "p", "policy": self.policy(false) })).collect();
        Value::Array(policies)
    }
}

fn is_allowed(case: &Value) -> Option<bool> {
    let line = case.to_string();
    let (once, again) = (answer(&line), answer(&line));
    assert_eq!(once, again);
    match once {
        Reply::Answered(answer) => Some(answer.decision == Decision::Allowed),
        Reply::Refused { .. } => None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes.iter());
    let mut case = json!({
        "principal": choices.of(&CALLERS),
        "action": "kms:Decrypt",
        "resource": "arn:aws:kms:r:111122223333:key/k",
        "keyPolicy": choices.policy(true),
        "identityPolicies": choices.list(),
        "sessionPolicies": choices.list(),
        "serviceControlPolicies": choices.list(),
        "context": { "x:a": [choices.text()], "x:b": choices.text(), "aws:TagKeys": [choices.text(), choices.text()] },
        "encryptionContext": { "a": choices.text() },
    });
    if choices.is() {
        case["permissionsBoundary"] = choices.policy(false);
    }
    if choices.is() {
        case["endpointPolicy"] = choices.policy(true);
    }
    if choices.is() {
        let grantee = choices.of(&PRINCIPALS);
        case["grants"] = json!([{ "granteePrincipal": grantee, "operations": ["Decrypt"] }]);
    }
    let Some(before) = is_allowed(&case) else { return };
    let mut deny = choices.statement(true);
    deny["Effect"] = json!("Deny");
    case["keyPolicy"]["Statement"].as_array_mut().unwrap().push(deny);
    let after = is_allowed(&case);
    assert!(before || after != Some(true), "a Deny gave access: {case}");
});
