//! Key policies: what is taken and refused, whom they name, which wildcards cover what, and who cannot lock himself out.

use std::collections::BTreeSet;

use holdfast::domain::kms::{KeyAction, Permission};
use holdfast::policy::{AttachedTo, Context, Finding, PolicyDocument, Principal, Request, evaluate};
use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn, policy, user_arn};
use crate::support::{Setup, Site};

const MALFORMED: &str = "MalformedPolicyDocumentException";

fn root(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}

fn allow(principal: &Value, action: &Value) -> Value {
    json!({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"})
}

fn admin_may() -> Value {
    allow(&json!({"AWS": user_arn("admin")}), &json!("kms:*"))
}

fn put(site: &Site, id: &str, text: &str) {
    site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": text})).ok();
}

fn encrypt(id: &str) -> Value {
    json!({"KeyId": id, "Plaintext": PLAINTEXT})
}

/// The policy with these members of its one statement instead of its own; `null` removes.
fn with(members: Value) -> String {
    policy(&json!([crate::support::site::merged(admin_may(), members)])).to_string()
}

fn taken() -> Vec<String> {
    let everyone = json!("*");
    let mut texts: Vec<_> = [
        json!({"Sid": "Allow use of the key, with spaces"}),
        json!({"Sid": "Größe \u{a7}\u{ff}"}),
        json!({"Resource": null}),
        json!({"Principal": everyone}),
        json!({"Principal": {"AWS": everyone}}),
        json!({"Principal": {"AWS": ACCOUNT.id}}),
        json!({"Principal": {"AWS": ["arn:aws:iam::111122223333:role/Ops", "444455556666", root("123456789012")]}}),
        json!({"Principal": {"AWS": "arn:aws:sts::111122223333:assumed-role/Ops/night"}}),
        json!({"Principal": {"AWS": "arn:aws:iam::123456789012:user/who-does-not-exist"}}),
        json!({"Principal": {"Service": "cloudtrail.amazonaws.com"}}),
        json!({"Principal": {"Federated": "cognito-identity.amazonaws.com"}}),
        json!({"Action": ["kms:Encrypt", "kms:ReEncrypt*", "kms:Generate????Key"]}),
        json!({"Condition": {"Bool": {"kms:GrantIsForAWSResource": true}}}),
        json!({"Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}),
        json!({"Condition": {"StringEquals": {"kms:EncryptionContext:a": "tab\tand\r\nlines"}}}),
    ]
    .map(with)
    .into();
    let own = admin_may().to_string();
    texts.extend([
        format!(r#"{{"Version":"2012-10-17","Statement":{own}}}"#),
        format!(r#"{{"Version":"2008-10-17","Statement":[{own}]}}"#),
        format!(
            "{{\r\n\t\"Id\": \"key-consolepolicy-3\",\n\"Version\": \"2012-10-17\", \"Statement\": [{own}]}}"
        ),
    ]);
    texts
}

fn refused() -> Vec<(String, &'static str)> {
    let own = admin_may().to_string();
    let mut texts = vec![
        (String::from("{"), "not JSON"),
        (format!(r#"{{"Statement":[{own}]}}"#), "`Version` is missing"),
        (format!(r#"{{"Version":"2013-10-17","Statement":[{own}]}}"#), "`Version`"),
        (r#"{"Version":"2012-10-17"}"#.to_owned(), "`Statement` is missing"),
        (r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned(), "`Statement`: an empty list"),
        (format!(r#"{{"Version":"2012-10-17","Statement":[{own}],"Comment":""}}"#), "unknown element"),
    ];
    let members = [
        (json!({"Effect": null}), "`Effect` is missing"),
        (json!({"Effect": "Permit"}), "`Allow` or `Deny`"),
        (json!({"Principal": null}), "has no `Principal`"),
        (json!({"Action": null}), "`Action` is missing"),
        (
            json!({"Principal": {"AWS": "arn:aws:iam::123456789012:group/Admins"}}),
            "a group is not a principal",
        ),
        (json!({"Principal": {"AWS": "arn:aws:iam::1234567890123:root"}}), "`Principal.AWS`"),
        (json!({"Principal": {"AWS": "1234567890123"}}), "`Principal.AWS`"),
        (json!({"Sid": "a dash \u{2013}"}), "\\u0020-\\u00FF"),
        (json!({"Sid": "a bell \u{7}"}), "U+0020 to U+00FF"),
        (json!({"Condition": {"StringIs": {"aws:username": "a"}}}), "`Condition.StringIs`"),
    ];
    texts.extend(members.map(|(members, reason)| (with(members), reason)));
    texts
}

#[test]
fn a_key_policy_is_taken_as_it_is_or_refused_with_a_reason() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for (text, reason) in refused() {
        for (operation, request) in [
            ("PutKeyPolicy", json!({"KeyId": id, "Policy": text, "BypassPolicyLockoutSafetyCheck": true})),
            ("CreateKey", json!({"Policy": text, "BypassPolicyLockoutSafetyCheck": true})),
        ] {
            let (error, message) = site.kms(operation, &request).error();
            // What the pattern of the API excludes is no policy at all.
            let expected = if text.is_ascii() { MALFORMED } else { "ValidationException" };
            assert!(error == expected && message.contains(reason), "{text}: {error}: {message}");
        }
    }
    for text in taken() {
        let made = json!({"Policy": text, "BypassPolicyLockoutSafetyCheck": true});
        let id = site.create_key_with(&made);
        // Who may read it is another question.
        let read = site.kms("GetKeyPolicy", &json!({"KeyId": id}));
        if read.0.status == 200 {
            assert_eq!(read.text("Policy"), text);
        }
    }
}

#[test]
fn a_statement_without_a_resource_is_taken_and_has_no_effect() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("user");
    let everyone = |effect: &str| json!({"Effect": effect, "Principal": "*", "Action": "kms:Encrypt"});
    let id = site
        .create_key_with(&json!({"Policy": policy(&json!([admin_may(), everyone("Allow")])).to_string()}));
    site.assert_denied(&user, "Encrypt", &encrypt(&id));
    put(&site, &id, &policy(&json!([admin_may(), everyone("Deny")])).to_string());
    site.assert_allowed(&ACCOUNT, "Encrypt", &encrypt(&id));
    // Nor does it keep its author in control.
    let only = json!({"Effect": "Allow", "Principal": {"AWS": root(ACCOUNT.id)}, "Action": "kms:*"});
    let request = json!({"KeyId": id, "Policy": policy(&json!([only])).to_string()});
    assert_eq!(site.kms("PutKeyPolicy", &request).error().0, MALFORMED);
}

#[test]
fn a_principal_is_a_user_everyone_or_an_account_that_decides_for_itself() {
    let site = Site::start_with(&Setup::kms());
    let (named, permitted) = (site.kms_user("named"), site.kms_user("permitted"));
    site.kms_user_may("permitted", &json!([{"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"}]));
    let id = site.create_kms_key();
    for (principal, named_may, permitted_may, others_may) in [
        (json!({"AWS": user_arn("named")}), true, false, false),
        (json!("*"), true, true, true),
        (json!({"AWS": "*"}), true, true, true),
        // The id of an account and the ARN of its root are the same, and give nobody anything by themselves.
        (json!({"AWS": ACCOUNT.id}), false, true, false),
        (json!({"AWS": root(ACCOUNT.id)}), false, true, false),
        (json!({"AWS": OTHER_ACCOUNT.id}), false, false, true),
        (json!({"AWS": [user_arn("named"), root(OTHER_ACCOUNT.id)]}), true, false, true),
        (json!({"Service": "s3.amazonaws.com"}), false, false, false),
    ] {
        put(&site, &id, &policy(&json!([admin_may(), allow(&principal, &json!("kms:Encrypt"))])).to_string());
        for (account, may) in [(named, named_may), (permitted, permitted_may), (OTHER_ACCOUNT, others_may)] {
            let error = site.error_name(&account, "Encrypt", &encrypt(&key_arn(&id)));
            let expected = (!may).then_some("AccessDeniedException");
            assert_eq!(error.as_deref(), expected, "{principal} {}", account.access_key_id);
        }
    }
}

/// The permissions on keys that an action pattern covers.
fn covered(pattern: &str) -> BTreeSet<&'static str> {
    let text = policy(&json!([{"Effect": "Allow", "Action": pattern, "Resource": "*"}])).to_string();
    let document = PolicyDocument::parse(&text).unwrap();
    let arn = user_arn("admin");
    let is_covered = |permission: &Permission| {
        let request = Request {
            principal: Principal::new(&arn),
            action: &format!("kms:{}", permission.name),
            resource: "*",
            context: Context::new(),
        };
        matches!(evaluate(&request, AttachedTo::Identity, &document), Finding::Allows { .. })
    };
    let actions = KeyAction::ALL.iter().filter(|action| **action != KeyAction::ListAliases);
    actions.map(|action| action.required_permission()).filter(is_covered).map(|row| row.name).collect()
}

#[test]
fn each_wildcard_of_the_usual_policies_covers_what_the_guide_says() {
    for (pattern, expected) in [
        ("kms:Create*", vec!["CreateAlias", "CreateGrant"]),
        ("kms:Describe*", vec!["DescribeKey"]),
        ("kms:Enable*", vec!["EnableKey", "EnableKeyRotation"]),
        // ListKeyRotations is newer than the guide's list.
        ("kms:List*", vec!["ListGrants", "ListKeyPolicies", "ListKeyRotations", "ListResourceTags"]),
        ("kms:Put*", vec!["PutKeyPolicy"]),
        ("kms:Update*", vec!["UpdateAlias", "UpdateKeyDescription", "UpdatePrimaryRegion"]),
        ("kms:Revoke*", vec!["RevokeGrant"]),
        ("kms:Disable*", vec!["DisableKey", "DisableKeyRotation"]),
        // GetKeyLastUsage too.
        (
            "kms:Get*",
            vec![
                "GetKeyLastUsage",
                "GetKeyPolicy",
                "GetKeyRotationStatus",
                "GetParametersForImport",
                "GetPublicKey",
            ],
        ),
        ("kms:Delete*", vec!["DeleteAlias", "DeleteImportedKeyMaterial"]),
        (
            "kms:GenerateDataKey*",
            vec![
                "GenerateDataKey",
                "GenerateDataKeyPair",
                "GenerateDataKeyPairWithoutPlaintext",
                "GenerateDataKeyWithoutPlaintext",
            ],
        ),
        ("kms:ReEncrypt*", vec!["ReEncryptFrom", "ReEncryptTo"]),
        ("kms:ReEncrypt", vec![]),
    ] {
        assert_eq!(covered(pattern), expected.into_iter().collect(), "{pattern}");
    }
}

#[test]
fn the_statements_of_the_console_let_administrators_manage_and_users_use() {
    let site = Site::start_with(&Setup::kms());
    let (manager, user) = (site.kms_user("manager"), site.kms_user("user"));
    let managing = json!([
        "kms:Create*",
        "kms:Describe*",
        "kms:Enable*",
        "kms:List*",
        "kms:Put*",
        "kms:Update*",
        "kms:Revoke*",
        "kms:Disable*",
        "kms:Get*",
        "kms:Delete*",
        "kms:TagResource",
        "kms:UntagResource",
        "kms:ScheduleKeyDeletion",
        "kms:CancelKeyDeletion",
        "kms:RotateKeyOnDemand"
    ]);
    let using =
        json!(["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]);
    let mut attaching = allow(
        &json!({"AWS": user_arn("user")}),
        &json!(["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"]),
    );
    attaching["Condition"] = json!({"Bool": {"kms:GrantIsForAWSResource": "true"}});
    let statements = [
        allow(&json!({"AWS": user_arn("manager")}), &managing),
        allow(&json!({"AWS": user_arn("user")}), &using),
        attaching,
    ];
    let id = site.create_key_with(&json!({"Policy": delegating_policy(&statements)}));
    let key = json!({"KeyId": id});
    let grant = json!({"KeyId": id, "GranteePrincipal": user_arn("user"), "Operations": ["Encrypt"]});
    for (operation, request, manages, uses) in [
        ("DescribeKey", key.clone(), true, true),
        ("GetKeyPolicy", key.clone(), true, false),
        ("EnableKeyRotation", key.clone(), true, false),
        ("CreateGrant", grant, true, false),
        ("ListGrants", key.clone(), true, false),
        ("Encrypt", encrypt(&id), false, true),
        ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": id, "KeySpec": "AES_256"}), false, true),
        ("ScheduleKeyDeletion", key, true, false),
    ] {
        for (account, may) in [(user, uses), (manager, manages)] {
            let error = site.error_name(&account, operation, &request);
            let expected = (!may).then_some("AccessDeniedException");
            assert_eq!(error.as_deref(), expected, "{operation} {}", account.access_key_id);
        }
    }
}

#[test]
fn a_policy_is_read_from_one_key_and_put_on_another() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("user");
    let statement = allow(&json!({"AWS": user_arn("user")}), &json!("kms:Encrypt"));
    let first = site.create_key_with(&json!({"Policy": delegating_policy(&[statement])}));
    let second = site.create_kms_key();
    site.assert_denied(&user, "Encrypt", &encrypt(&second));
    let text = site.kms("GetKeyPolicy", &json!({"KeyId": first})).text("Policy");
    put(&site, &second, &text);
    site.assert_allowed(&user, "Encrypt", &encrypt(&second));
    // Of keys of the own account only.
    for operation in ["GetKeyPolicy", "PutKeyPolicy", "ListKeyPolicies"] {
        let request = json!({"KeyId": key_arn(&first), "Policy": text});
        site.assert_denied(&OTHER_ACCOUNT, operation, &request);
    }
}

#[test]
fn the_lock_out_check_asks_what_the_next_such_request_would_be_told() {
    let site = Site::start_with(&Setup::kms());
    let author = site.kms_user("author");
    let may = |resource: &str| {
        let actions = json!(["kms:CreateKey", "kms:PutKeyPolicy"]);
        site.kms_user_may(
            "author",
            &json!([{"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*"},
            {"Effect": "Allow", "Action": actions, "Resource": resource}]),
        );
    };
    let error = |operation: &str, request: &Value| site.error_name(&author, operation, request);
    let id = site.create_kms_key();
    let delegating = delegating_policy(&[]);
    // By delegation and the own permission on such keys.
    may(&key_arn("*"));
    assert_eq!(error("CreateKey", &json!({"Policy": delegating})), None);
    assert_eq!(error("PutKeyPolicy", &json!({"KeyId": id, "Policy": delegating})), None);
    may(&key_arn(&id));
    assert_eq!(error("PutKeyPolicy", &json!({"KeyId": id, "Policy": delegating})), None);
    assert_eq!(error("CreateKey", &json!({"Policy": delegating})).as_deref(), Some(MALFORMED));
    let bypassing = json!({"Policy": delegating, "BypassPolicyLockoutSafetyCheck": true});
    assert_eq!(error("CreateKey", &bypassing), None);

    // By the key policy, on conditions that the next request meets too.
    let on = |condition: Value, resource: &str| {
        let mut statement = allow(&json!({"AWS": user_arn("author")}), &json!("kms:PutKeyPolicy"));
        statement["Condition"] = condition;
        statement["Resource"] = json!(resource);
        json!({"KeyId": id, "Policy": policy(&json!([admin_may(), statement])).to_string()})
    };
    let from = |range: &str| json!({"IpAddress": {"aws:SourceIp": range}});
    assert_eq!(error("PutKeyPolicy", &on(from("10.0.0.0/8"), "*")).as_deref(), Some(MALFORMED));
    assert_eq!(
        error("PutKeyPolicy", &on(json!({"StringEquals": {"kms:KeySpec": "RSA_2048"}}), "*")).as_deref(),
        Some(MALFORMED)
    );
    assert_eq!(error("PutKeyPolicy", &on(json!({}), &key_arn("other"))).as_deref(), Some(MALFORMED));
    assert_eq!(error("PutKeyPolicy", &on(from("127.0.0.0/8"), &key_arn(&id))), None);
    assert_eq!(
        error("PutKeyPolicy", &on(json!({"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}}), "*")),
        None
    );
    let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "kms:Put*", "Resource": "*"});
    let text = delegating_policy(&[deny]);
    let refused = site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": text}));
    assert_eq!(refused.error().0, MALFORMED);
}

/// The JSON texts in the documentation.
fn documented() -> Vec<String> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/key-policies.md");
    let text = std::fs::read_to_string(file).unwrap();
    let blocks = text.split("```json\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_documented_policies_are_the_default_one_and_one_that_does_what_it_says() {
    let site = Site::start_with(&Setup::kms());
    let documented = documented();
    let [default, example] = &documented[..] else { panic!("{documented:?}") };
    let id = site.create_kms_key();
    assert_eq!(site.kms("GetKeyPolicy", &json!({"KeyId": id})).text("Policy"), *default);
    put(&site, &id, example);
    let key = key_arn(&id);
    let encrypt = |purpose: &str| json!({"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionContext": {"purpose": purpose}});
    site.assert_denied(&ACCOUNT, "Encrypt", &encrypt("report-1"));
    site.assert_allowed(&ACCOUNT, "GetKeyPolicy", &json!({"KeyId": key}));
    site.assert_denied(&OTHER_ACCOUNT, "Encrypt", &encrypt("mail"));
    site.assert_denied(&OTHER_ACCOUNT, "DescribeKey", &json!({"KeyId": key}));
    let blob = site.kms_as(&OTHER_ACCOUNT, "Encrypt", &encrypt("report-1")).text("CiphertextBlob");
    let decrypt =
        |context: Value| json!({"KeyId": key, "CiphertextBlob": blob, "EncryptionContext": context});
    site.assert_allowed(&OTHER_ACCOUNT, "Decrypt", &decrypt(json!({"purpose": "report-1"})));
    let refused = site.kms_as(&OTHER_ACCOUNT, "Decrypt", &decrypt(json!({}))).error();
    assert!(refused.1.ends_with("with an explicit deny in a resource-based policy"), "{refused:?}");
}
