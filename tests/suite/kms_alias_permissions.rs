//! Who may do what to an alias, and what aliases say about keys in policies.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, Account, OTHER_ACCOUNT};
use crate::support::kms_stories::{PLAINTEXT, alias_arn, delegating_policy, key_arn, policy, user_arn};
use crate::support::{Setup, Site};

fn allow(action: &str, resource: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": resource})
}

fn on_alias(operation: &str, name: &str, target: &str) -> Value {
    if operation == "DeleteAlias" {
        json!({"AliasName": name})
    } else {
        json!({"AliasName": name, "TargetKeyId": target})
    }
}

/// A key whose policy lets nobody in but the administrator and, for one action, a user.
fn closed_key(site: &Site, further: &[Value]) -> String {
    let admin = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("admin")}, "Action": "kms:*",
        "Resource": "*"});
    site.create_key_with(&json!({"Policy": policy(&json!([&[admin], further].concat())).to_string()}))
}

fn user_may_by_key_policy(name: &str, action: &str) -> Value {
    json!({"Effect": "Allow", "Principal": {"AWS": user_arn(name)}, "Action": action, "Resource": "*"})
}

#[test]
fn making_and_deleting_an_alias_needs_the_alias_and_the_key() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("namer");
    let id = site.create_kms_key();
    let (alias, key) = (alias_arn("alias/story"), key_arn(&id));
    for operation in ["CreateAlias", "DeleteAlias"] {
        let action = format!("kms:{operation}");
        let request = on_alias(operation, "alias/story", &id);
        for resources in [vec![&alias], vec![&key]] {
            let statements: Vec<_> = resources.iter().map(|resource| allow(&action, resource)).collect();
            site.kms_user_may("namer", &json!(statements));
            site.assert_denied(&user, operation, &request);
        }
        site.kms_user_may("namer", &json!([allow(&action, &alias), allow(&action, &key)]));
        site.assert_allowed(&user, operation, &request);
    }

    // The side of the alias comes from the identity, that of the key from the key policy too.
    let by_policy =
        ["kms:CreateAlias", "kms:DeleteAlias"].map(|action| user_may_by_key_policy("namer", action));
    let (open, closed) = (closed_key(&site, &by_policy), closed_key(&site, &[]));
    for operation in ["CreateAlias", "DeleteAlias"] {
        let action = format!("kms:{operation}");
        site.kms_user_may("namer", &json!([allow("kms:ListKeys", "*")]));
        site.assert_denied(&user, operation, &on_alias(operation, "alias/story", &open));
        site.kms_user_may("namer", &json!([allow(&action, &alias)]));
        site.assert_allowed(&user, operation, &on_alias(operation, "alias/story", &open));
    }
    site.kms_user_may("namer", &json!([allow("kms:*", "*")]));
    site.assert_denied(&user, "CreateAlias", &on_alias("CreateAlias", "alias/story", &closed));
    site.create_alias("alias/closed", &closed);
    site.assert_denied(&user, "DeleteAlias", &json!({"AliasName": "alias/closed"}));
}

#[test]
fn pointing_an_alias_elsewhere_needs_the_alias_and_both_keys() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("namer");
    let (old, new) = (site.create_kms_key(), site.create_kms_key());
    site.create_alias("alias/story", &old);
    let resources = [alias_arn("alias/story"), key_arn(&old), key_arn(&new)];
    let request = on_alias("UpdateAlias", "alias/story", &new);
    for missing in 0..3 {
        let statements: Vec<_> = (0..3)
            .filter(|place| *place != missing)
            .map(|place| allow("kms:UpdateAlias", &resources[place]))
            .collect();
        site.kms_user_may("namer", &json!(statements));
        site.assert_denied(&user, "UpdateAlias", &request);
    }
    let statements: Vec<_> = resources.iter().map(|resource| allow("kms:UpdateAlias", resource)).collect();
    site.kms_user_may("namer", &json!(statements));
    site.assert_allowed(&user, "UpdateAlias", &request);

    let by_policy = [user_may_by_key_policy("namer", "kms:UpdateAlias")];
    let (one, other) = (closed_key(&site, &by_policy), closed_key(&site, &by_policy));
    site.create_alias("alias/closed", &one);
    site.kms_user_may("namer", &json!([allow("kms:UpdateAlias", &alias_arn("alias/closed"))]));
    site.assert_allowed(&user, "UpdateAlias", &on_alias("UpdateAlias", "alias/closed", &other));
    let stranger = closed_key(&site, &[]);
    site.assert_denied(&user, "UpdateAlias", &on_alias("UpdateAlias", "alias/closed", &stranger));
}

#[test]
fn aliases_are_named_by_arns_patterns_and_denials() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("namer");
    let id = site.create_kms_key();
    let create = |name: &str| on_alias("CreateAlias", name, &id);
    let on_keys = allow("kms:CreateAlias", &key_arn("*"));
    let several = json!({"Effect": "Allow", "Action": "kms:CreateAlias",
        "Resource": [alias_arn("alias/one"), alias_arn("alias/test*")]});
    site.kms_user_may("namer", &json!([on_keys, several]));
    site.assert_allowed(&user, "CreateAlias", &create("alias/one"));
    site.assert_allowed(&user, "CreateAlias", &create("alias/test-2"));
    for name in ["alias/ones", "alias/tes", "alias/Test"] {
        site.assert_denied(&user, "CreateAlias", &create(name));
    }
    let deny =
        json!({"Effect": "Deny", "Action": "kms:CreateAlias", "Resource": alias_arn("alias/Restricted*")});
    site.kms_user_may("namer", &json!([on_keys, allow("kms:CreateAlias", &alias_arn("alias/*")), deny]));
    site.assert_allowed(&user, "CreateAlias", &create("alias/any"));
    site.assert_denied(&user, "CreateAlias", &create("alias/Restricted-1"));
}

#[test]
fn an_alias_as_a_resource_gives_nothing_on_its_key() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("user");
    let id = site.create_kms_key();
    site.create_alias("alias/story", &id);
    site.kms_user_may("user", &json!([allow("kms:*", &alias_arn("alias/story"))]));
    for name in [id.clone(), key_arn(&id), "alias/story".to_owned(), alias_arn("alias/story")] {
        site.assert_denied(&user, "Encrypt", &json!({"KeyId": name, "Plaintext": PLAINTEXT}));
        site.assert_denied(&user, "DescribeKey", &json!({"KeyId": name}));
    }
    site.kms_user_may("user", &json!([allow("kms:Encrypt", &key_arn(&id))]));
    site.assert_allowed(&user, "Encrypt", &json!({"KeyId": "alias/story", "Plaintext": PLAINTEXT}));
}

#[test]
fn listing_aliases_is_a_permission_on_everything() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("lister");
    let id = site.create_kms_key();
    site.create_alias("alias/story", &id);
    site.kms_user_may("lister", &json!([allow("kms:ListAliases", &key_arn("*"))]));
    site.assert_denied(&user, "ListAliases", &json!({}));
    site.kms_user_may("lister", &json!([allow("kms:ListAliases", "*")]));
    let closed = closed_key(&site, &[]);
    site.create_alias("alias/closed", &closed);
    let names = |request: &Value| {
        let listed = site.kms_as(&user, "ListAliases", request).ok();
        listed["Aliases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alias| alias["AliasName"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&json!({})), ["alias/closed", "alias/story"]);
    assert_eq!(names(&json!({"KeyId": id})), ["alias/story"]);
    // The key policy is not asked.
    assert_eq!(names(&json!({"KeyId": closed})), ["alias/closed"]);
    let theirs = site.kms_as(&OTHER_ACCOUNT, "CreateKey", &json!({})).ok()["KeyMetadata"]["Arn"].clone();
    site.assert_denied(&user, "ListAliases", &json!({"KeyId": theirs}));
}

#[test]
fn conditions_about_keys_hold_on_the_side_of_the_key_only() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("namer");
    let id = site.create_kms_key();
    let imported = site.create_key_with(&json!({"Origin": "EXTERNAL"}));
    let alias = alias_arn("alias/story");
    let with = |action: &str, resource: &str, condition: Value| json!({"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition});
    let of_kms = json!({"StringEquals": {"kms:KeyOrigin": "AWS_KMS"}});
    let create = |target: &str| on_alias("CreateAlias", "alias/story", target);
    site.kms_user_may(
        "namer",
        &json!([with("kms:CreateAlias", &alias, of_kms.clone()), allow("kms:CreateAlias", &key_arn("*"))]),
    );
    site.assert_denied(&user, "CreateAlias", &create(&id));
    site.kms_user_may(
        "namer",
        &json!([allow("kms:CreateAlias", &alias), with("kms:CreateAlias", &key_arn("*"), of_kms)]),
    );
    site.assert_denied(&user, "CreateAlias", &create(&imported));
    site.assert_allowed(&user, "CreateAlias", &create(&id));
    let symmetric =
        json!({"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "kms:KeyUsage": "ENCRYPT_DECRYPT"}});
    site.kms_user_may(
        "namer",
        &json!([
            allow("kms:CreateAlias", &alias_arn("alias/*")),
            with("kms:CreateAlias", &key_arn("*"), symmetric)
        ]),
    );
    site.assert_allowed(&user, "CreateAlias", &on_alias("CreateAlias", "alias/second", &id));

    // Of both keys of an UpdateAlias.
    let other = site.create_kms_key();
    let named = json!({"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/story*"}});
    let statements = json!([
        allow("kms:UpdateAlias", &alias_arn("alias/*")),
        with("kms:UpdateAlias", &key_arn("*"), named)
    ]);
    site.kms_user_may("namer", &statements);
    let update = on_alias("UpdateAlias", "alias/second", &other);
    site.assert_denied(&user, "UpdateAlias", &update);
    site.create_alias("alias/story-2", &other);
    site.assert_allowed(&user, "UpdateAlias", &update);
}

/// Requests of operations that use a key, with the key as `name`.
fn uses(name: &str) -> [(&'static str, Value); 3] {
    [
        ("DescribeKey", json!({"KeyId": name})),
        ("Encrypt", json!({"KeyId": name, "Plaintext": PLAINTEXT})),
        ("GenerateDataKey", json!({"KeyId": name, "KeySpec": "AES_256"})),
    ]
}

fn assert_uses(site: &Site, user: &Account, name: &str, allowed: bool) {
    for (operation, request) in uses(name) {
        if allowed {
            site.assert_allowed(user, operation, &request);
        } else {
            site.assert_denied(user, operation, &request);
        }
    }
}

#[test]
fn the_alias_of_the_request_opens_the_key_for_those_who_use_that_name() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("user");
    let id = site.create_kms_key();
    site.create_alias("alias/ExampleAlias", &id);
    site.create_alias("alias/Other", &id);
    let by_name = |pattern: &str| {
        json!({"Effect": "Allow", "Action": "kms:*", "Resource": key_arn("*"),
            "Condition": {"StringLike": {"kms:RequestAlias": pattern}}})
    };
    site.kms_user_may("user", &json!([by_name("alias/Example*")]));
    assert_uses(&site, &user, "alias/ExampleAlias", true);
    assert_uses(&site, &user, &alias_arn("alias/ExampleAlias"), true);
    for name in [id.clone(), key_arn(&id), "alias/Other".to_owned(), alias_arn("alias/Other")] {
        assert_uses(&site, &user, &name, false);
    }
    // Not of operations on the alias itself, nor of the key without it.
    let aliases = allow("kms:*", &alias_arn("alias/*"));
    site.kms_user_may("user", &json!([aliases, by_name("alias/*")]));
    site.assert_denied(&user, "DeleteAlias", &json!({"AliasName": "alias/ExampleAlias"}));
    let create = on_alias("CreateAlias", "alias/ExampleAlias-2", &id);
    site.assert_denied(&user, "CreateAlias", &create);
    // Its value is a name.
    site.kms_user_may("user", &json!([by_name(&alias_arn("alias/ExampleAlias"))]));
    assert_uses(&site, &user, &alias_arn("alias/ExampleAlias"), false);

    // In a key policy too.
    let statement = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")}, "Action": "kms:*",
        "Resource": "*", "Condition": {"StringEquals": {"kms:RequestAlias": "alias/ExampleAlias"}}});
    let put = json!({"KeyId": id, "PolicyName": "default", "Policy": delegating_policy(&[statement])});
    site.kms("PutKeyPolicy", &put).ok();
    assert_uses(&site, &user, "alias/ExampleAlias", true);
    assert_uses(&site, &user, "alias/Other", false);
    assert_uses(&site, &user, &id, false);
}

#[test]
fn the_aliases_of_a_key_open_it_by_whatever_name_and_count_at_once() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("user");
    let (id, other) = (site.create_kms_key(), site.create_kms_key());
    site.create_alias("alias/unrelated", &id);
    let condition = json!({"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/ProjectAlpha*"}});
    let statement =
        json!({"Effect": "Allow", "Action": "kms:*", "Resource": key_arn("*"), "Condition": condition});
    site.kms_user_may("user", &json!([statement]));
    for _ in 0..2 {
        assert_uses(&site, &user, &id, false);
        site.create_alias("alias/ProjectAlpha-key", &id);
        for name in
            [id.clone(), key_arn(&id), "alias/unrelated".to_owned(), "alias/ProjectAlpha-key".to_owned()]
        {
            assert_uses(&site, &user, &name, true);
        }
        for (operation, request) in [
            ("GetKeyPolicy", json!({"KeyId": id, "PolicyName": "default"})),
            ("DisableKey", json!({"KeyId": id})),
            ("EnableKey", json!({"KeyId": id})),
        ] {
            site.assert_allowed(&user, operation, &request);
        }
        let update = on_alias("UpdateAlias", "alias/ProjectAlpha-key", &other);
        site.kms("UpdateAlias", &update).ok();
        assert_uses(&site, &user, &id, false);
        assert_uses(&site, &user, &other, true);
        // By the text of the name: deleted and made again, it matches again.
        site.kms("DeleteAlias", &json!({"AliasName": "alias/ProjectAlpha-key"})).ok();
        assert_uses(&site, &user, &other, false);
    }
    let deny = json!({"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*", "Condition": {
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/unrelated"}}});
    site.kms_user_may("user", &json!([allow("kms:*", "*"), deny]));
    site.assert_denied(&user, "Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT}));
    site.assert_allowed(&user, "Encrypt", &json!({"KeyId": other, "Plaintext": PLAINTEXT}));
    site.assert_allowed(&ACCOUNT, "Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT}));
}
