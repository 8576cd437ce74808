//! `holdfast policy`: what the daemon would decide, and that it is what it does decide.

use serde_json::{Value, json};

use crate::support::kms::ACCOUNT;
use crate::support::kms_stories::{key_arn, user_arn};
use crate::support::{Setup, Site};

fn answers(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let text = site.holdfast_ok(&[&["policy", "simulate", "--json"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn answer(site: &Site, arguments: &[&str]) -> Value {
    let [answer]: [Value; 1] = answers(site, arguments).try_into().unwrap();
    answer
}

fn only_with_the_tenant() -> Value {
    json!({ "Version": "2012-10-17", "Statement": {
        "Sid": "Tenant", "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*",
        "Condition": { "StringEquals": { "kms:EncryptionContext:tenant": "a" } },
    }})
}

#[test]
fn a_simulation_decides_as_the_daemon_does_and_says_why() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_kms_key();
    let alice = site.new_user("alice", &only_with_the_tenant());
    let (caller, arn) = (user_arn("alice"), key_arn(&key));
    let asked = ["--caller", &caller, "--action", "kms:Encrypt", "--key", &arn];

    let context = json!({ "tenant": "a" });
    let request = json!({ "KeyId": arn, "Plaintext": "YQ==", "EncryptionContext": context });
    site.kms_by(&alice, "Encrypt", &request).ok();
    let allowed = answer(&site, &[&asked[..], &["--encryption-context", "tenant=a"]].concat());
    assert_eq!((&allowed["decision"], &allowed["resource"]), (&json!("allowed"), &json!(arn)));
    assert_eq!(allowed["statements"][1]["statement"], "Tenant");
    assert_eq!(allowed["statements"][1]["kind"], "identity-based policy");

    let request = json!({ "KeyId": arn, "Plaintext": "YQ==" });
    assert_eq!(site.kms_by(&alice, "Encrypt", &request).error().0, "AccessDeniedException");
    let denied = answer(&site, &asked);
    assert_eq!(
        (&denied["decision"], &denied["missing"]),
        (&json!("implicitDeny"), &json!("identity-based policy"))
    );

    // A condition key is what the command says.
    let other = [&asked[..], &["--context", "kms:EncryptionContext:tenant=a"]].concat();
    assert_eq!(answer(&site, &other)["decision"], "allowed");

    let grant = json!({ "KeyId": arn, "GranteePrincipal": caller, "Operations": ["Encrypt"] });
    let grant = site.kms("CreateGrant", &grant).ok()["GrantId"].clone();
    let granted = answer(&site, &asked);
    assert_eq!((&granted["decision"], &granted["grant"]), (&json!("allowed"), &grant));
    site.kms_by(&alice, "Encrypt", &request).ok();
}

#[test]
fn an_operation_is_every_permission_that_it_needs() {
    let site = Site::start_with(&Setup::kms());
    let (key, other) = (site.create_kms_key(), site.create_kms_key());
    site.new_user("alice", &only_with_the_tenant());
    let root = format!("arn:aws:iam::{}:root", ACCOUNT.id);
    let operation = |caller: &str, arguments: &[&str]| {
        let asked = ["--caller", caller, "--region", "us-east-1", "--operation"];
        let answers = answers(&site, &[&asked[..], arguments].concat());
        let short = |answer: &Value| format!("{} {}", answer["decision"], answer["action"]).replace('"', "");
        answers.iter().map(short).collect::<Vec<_>>()
    };
    let keys = ["ReEncrypt", "--key", &key, "--destination-key", &other];
    assert_eq!(operation(&root, &keys), ["allowed kms:ReEncryptFrom", "allowed kms:ReEncryptTo"]);
    let alias = ["CreateAlias", "--key", &key, "--alias", "alias/x"];
    assert_eq!(
        operation(&user_arn("alice"), &alias),
        ["implicitDeny kms:CreateAlias", "implicitDeny kms:CreateAlias"]
    );
    assert_eq!(operation(&user_arn("alice"), &["ListKeys"]), ["implicitDeny kms:ListKeys"]);
}

#[test]
fn what_is_not_there_is_an_error() {
    let site = Site::start_with(&Setup::kms());
    let key = site.create_kms_key();
    let root = format!("arn:aws:iam::{}:root", ACCOUNT.id);
    let nobody = user_arn("nobody");
    for (arguments, reason) in [
        (
            vec!["--caller", &nobody, "--action", "kms:Encrypt", "--key", &key],
            "there is no user, role or account",
        ),
        (vec!["--caller", &root, "--action", "kms:Encrypt", "--key", "alias/none"], "there is no alias"),
        (vec!["--caller", &root, "--action", "kms:Encrypts", "--key", &key], "there is no action"),
        (vec!["--caller", &root, "--action", "kms:Encrypt"], "say which key"),
        (vec!["--caller", &root, "--operation", "Encrypts"], "there is no operation"),
    ] {
        let all = [&["policy", "simulate", "--region", "us-east-1"], &arguments[..]].concat();
        let output = site.holdfast(&all);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_policy_that_would_be_refused_is_found_before_it_is_put() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.json");
    let check = |document: &Value| {
        std::fs::write(&file, document.to_string()).unwrap();
        let command = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["policy", "check"])
            .arg(&file)
            .output()
            .unwrap();
        (command.status.code(), String::from_utf8(command.stdout).unwrap())
    };
    let statement = json!({ "Effect": "Allow", "Principal": "*", "Action": "kms:*" });
    let (status, said) = check(&json!({ "Version": "2012-10-17", "Statement": statement }));
    assert_eq!(status, Some(0));
    assert!(said.starts_with("warning: statement 1 has no `Resource`"), "{said}");
    let (status, said) =
        check(&json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow", "Action": "Encrypt" } }));
    assert_eq!(status, Some(1));
    assert!(said.contains("statement 1, `Action`: must be"), "{said}");
}
