//! Keys of another account: who may use them, and what strangers learn of them.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, Account, OTHER_ACCOUNT};
use crate::support::kms_callers::Credentials;
use crate::support::kms_stories::{
    ABSENT, PLAINTEXT, alias_arn, delegating_policy, key_arn, policy, user_arn,
};
use crate::support::{Setup, Site};

/// A key of the other account with one more statement: its ARN.
fn their_key(site: &Site, statement: Option<&Value>) -> String {
    let root = format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id);
    let own = json!({"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"});
    let statements: Vec<_> = [Some(&own), statement].into_iter().flatten().collect();
    let request = json!({"Policy": policy(&json!(statements)).to_string()});
    let made = site.kms_as(&OTHER_ACCOUNT, "CreateKey", &request).ok();
    made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

fn uses(name: &str) -> [(&'static str, Value); 4] {
    [
        ("DescribeKey", json!({"KeyId": name})),
        ("Encrypt", json!({"KeyId": name, "Plaintext": PLAINTEXT})),
        ("Decrypt", json!({"KeyId": name, "CiphertextBlob": "AAAA"})),
        ("GenerateDataKey", json!({"KeyId": name, "KeySpec": "AES_256"})),
    ]
}

#[test]
fn of_another_account_a_forbidden_key_and_none_look_the_same() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.create_alias("alias/secret", &id);
    let text = |operation: &str, request: &Value| {
        let (error, text) = site.kms_as(&OTHER_ACCOUNT, operation, request).error();
        assert_eq!(error, "AccessDeniedException", "{operation} {request}");
        assert!(!text.contains(&id) || request.to_string().contains(&id), "{text}");
        text
    };
    for (there, absent) in
        [(key_arn(&id), key_arn(ABSENT)), (alias_arn("alias/secret"), alias_arn("alias/nobody"))]
    {
        for ((operation, request), (_, for_nothing)) in uses(&there).into_iter().zip(uses(&absent)) {
            let expected = format!(
                "User: arn:aws:iam::{}:user/admin is not authorized to perform: kms:{operation} on resource: {there} \
                 because no resource-based policy allows the kms:{operation} action",
                OTHER_ACCOUNT.id
            );
            assert_eq!(text(operation, &request), expected);
            assert_eq!(text(operation, &for_nothing), expected.replace(&there, &absent));
        }
    }
    // What other accounts can never do is refused alike.
    for operation in ["GetKeyPolicy", "ListResourceTags", "DisableKey", "ScheduleKeyDeletion"] {
        let [there, absent] =
            [&id, ABSENT].map(|id| text(operation, &json!({"KeyId": key_arn(id)})).replace(id, ""));
        assert_eq!(there, absent);
    }
    // A state is not told either.
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    text("Encrypt", &json!({"KeyId": key_arn(&id), "Plaintext": PLAINTEXT}));
    // Of a ciphertext not even the key is named.
    site.kms("EnableKey", &json!({"KeyId": id})).ok();
    let blob = site.kms_encrypt(&id);
    assert!(text("Decrypt", &json!({"CiphertextBlob": blob})).starts_with("The ciphertext refers to"));
}

#[test]
fn a_role_uses_a_key_of_another_account_if_both_accounts_allow_it() {
    let site = Site::start_with(&Setup::kms());
    let delegated =
        json!({"Effect": "Allow", "Principal": {"AWS": ACCOUNT.id}, "Action": "kms:*", "Resource": "*"});
    let (shared, closed) = (their_key(&site, Some(&delegated)), their_key(&site, None));
    let role = |name: &str, statements: &Value| -> Credentials {
        let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
            "Principal": {"AWS": user_arn("admin")}, "Action": "sts:AssumeRole"}});
        let file = site.path("trust.json");
        std::fs::write(&file, trust.to_string()).unwrap();
        let file = file.to_str().unwrap();
        site.identity(&["role", "create", "--account", ACCOUNT.id, name, "--trust-policy", file]);
        site.put_policy("role", name, &policy(statements));
        let arn = format!("arn:aws:iam::{}:role/{name}", ACCOUNT.id);
        let parameters = [("RoleArn", arn.as_str()), ("RoleSessionName", "alice")];
        site.sts_by(&ACCOUNT.credentials(), "AssumeRole", &parameters).credentials()
    };
    let on = |key: &str| json!([{"Effect": "Allow", "Action": "kms:*", "Resource": key}]);
    let engineering = role("Engineering", &json!([on(&shared)[0], on(&closed)[0]]));
    let idle = role("Idle", &on("arn:aws:kms:us-east-1:210987654321:key/other"));
    for (session, key, allowed) in [
        (&engineering, &shared, true),
        (&engineering, &closed, false),
        (&idle, &shared, false),
        (&idle, &closed, false),
    ] {
        let reply = site.kms_by(session, "Encrypt", &json!({"KeyId": key, "Plaintext": PLAINTEXT}));
        assert_eq!(reply.0.status == 200, allowed, "{key}");
        if !allowed {
            assert_eq!(reply.error().0, "AccessDeniedException");
        }
    }
}

#[test]
fn under_the_default_key_policy_a_user_without_policies_is_denied() {
    let site = Site::start_with(&Setup::kms());
    let alice = site.kms_user("alice");
    let id = site.create_kms_key();
    for (operation, request) in uses(&id) {
        let text = format!(
            "User: {} is not authorized to perform: kms:{operation} on resource: {} because no identity-based policy \
             allows the kms:{operation} action",
            user_arn("alice"),
            key_arn(&id)
        );
        site.kms_as(&alice, operation, &request).assert_error("AccessDeniedException", &text);
    }
}

#[test]
fn a_key_policy_opens_the_key_to_an_account_or_to_its_named_users_for_what_both_sides_name() {
    let site = Site::start_with(&Setup::kms());
    let (named, other) = (site.kms_user("named"), site.kms_user("other"));
    let actions = json!(["kms:Encrypt", "kms:DescribeKey"]);
    let open_to = |principal: &str| json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": actions, "Resource": "*"});
    let to_account = their_key(&site, Some(&open_to(&format!("arn:aws:iam::{}:root", ACCOUNT.id))));
    let to_user = their_key(&site, Some(&open_to(&user_arn("named"))));
    let assert = |user: &Account, key: &str, encrypt: bool, describe: bool| {
        for (operation, request, may) in [
            ("Encrypt", json!({"KeyId": key, "Plaintext": PLAINTEXT}), encrypt),
            ("DescribeKey", json!({"KeyId": key}), describe),
            ("GenerateDataKey", json!({"KeyId": key, "KeySpec": "AES_256"}), false),
        ] {
            let error = site.error_name(user, operation, &request);
            assert_eq!(error.as_deref(), (!may).then_some("AccessDeniedException"), "{operation} {key}");
        }
    };
    // Without permission of their own account, nobody.
    for key in [&to_account, &to_user] {
        assert(&named, key, false, false);
    }
    let generous =
        json!([{"Effect": "Allow", "Action": ["kms:Encrypt", "kms:GenerateDataKey"], "Resource": "*"}]);
    site.kms_user_may("named", &generous);
    site.kms_user_may("other", &generous);
    assert(&named, &to_account, true, false);
    assert(&other, &to_account, true, false);
    assert(&named, &to_user, true, false);
    assert(&other, &to_user, false, false);
    // A grant needs nothing of theirs.
    let id = to_user.rsplit('/').next().unwrap();
    let grant = json!({"KeyId": id, "GranteePrincipal": user_arn("other"), "Operations": ["DescribeKey"]});
    site.kms_as(&OTHER_ACCOUNT, "CreateGrant", &grant).ok();
    assert(&other, &to_user, false, true);
}

#[test]
fn what_other_accounts_cannot_be_permitted_has_no_effect() {
    let site = Site::start_with(&Setup::kms());
    let everything = json!({"Effect": "Allow", "Principal": {"AWS": [OTHER_ACCOUNT.id,
        format!("arn:aws:iam::{}:user/admin", OTHER_ACCOUNT.id)]}, "Action": "kms:*", "Resource": "*"});
    let id = site.create_key_with(&json!({"Policy": delegating_policy(&[everything])}));
    let key = key_arn(&id);
    for (operation, request) in [
        ("TagResource", json!({"KeyId": key, "Tags": [{"TagKey": "a", "TagValue": "b"}]})),
        ("CreateAlias", json!({"AliasName": "alias/theirs", "TargetKeyId": key})),
        ("PutKeyPolicy", json!({"KeyId": key, "Policy": delegating_policy(&[])})),
        ("UpdateKeyDescription", json!({"KeyId": key, "Description": "theirs"})),
    ] {
        site.assert_denied(&OTHER_ACCOUNT, operation, &request);
    }
    let listed = site.kms_as(&OTHER_ACCOUNT, "ListKeys", &json!({})).ok();
    assert!(!listed.to_string().contains(&id), "{listed}");
}
