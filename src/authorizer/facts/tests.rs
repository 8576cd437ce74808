//! The table of global condition keys, its documentation, and what requests really have.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::authorizer::GLOBAL_KEYS;
use crate::authorizer::facts::{RequestFacts, global_context, with_resource_account};
use crate::domain::kms::{AccountId, Tag};
use crate::identity::kms::{
    Caller, Organization, Principal, ServiceCall, TemporaryCredentials, Via, VpcEndpoint,
};

const NOW: u64 = 1_800_000_000;
const OWN: &str = "111122223333";
/// What the gate adds for keys and requests.
const OF_OTHERS: [&str; 3] = ["aws:RequestTag/", "aws:ResourceTag/", "aws:TagKeys"];
const USER: [&str; 16] = [
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalIsAWSService",
    "aws:PrincipalTag/",
    "aws:PrincipalType",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:SecureTransport",
    "aws:SourceIp",
    "aws:UserAgent",
    "aws:ViaAWSService",
    "aws:userid",
    "aws:username",
    "aws:PrincipalTag/",
];
const SERVICE: [&str; 16] = [
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:PrincipalIsAWSService",
    "aws:PrincipalServiceName",
    "aws:PrincipalServiceNamesList",
    "aws:PrincipalType",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:SecureTransport",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceIp",
    "aws:SourceOrgID",
    "aws:SourceOrgPaths",
    "aws:UserAgent",
    "aws:ViaAWSService",
];

fn facts(vpc: Option<VpcEndpoint<'static>>) -> RequestFacts<'static> {
    RequestFacts {
        source_ip: "192.0.2.1".parse().unwrap(),
        secure_transport: true,
        user_agent: Some("aws-cli"),
        unix_seconds: NOW,
        vpc,
        endpoint_policy: None,
    }
}

fn user() -> Caller {
    Caller {
        principal: Principal::User { name: Arc::from("alice") },
        tags: Arc::from([Tag { key: "team".to_owned(), value: "blue".to_owned() }]),
        ..Caller::of_root_user(OWN, "eu-central-1")
    }
}

fn in_organization(caller: Caller) -> Caller {
    let organization = Organization { id: "o-a".into(), path: Some("o-a/r-b/ou-c/".into()) };
    let organizations = HashMap::from([(AccountId::parse(OWN).unwrap(), organization)]);
    Caller { organizations: Arc::new(organizations), ..caller }
}

fn with_second_factor(caller: Caller) -> Caller {
    let temporary = TemporaryCredentials {
        issued_unix_seconds: NOW - 90,
        mfa_unix_seconds: Some(NOW - 60),
        source_identity: Some("alice".into()),
    };
    Caller { temporary: Some(Arc::new(temporary)), ..caller }
}

fn service() -> Caller {
    let call = ServiceCall {
        name: Arc::from("s3.amazonaws.com"),
        source_arn: Some("arn:aws:s3:::b".into()),
        source_account: AccountId::parse(OWN),
    };
    Caller { principal: Principal::Service(Arc::new(call)), ..Caller::of_root_user(OWN, "eu-central-1") }
}

/// The rows of the table that a request has.
fn rows(caller: &Caller, facts: &RequestFacts<'_>) -> BTreeSet<&'static str> {
    let account = AccountId::parse(OWN).unwrap();
    let context = with_resource_account(global_context(caller, facts), caller, &account);
    let row = |key: &str| {
        let is_it = |name: &str| if name.ends_with('/') { key.starts_with(name) } else { key == name };
        let row = GLOBAL_KEYS.iter().find(|row| is_it(row.name));
        row.unwrap_or_else(|| panic!("{key} is not in the table")).name
    };
    context.keys().map(row).collect()
}

#[test]
fn every_key_of_the_table_is_there_in_some_request_and_no_other() {
    let endpoint = VpcEndpoint { id: "vpce-1", vpc: Some("vpc-1"), account: Some(OWN) };
    let forwarded = Caller { via: Some(Arc::new(Via { service: Arc::from("s3.amazonaws.com") })), ..user() };
    let mut found = BTreeSet::from(OF_OTHERS);
    for (caller, vpc) in [
        (with_second_factor(in_organization(user())), None),
        (in_organization(user()), Some(endpoint)),
        (in_organization(service()), None),
        (forwarded, None),
    ] {
        found.extend(rows(&caller, &facts(vpc)));
    }
    assert_eq!(found, GLOBAL_KEYS.iter().map(|row| row.name).collect());
}

#[test]
fn an_ordinary_user_has_none_of_the_keys_of_services_sessions_and_endpoints() {
    assert_eq!(rows(&user(), &facts(None)), BTreeSet::from(USER));
    assert_eq!(rows(&in_organization(service()), &facts(None)), {
        let mut expected = BTreeSet::from(SERVICE);
        expected.extend(["aws:ResourceOrgID", "aws:ResourceOrgPaths"]);
        expected
    });
}

#[test]
fn through_a_vpc_endpoint_there_is_no_source_ip() {
    let endpoint = VpcEndpoint { id: "vpce-1", vpc: None, account: None };
    let rows = rows(&user(), &facts(Some(endpoint)));
    assert!(!rows.contains("aws:SourceIp") && !rows.contains("aws:SourceVpc"));
    assert!(rows.contains("aws:SourceVpce") && rows.contains("aws:VpcSourceIp"));
}

#[test]
fn the_documentation_repeats_the_table() {
    let document = include_str!("../../../docs/reference/policy-keys.md");
    let documented: Vec<_> = document.lines().filter(|line| line.starts_with("| `aws:")).collect();
    let tag = |name: &str| if name.ends_with('/') { format!("{name}<key>") } else { name.to_owned() };
    let rows = GLOBAL_KEYS
        .iter()
        .map(|row| format!("| `{}` | {} | {} | {} |", tag(row.name), row.kind, row.values, row.present));
    let rows: Vec<_> = rows.collect();
    assert_eq!(documented, rows, "\n{}\n", rows.join("\n"));
}

#[test]
fn the_table_is_in_alphabetical_order() {
    let names: Vec<_> = GLOBAL_KEYS.iter().map(|row| row.name.to_ascii_lowercase()).collect();
    assert!(names.is_sorted());
}
