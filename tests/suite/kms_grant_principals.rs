//! Whom a grant can be for, and who may retire it.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_callers::Credentials;
use crate::support::kms_stories::{delegating_policy, key_arn, policy, user_arn};
use crate::support::{Setup, Site};

const ROOT: &str = "arn:aws:iam::123456789012:root";
const OTHER_ROOT: &str = "arn:aws:iam::210987654321:root";

fn create(site: &Site, key_id: &str, members: Value) -> Value {
    let request = json!({"KeyId": key_id, "GranteePrincipal": user_arn("worker"), "Operations": ["Encrypt"]});
    site.kms("CreateGrant", &crate::support::site::merged(request, members)).ok()
}

fn encrypt(key_id: &str) -> Value {
    json!({"KeyId": key_id, "Plaintext": "cGxhaW4="})
}

fn allow(action: &str) -> Value {
    policy(&json!([{"Effect": "Allow", "Action": action, "Resource": "*"}]))
}

/// A user without permissions.
fn nobody(site: &Site, name: &str) -> Credentials {
    site.new_user(name, &allow("kms:ListKeys"))
}

#[track_caller]
fn assert_error(site: &Site, caller: &Credentials, (operation, body): (&str, &Value), expected: &str) {
    assert_eq!(site.kms_by(caller, operation, body).error().0, expected, "{operation} {body}");
}

/// A session of a new role of the first account, which has no permissions: ARN of the role, and credentials.
fn session(site: &Site, role: &str) -> (String, Credentials) {
    let trust = policy(&json!([{"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"}]));
    let file = site.path(&format!("{role}-trust.json"));
    std::fs::write(&file, trust.to_string()).unwrap();
    let file = file.to_str().unwrap();
    site.identity(&["role", "create", "--account", ACCOUNT.id, role, "--trust-policy", file]);
    let arn = format!("arn:aws:iam::{}:role/{role}", ACCOUNT.id);
    let names = [("RoleArn", arn.as_str()), ("RoleSessionName", "shift")];
    let credentials = site.sts_by(&ACCOUNT.credentials(), "AssumeRole", &names).credentials();
    (arn, credentials)
}

#[test]
fn a_grant_to_a_role_covers_its_sessions_and_one_to_a_session_covers_no_other() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let (role, night) = session(&site, "night");
    let (_, day) = session(&site, "day");
    assert_error(&site, &night, ("Encrypt", &encrypt(&id)), "AccessDeniedException");
    let of_role = create(&site, &id, json!({"GranteePrincipal": role}));
    site.kms_by(&night, "Encrypt", &encrypt(&id)).ok();
    assert_error(&site, &day, ("Encrypt", &encrypt(&id)), "AccessDeniedException");
    site.kms("RevokeGrant", &json!({"KeyId": id, "GrantId": of_role["GrantId"]})).ok();
    assert_error(&site, &night, ("Encrypt", &encrypt(&id)), "AccessDeniedException");
    let own = "arn:aws:sts::123456789012:assumed-role/night/shift";
    create(&site, &id, json!({"GranteePrincipal": own}));
    site.kms_by(&night, "Encrypt", &encrypt(&id)).ok();
    let other = "arn:aws:sts::123456789012:assumed-role/day/another-shift";
    create(&site, &id, json!({"GranteePrincipal": other}));
    assert_error(&site, &day, ("Encrypt", &encrypt(&id)), "AccessDeniedException");
}

#[test]
fn a_grant_to_an_account_lets_its_identity_policies_decide() {
    let site = Site::start_with(&Setup::kms());
    // A key policy that leaves nothing to identity policies.
    let admin = format!("arn:aws:iam::{}:root", ACCOUNT.id);
    let statement = json!([{"Effect": "Allow", "Principal": {"AWS": admin}, "Resource": "*",
        "Action": ["kms:CreateGrant", "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:ListGrants"]}]);
    let request = json!({"Policy": policy(&statement).to_string()});
    let id = site.create_key_with(&request);
    let (permitted, other) = (site.new_user("permitted", &allow("kms:Encrypt")), nobody(&site, "other"));
    for (grantee, number) in [(ROOT, "by ARN"), (ACCOUNT.id, "by id")] {
        assert_error(&site, &permitted, ("Encrypt", &encrypt(&id)), "AccessDeniedException");
        let made = create(&site, &id, json!({"GranteePrincipal": grantee}));
        site.kms_by(&permitted, "Encrypt", &encrypt(&id)).ok();
        assert_error(&site, &other, ("Encrypt", &encrypt(&id)), "AccessDeniedException");
        for filter in [ROOT, ACCOUNT.id] {
            let listed = site.kms("ListGrants", &json!({"KeyId": id, "GranteePrincipal": filter})).ok();
            assert_eq!(listed["Grants"][0]["GranteePrincipal"], ROOT, "{number}");
        }
        site.kms("RevokeGrant", &json!({"KeyId": id, "GrantId": made["GrantId"]})).ok();
    }
    // Of another account, from another account.
    create(&site, &id, json!({"GranteePrincipal": OTHER_ROOT}));
    site.kms_as(&OTHER_ACCOUNT, "Encrypt", &encrypt(&key_arn(&id))).ok();
}

#[test]
fn groups_and_everyone_are_no_grantees_and_a_service_is_one_for_one_source() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for (grantee, expected) in [
        ("*", "ValidationException"),
        ("arn:aws:iam::123456789012:group/people", "InvalidArnException"),
        ("arn:aws:iam::123456789012:user/", "InvalidArnException"),
        ("arn:aws:s3:::bucket", "InvalidArnException"),
        ("s3.amazonaws.com", "InvalidArnException"),
    ] {
        let request = json!({"KeyId": id, "GranteePrincipal": grantee, "Operations": ["Encrypt"]});
        assert_eq!(site.kms("CreateGrant", &request).error().0, expected, "{grantee}");
    }
    let federated = "arn:aws:sts::123456789012:federated-user/someone";
    create(&site, &id, json!({"GranteePrincipal": federated}));
    let source = "arn:aws:s3:us-east-1:123456789012:bucket";
    let request =
        json!({"KeyId": id, "GranteeServicePrincipal": "s3.amazonaws.com", "Operations": ["Decrypt"]});
    let (bound, retiring) =
        (json!({"Constraints": {"SourceArn": source}}), json!({"RetiringPrincipal": user_arn("worker")}));
    let merged = crate::support::site::merged;
    for missing in [json!({}), bound.clone(), retiring.clone()] {
        let refused = site.kms("CreateGrant", &merged(request.clone(), missing));
        assert_eq!(refused.error().0, "ValidationException");
    }
    let made = site.kms("CreateGrant", &merged(merged(request, bound), retiring)).ok();
    let listed =
        site.kms("ListGrants", &json!({"KeyId": id, "GranteeServicePrincipal": "s3.amazonaws.com"})).ok();
    let listed = &listed["Grants"].as_array().unwrap()[..];
    assert_eq!((listed.len(), &listed[0]["GrantId"]), (1, &made["GrantId"]));
    assert_eq!(listed[0]["Constraints"], json!({"SourceArn": source}));
    assert!(listed[0].get("GranteePrincipal").is_none());
}

#[test]
fn a_grant_is_retired_by_whom_it_names_and_by_nobody_else() {
    let site = Site::start_with(&Setup::kms());
    // What a key policy says of RetireGrant has no effect.
    let everybody =
        json!({"Effect": "Allow", "Principal": "*", "Action": "kms:RetireGrant", "Resource": "*"});
    let id = site.create_key_with(&json!({"Policy": delegating_policy(&[everybody])}));
    let (worker, retirer) = (nobody(&site, "worker"), nobody(&site, "retirer"));
    let stranger = nobody(&site, "stranger");
    let by_name = |grant: &Value| json!({"KeyId": key_arn(&id), "GrantId": grant["GrantId"]});
    let by_token = |grant: &Value| json!({"GrantToken": grant["GrantToken"]});

    let plain = create(&site, &id, json!({}));
    for caller in [&worker, &retirer, &stranger] {
        assert_error(&site, caller, ("RetireGrant", &by_name(&plain)), "AccessDeniedException");
        assert_error(&site, caller, ("RetireGrant", &by_token(&plain)), "AccessDeniedException");
    }
    let named = json!({"RetiringPrincipal": user_arn("retirer")});
    for names in [&by_name, &by_token] as [&dyn Fn(&Value) -> Value; 2] {
        let grant = create(&site, &id, named.clone());
        assert_error(&site, &worker, ("RetireGrant", &names(&grant)), "AccessDeniedException");
        site.kms_by(&retirer, "RetireGrant", &names(&grant)).ok();
        assert_error(&site, &retirer, ("RetireGrant", &names(&grant)), "NotFoundException");
        let grant = create(&site, &id, json!({"Operations": ["Encrypt", "RetireGrant"]}));
        assert_error(&site, &retirer, ("RetireGrant", &names(&grant)), "AccessDeniedException");
        site.kms_by(&worker, "RetireGrant", &names(&grant)).ok();
        let grant = create(&site, &id, json!({"RetiringPrincipal": user_arn("worker")}));
        site.kms_by(&worker, "RetireGrant", &names(&grant)).ok();
    }
    // The account, by its root user and by whom it gives the permission to.
    site.kms("RetireGrant", &by_name(&plain)).ok();
    let delegate = site.new_user("delegate", &allow("kms:RetireGrant"));
    site.kms_by(&delegate, "RetireGrant", &by_name(&create(&site, &id, json!({})))).ok();
    // A permission to retire in another account is none for this grant.
    let foreign = create(&site, &id, json!({}));
    let refused = site.kms_as(&OTHER_ACCOUNT, "RetireGrant", &by_name(&foreign));
    assert_eq!(refused.error().0, "AccessDeniedException");
    let named = create(&site, &id, json!({"RetiringPrincipal": OTHER_ROOT}));
    site.kms_as(&OTHER_ACCOUNT, "RetireGrant", &by_name(&named)).ok();
}

#[test]
fn an_explicit_deny_keeps_from_retiring() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let deny = policy(&json!([{"Effect": "Deny", "Action": "kms:RetireGrant", "Resource": "*"}]));
    let denied = site.new_user("worker", &deny);
    let grant = create(&site, &id, json!({"RetiringPrincipal": user_arn("worker")}));
    let request = json!({"KeyId": key_arn(&id), "GrantId": grant["GrantId"]});
    assert_error(&site, &denied, ("RetireGrant", &request), "AccessDeniedException");
    site.put_policy("user", "worker", &allow("kms:ListKeys"));
    site.kms_by(&denied, "RetireGrant", &request).ok();
}

#[test]
fn retirable_grants_are_listed_for_principals_of_the_own_account_over_the_keys_of_all() {
    let site = Site::start_with(&Setup::kms());
    let own = site.create_kms_key();
    let other = site.kms_as(&OTHER_ACCOUNT, "CreateKey", &json!({})).ok()["KeyMetadata"]["KeyId"].clone();
    let retirer = user_arn("retirer");
    let request = |key: &Value| {
        json!({"KeyId": key, "GranteePrincipal": user_arn("worker"), "Operations": ["Encrypt"],
            "RetiringPrincipal": retirer})
    };
    let mut made = [
        site.kms("CreateGrant", &request(&json!(own))).text("GrantId"),
        site.kms_as(&OTHER_ACCOUNT, "CreateGrant", &request(&other)).text("GrantId"),
        site.kms("CreateGrant", &request(&json!(own))).text("GrantId"),
    ];
    made.sort();
    let list = json!({"RetiringPrincipal": retirer, "Limit": 2});
    let (listed, lengths) = site.kms_pages("ListRetirableGrants", &list, "Grants");
    let ids: Vec<_> = listed.iter().map(|grant| grant["GrantId"].as_str().unwrap()).collect();
    assert_eq!((ids, lengths), (made.iter().map(String::as_str).collect(), vec![2, 1]));
    assert!(listed.iter().any(|grant| grant["KeyId"].as_str().unwrap().contains(OTHER_ACCOUNT.id)));
    let refused = site.kms_as(&OTHER_ACCOUNT, "ListRetirableGrants", &list);
    assert_eq!(refused.error().0, "AccessDeniedException");
}

#[test]
fn a_caller_that_is_no_service_makes_no_grant_for_a_resource() {
    let site = Site::start_with(&Setup::kms());
    let condition = json!({"Bool": {"kms:GrantIsForAWSResource": "true"}});
    let statement = json!({"Effect": "Allow", "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
        "Resource": "*", "Condition": condition});
    let user = site.new_user("user", &policy(&json!([statement])));
    let id = site.create_kms_key();
    let grant = create(&site, &id, json!({}));
    let requests = [
        (
            "CreateGrant",
            json!({"KeyId": id, "GranteePrincipal": user_arn("worker"), "Operations": ["Encrypt"]}),
        ),
        ("ListGrants", json!({"KeyId": id})),
        ("RevokeGrant", json!({"KeyId": id, "GrantId": grant["GrantId"]})),
    ];
    for (operation, body) in &requests {
        assert_error(&site, &user, (operation, body), "AccessDeniedException");
    }
    let opposite = policy(
        &json!([{"Effect": "Allow", "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
        "Resource": "*", "Condition": {"Bool": {"kms:GrantIsForAWSResource": "false"}}}]),
    );
    site.put_policy("user", "user", &opposite);
    for (operation, body) in &requests {
        site.kms_by(&user, operation, body).ok();
    }
}
