//! The truth table of authorization, and laws that hold whatever the policies.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use crate::authorizer::evaluation::{Denial, Layer};
use crate::authorizer::facts::RequestFacts;
use crate::authorizer::kms::{Question, Ruling, Service, rule};
use crate::domain::kms::AccountId;
use crate::identity::kms::{Caller, NamedPolicy, Policies, Principal, Session};
use crate::policy::{Context, PolicyDocument};

const OWN: &str = "111122223333";
const OTHER: &str = "444455556666";
const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1";
const ALLOW: &str = r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#;
const DENY: &str = r#"{"Effect":"Deny","Action":"kms:Decrypt","Resource":"*"}"#;

/// Statements of a policy, separated by commas.
fn policy(statements: &str) -> PolicyDocument {
    PolicyDocument::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)).unwrap()
}

fn policies(statements: &str) -> Policies {
    if statements.is_empty() {
        Arc::from([])
    } else {
        Arc::from([NamedPolicy::new("policy", policy(statements))])
    }
}

/// An effect for somebody, in a key policy.
fn of(effect: &str, principal: &str) -> String {
    format!(r#"{{"Effect":"{effect}","Principal":{{"AWS":"{principal}"}},"Action":"kms:*","Resource":"*"}}"#)
}

fn caller(account: &str, principal: Principal, resource: &str, identity: &str) -> Caller {
    let service = if matches!(principal, Principal::Session(_)) { "sts" } else { "iam" };
    Caller {
        principal,
        arn: Arc::from(format!("arn:aws:{service}::{account}:{resource}")),
        policies: policies(identity),
        ..Caller::of_root_user(account, "eu-central-1")
    }
}

fn user(account: &str, identity: &str) -> Caller {
    caller(account, Principal::User { name: Arc::from("alice") }, "user/alice", identity)
}

fn root(account: &str) -> Caller {
    caller(account, Principal::Root, "root", "")
}

fn session(account: &str, identity: &str, session: &str) -> Caller {
    let principal = Principal::Session(Arc::new(Session {
        role_arn: Arc::from(format!("arn:aws:iam::{account}:role/ops")),
        role_name: Arc::from("ops"),
        name: "s".to_owned(),
        policies: policies(session),
        transitive_tags: Vec::new(),
    }));
    caller(account, principal, "assumed-role/ops/s", identity)
}

fn decide(caller: &Caller, key_policy: Option<&str>) -> Decided {
    let document = key_policy.map(policy);
    ask(caller, document.as_ref(), Context::new)
}

fn ask<'a>(
    caller: &'a Caller,
    resource_policy: Option<&'a PolicyDocument>,
    context: impl FnOnce() -> Context<'a>,
) -> Decided {
    static ACCOUNT: LazyLock<AccountId> = LazyLock::new(|| AccountId::parse(OWN).unwrap());
    let question = Question {
        caller,
        facts: &FACTS,
        service: Service::Kms,
        permission: "Decrypt",
        resource: KEY,
        resource_account: &ACCOUNT,
        resource_policy,
    };
    match rule(question, context) {
        Ruling::Allowed => Ok(()),
        Ruling::Denied(Denial { layer, explicit: Some(_) }) => Err((layer, Deny::Explicit)),
        Ruling::Denied(Denial { layer, explicit: None }) => Err((layer, Deny::Implicit)),
    }
}

const FACTS: RequestFacts<'static> = RequestFacts {
    source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    secure_transport: true,
    user_agent: None,
    unix_seconds: 0,
    vpc: None,
    endpoint_policy: None,
};

/// Allowed, or the policies that deny it, explicitly or not.
type Decided = Result<(), (Layer, Deny)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deny {
    Explicit,
    Implicit,
}

const YES: Decided = Ok(());
const EXPLICIT_IDENTITY: Decided = Err((Layer::Identity, Deny::Explicit));
const EXPLICIT_RESOURCE: Decided = Err((Layer::Resource, Deny::Explicit));
const EXPLICIT_SESSION: Decided = Err((Layer::Session, Deny::Explicit));
const IMPLICIT_IDENTITY: Decided = Err((Layer::Identity, Deny::Implicit));
const IMPLICIT_RESOURCE: Decided = Err((Layer::Resource, Deny::Implicit));
const IMPLICIT_SESSION: Decided = Err((Layer::Session, Deny::Implicit));

#[test]
fn in_the_account_of_the_key_the_key_policy_decides_or_delegates() {
    let (alice, delegate, everyone) =
        (of("Allow", "arn:aws:iam::111122223333:user/alice"), of("Allow", OWN), of("Allow", "*"));
    let bob = of("Allow", "arn:aws:iam::111122223333:user/bob");
    let denied = format!("{alice},{}", of("Deny", OWN));
    for (name, identity, key_policy, expected) in [
        ("named", "", &alice, YES),
        ("everyone", "", &everyone, YES),
        ("delegated, allowed", ALLOW, &delegate, YES),
        ("delegated, silent", "", &delegate, IMPLICIT_IDENTITY),
        ("another is named", ALLOW, &bob, IMPLICIT_RESOURCE),
        ("named, denied by identity", DENY, &alice, EXPLICIT_IDENTITY),
        ("named, denied by key policy", ALLOW, &denied, EXPLICIT_RESOURCE),
    ] {
        assert_eq!(decide(&user(OWN, identity), Some(key_policy)), expected, "{name}");
    }
}

#[test]
fn the_root_user_has_what_the_key_policy_gives_its_account() {
    let alice = of("Allow", "arn:aws:iam::111122223333:user/alice");
    assert_eq!(decide(&root(OWN), Some(&of("Allow", OWN))), YES);
    assert_eq!(decide(&root(OWN), Some(&of("Allow", "arn:aws:iam::111122223333:root"))), YES);
    assert_eq!(decide(&root(OWN), Some(&alice)), IMPLICIT_RESOURCE);
    assert_eq!(decide(&root(OTHER), Some(&of("Allow", OWN))), IMPLICIT_RESOURCE);
    assert_eq!(decide(&root(OTHER), Some(&of("Allow", OTHER))), YES);
}

#[test]
fn from_another_account_both_must_allow() {
    let (own, account) = (of("Allow", OWN), of("Allow", OTHER));
    let named = of("Allow", "arn:aws:iam::444455556666:user/alice");
    let denied = format!("{account},{}", of("Deny", "arn:aws:iam::444455556666:user/alice"));
    for (name, identity, key_policy, expected) in [
        ("account and identity", ALLOW, &account, YES),
        ("name and identity", ALLOW, &named, YES),
        ("name alone", "", &named, IMPLICIT_IDENTITY),
        ("account alone", "", &account, IMPLICIT_IDENTITY),
        ("identity alone", ALLOW, &own, IMPLICIT_RESOURCE),
        ("denied at home", DENY, &account, EXPLICIT_IDENTITY),
        ("denied by the key", ALLOW, &denied, EXPLICIT_RESOURCE),
    ] {
        assert_eq!(decide(&user(OTHER, identity), Some(key_policy)), expected, "{name}");
    }
    let by_session = of("Allow", "arn:aws:sts::444455556666:assumed-role/ops/s");
    let narrow = session(OTHER, ALLOW, r#"{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*"}"#);
    assert_eq!(decide(&narrow, Some(&by_session)), IMPLICIT_SESSION);
}

#[test]
fn a_session_policy_cuts_down_what_comes_by_the_role_but_not_what_comes_by_its_own_name() {
    let other = r#"{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*"}"#;
    let (delegate, everyone) = (of("Allow", OWN), of("Allow", "*"));
    let role = of("Allow", "arn:aws:iam::111122223333:role/ops");
    let name = of("Allow", "arn:aws:sts::111122223333:assumed-role/ops/s");
    for (case, identity, session_policy, key_policy, expected) in [
        ("no session policy, role named", "", "", &role, YES),
        ("no session policy, delegated", ALLOW, "", &delegate, YES),
        ("delegated, session allows", ALLOW, ALLOW, &delegate, YES),
        ("delegated, session silent", ALLOW, other, &delegate, IMPLICIT_SESSION),
        ("delegated, role silent", "", ALLOW, &delegate, IMPLICIT_IDENTITY),
        ("role named, session allows", "", ALLOW, &role, YES),
        ("role named, session silent", ALLOW, other, &role, IMPLICIT_SESSION),
        ("everyone, session silent", ALLOW, other, &everyone, IMPLICIT_SESSION),
        ("session named, session silent", "", other, &name, YES),
        ("session named, session denies", "", DENY, &name, EXPLICIT_SESSION),
    ] {
        assert_eq!(decide(&session(OWN, identity, session_policy), Some(key_policy)), expected, "{case}");
    }
}

#[test]
fn without_a_key_policy_the_identity_decides_in_its_own_account_only() {
    assert_eq!(decide(&user(OWN, ALLOW), None), YES);
    assert_eq!(decide(&root(OWN), None), YES);
    assert_eq!(decide(&user(OWN, ""), None), IMPLICIT_IDENTITY);
    assert_eq!(decide(&session(OWN, ALLOW, DENY), None), EXPLICIT_SESSION);
    assert_eq!(decide(&root(OTHER), None), IMPLICIT_RESOURCE);
}

#[test]
fn the_context_is_made_only_if_a_policy_depends_on_it() {
    let condition = r#"{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}"#;
    let variable = r#"{"Effect":"Allow","Action":"kms:*","Resource":"arn:aws:kms:*:*:key/${aws:username}"}"#;
    let plain = policy(&of("Allow", OWN));
    for (caller, expected) in [
        (user(OWN, ALLOW), false),
        (user(OWN, condition), true),
        (user(OWN, variable), true),
        (session(OWN, ALLOW, condition), true),
    ] {
        let made = Cell::new(false);
        let ruling = ask(&caller, Some(&plain), || {
            made.set(true);
            Context::new().with("aws:SecureTransport", "true").with("aws:username", "1")
        });
        assert_eq!((made.get(), ruling), (expected, YES), "{caller:?}");
    }
}

/// Statements for and against several callers and actions.
fn statements(with_principal: bool) -> impl Strategy<Value = String> {
    let principals = [
        "*",
        OWN,
        OTHER,
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:iam::111122223333:role/ops",
        "arn:aws:sts::111122223333:assumed-role/ops/s",
    ];
    let part = (any::<bool>(), 0..principals.len(), any::<bool>()).prop_map(move |(allow, who, all)| {
        let effect = if allow { "Allow" } else { "Deny" };
        let action = if all { "kms:*" } else { "kms:Encrypt" };
        let principal = if with_principal {
            format!(r#""Principal":{{"AWS":"{}"}},"#, principals[who])
        } else {
            String::new()
        };
        format!(r#"{{"Effect":"{effect}",{principal}"Action":"{action}","Resource":"*"}}"#)
    });
    proptest::collection::vec(part, usize::from(with_principal)..4).prop_map(|parts| parts.join(","))
}

fn callers(identity: &str, session_policy: &str) -> [Caller; 6] {
    [
        user(OWN, identity),
        user(OTHER, identity),
        root(OWN),
        root(OTHER),
        session(OWN, identity, session_policy),
        session(OTHER, identity, session_policy),
    ]
}

fn joined(statements: &str, more: &str) -> String {
    if statements.is_empty() { more.to_owned() } else { format!("{statements},{more}") }
}

proptest! {
    #[test]
    fn a_deny_more_never_gives_access(
        identity in statements(false),
        session_policy in statements(false),
        key_policy in statements(true),
        who in 0_usize..4,
    ) {
        let principal = ["*", OWN, OTHER, "arn:aws:iam::111122223333:role/ops"][who];
        let before = callers(&identity, &session_policy);
        // A first session policy is a limit by itself, so the Deny joins those that are there.
        let after = callers(&joined(&identity, DENY), &joined(&session_policy, DENY));
        let denying = joined(&key_policy, &of("Deny", principal));
        for (before, after) in before.iter().zip(&after) {
            let allowed = decide(before, Some(&key_policy)) == YES;
            prop_assert!(allowed || decide(before, Some(&denying)) != YES);
            prop_assert!(allowed || decide(after, Some(&key_policy)) != YES);
            prop_assert!(before.is_root() || decide(after, Some(&key_policy)) != YES);
        }
    }

    #[test]
    fn nobody_from_elsewhere_gets_in_without_both(identity in statements(false), key_policy in statements(true)) {
        let stranger = user(OTHER, &identity);
        if decide(&stranger, Some(&key_policy)) == YES {
            prop_assert_eq!(decide(&root(OTHER), Some(&key_policy)), YES);
            prop_assert_ne!(decide(&user(OTHER, ""), Some(&key_policy)), YES);
        }
    }
}
