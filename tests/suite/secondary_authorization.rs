//! The policy of a key store decides on what AWS KMS says about its caller; the log names the statement.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::site::merged;
use crate::support::{Reply, Setup, Site, metadata};

const ALICE: &str = "arn:aws:iam::123456789012:user/Alice";
const KEY_ARN: &str = "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn with_policy(policy: &str) -> Site {
    let setup = Setup { key_store: "policy_file = \"policy.json\"".to_owned(), ..Setup::default() };
    let site = Site::prepare(&setup);
    site.replace("policy.json", policy);
    site.run();
    site.wait_ready();
    site
}

/// Encrypts under `requestMetadata` that differs in these members.
fn encrypt(site: &Site, key: &str, members: Value) -> Reply {
    let metadata = merged(metadata("Encrypt"), members);
    site.encrypt(key, b"Hello", json!({ "requestMetadata": metadata }))
}

/// Asserts that the request was refused, and that the log says why.
#[track_caller]
fn assert_denied(site: &Site, reply: &Reply, denied_before: usize, reason: &str) {
    reply.assert_error(403, "AccessDeniedException");
    let line = site.lines_with_outcome("AccessDeniedException", denied_before + 1).remove(denied_before);
    assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    // For whoever reads the log of AWS KMS the policy is none of their business.
    assert!(!reply.json().to_string().contains("Sid"));
}

fn deny_each() -> String {
    let deny = |sid: &str, members: Value| {
        merged(
            json!({"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}),
            members,
        )
    };
    let on =
        |sid: &str, key: &str, value: &str| deny(sid, json!({"Condition": {"StringEquals": {key: value}}}));
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Everything", "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"},
        deny("SidPrincipal", json!({"Principal": {"AWS": "arn:aws:iam::123456789012:user/Mallory"}})),
        on("SidAccount", "aws:PrincipalAccount", "999999999999"),
        deny("SidKeyArn", json!({"Resource": format!("{KEY_ARN}-other")})),
        deny("SidOperation", json!({"Action": "kms:ReEncrypt*"})),
        on("SidViaService", "kms:ViaService", "dynamodb"),
        on("SidVpc", "aws:SourceVpc", "vpc-1"),
        on("SidVpcEndpoint", "aws:SourceVpce", "vpce-1"),
        on("SidExternalKey", "xks:ExternalKeyId", "encrypt_only_key"),
    ]})
    .to_string()
}

#[test]
fn a_deny_on_any_fact_wins_over_an_allow_and_the_log_names_it() {
    let site = with_policy(&deny_each());
    encrypt(&site, "foo", json!({})).assert_ok();
    let cases = [
        ("SidPrincipal", "foo", json!({"awsPrincipalArn": "arn:aws:iam::123456789012:user/Mallory"})),
        ("SidAccount", "foo", json!({"awsPrincipalArn": "arn:aws:iam::999999999999:user/Alice"})),
        ("SidKeyArn", "foo", json!({"kmsKeyArn": format!("{KEY_ARN}-other")})),
        ("SidOperation", "foo", json!({"kmsOperation": "ReEncrypt"})),
        ("SidViaService", "foo", json!({"kmsViaService": "dynamodb"})),
        ("SidVpc", "foo", json!({"awsSourceVpc": "vpc-1"})),
        ("SidVpcEndpoint", "foo", json!({"awsSourceVpce": "vpce-1"})),
        ("SidExternalKey", "encrypt_only_key", json!({})),
    ];
    for (before, (sid, key, members)) in cases.into_iter().enumerate() {
        assert_denied(&site, &encrypt(&site, key, members), before, &format!("`{sid}`"));
    }
    encrypt(&site, "foo", json!({})).assert_ok();
    let allowed = site.lines_with_outcome("Success", 2).remove(0);
    assert_eq!(allowed["policyStatement"], "Everything");
}

fn allow_one() -> String {
    json!({"Version": "2012-10-17", "Statement": {
        "Sid": "SidOnly",
        "Effect": "Allow",
        "Principal": {"AWS": ALICE},
        "Action": ["kms:Encrypt", "kms:GenerateDataKey"],
        "Resource": KEY_ARN,
        "Condition": {"StringEquals": {
            "aws:PrincipalAccount": "123456789012",
            "aws:SourceVpc": "vpc-1",
            "kms:ViaService": "ebs",
            "xks:ExternalKeyId": "foo",
        }},
    }})
    .to_string()
}

#[test]
fn what_no_statement_allows_is_denied_and_health_is_never_asked_about() {
    let site = with_policy(&allow_one());
    let in_vpc = |members: Value| merged(json!({"awsSourceVpc": "vpc-1"}), members);
    encrypt(&site, "foo", in_vpc(json!({}))).assert_ok();
    encrypt(&site, "foo", in_vpc(json!({"kmsOperation": "GenerateDataKey"}))).assert_ok();
    let cases = [
        ("foo", in_vpc(json!({"awsPrincipalArn": "arn:aws:iam::123456789012:user/Bob"}))),
        ("foo", in_vpc(json!({"awsPrincipalArn": "AWS Internal"}))),
        ("foo", in_vpc(json!({"kmsKeyArn": format!("{KEY_ARN}-other")}))),
        ("foo", in_vpc(json!({"kmsViaService": "s3"}))),
        ("foo", json!({"awsSourceVpc": "vpc-1", "kmsViaService": null})),
        ("foo", json!({})),
        ("foo", json!({"awsSourceVpc": "vpc-2"})),
        ("encrypt_only_key", in_vpc(json!({}))),
        // An operation that AWS KMS did not have when this was written (XKS v1, Authorization).
        ("foo", in_vpc(json!({"kmsOperation": "EncryptTomorrow"}))),
    ];
    for (before, (key, members)) in cases.into_iter().enumerate() {
        assert_denied(&site, &encrypt(&site, key, members), before, "no statement allows it");
    }
    site.key_metadata("foo").assert_error(403, "AccessDeniedException");
    site.health().assert_ok();
}

#[test]
fn without_a_policy_an_operation_nobody_knows_is_served() {
    let site = Site::start();
    encrypt(&site, "foo", json!({"kmsOperation": "EncryptTomorrow"})).assert_ok();
}

/// The policy that the documentation shows.
fn documented_policy() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/policy.md");
    let text = std::fs::read_to_string(path).unwrap();
    text.split_once("```json").unwrap().1.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_documented_policy_does_what_it_says() {
    let site = with_policy(&documented_policy());
    let caller = |role: &str, account: &str, service: &str| {
        json!({
            "awsPrincipalArn": format!("arn:aws:iam::{account}:role/{role}"),
            "kmsViaService": format!("{service}.eu-west-1.amazonaws.com"),
        })
    };
    let encrypted = encrypt(&site, "foo", caller("Writer", "111122223333", "ebs")).assert_ok().json();
    encrypt(&site, "foo", caller("Reader", "111122223333", "s3")).assert_ok();
    let decrypt = |role: &str| {
        let metadata = merged(metadata("Decrypt"), caller(role, "111122223333", "ebs"));
        site.decrypt("foo", &encrypted, json!({ "requestMetadata": metadata }))
    };
    decrypt("Reader").assert_ok();
    assert_denied(&site, &decrypt("Writer"), 0, "`OnlyTheReaderDecrypts`");
    let others = [
        caller("Writer", "444455556666", "ebs"),
        caller("Writer", "111122223333", "lambda"),
        json!({"awsPrincipalArn": "arn:aws:iam::111122223333:role/Writer", "kmsViaService": null}),
    ];
    for (before, members) in others.into_iter().enumerate() {
        assert_denied(&site, &encrypt(&site, "foo", members), before + 1, "no statement allows it");
    }
    // Whoever creates a KMS key over the external key, or describes one.
    site.key_metadata("foo").assert_ok();
    assert_eq!(site.lines_with_outcome("Success", 4).pop().unwrap()["policyStatement"], "Describe");
}

/// Keys that a request does not have, patterns of ARNs, and requests for metadata, as a policy would speak of them.
#[test]
fn absent_facts_and_patterns_are_decided_as_iam_does() {
    let on = |sid: &str, effect: &str, condition: Value| json!({"Sid": sid, "Effect": effect, "Principal": "*", "Action": "kms:*", "Resource": "*", "Condition": condition});
    let roles = "arn:aws:iam::*:role/team-?/*";
    let site = with_policy(
        &json!({"Version": "2012-10-17", "Statement": [
            on("SidRoles", "Allow", json!({"ArnLike": {"aws:PrincipalArn": roles}})),
            on("SidNoVpc", "Deny", json!({"Null": {"aws:SourceVpce": "true"}, "StringEquals": {"xks:Operation": "Encrypt"}})),
            on("SidRegion", "Deny", json!({"StringNotEqualsIfExists": {"aws:RequestedRegion": "us-east-2"}})),
        ]})
        .to_string(),
    );
    let role = json!({"awsPrincipalArn": "arn:aws:iam::123456789012:role/team-a/writer"});
    let in_vpc = merged(role.clone(), json!({"awsSourceVpce": "vpce-1"}));
    encrypt(&site, "foo", in_vpc.clone()).assert_ok();
    let describe = |members: Value| {
        let metadata = merged(merged(metadata("CreateKey"), role.clone()), members);
        site.post("keys/foo/metadata", &json!({ "requestMetadata": metadata }))
    };
    // Without a KMS key there is no Region to compare with, and `IfExists` is then true: the Deny applies.
    assert_denied(&site, &describe(json!({"kmsKeyArn": null})), 0, "`SidRegion`");
    let elsewhere = json!({"kmsKeyArn": KEY_ARN.replace("us-east-2", "us-east-1")});
    assert_denied(&site, &describe(elsewhere), 1, "`SidRegion`");
    assert_denied(&site, &encrypt(&site, "foo", role), 2, "`SidNoVpc`");
    let other = json!({"awsPrincipalArn": "arn:aws:iam::123456789012:role/team-ab/writer"});
    assert_denied(&site, &encrypt(&site, "foo", merged(in_vpc, other)), 3, "no statement allows it");
}
