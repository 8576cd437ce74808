//! Condition keys beyond one value each, which `kms_permissions_walk` asks for: defaults, absence, sets, patterns.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, Account, OTHER_ACCOUNT};
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn, user_arn};
use crate::support::{Setup, Site};

const DENIED: Option<&str> = Some("AccessDeniedException");

/// A site with a user whose permissions are under test.
struct Stage {
    site: Site,
    user: Account,
}

impl Stage {
    fn new() -> Self {
        let site = Site::start_with(&Setup::kms());
        let user = site.kms_user("user");
        Self { site, user }
    }

    /// The user may do this, and nothing else, on this condition.
    #[track_caller]
    fn may(&self, actions: &Value, condition: Value) {
        let statement =
            json!({"Effect": "Allow", "Action": actions, "Resource": "*", "Condition": condition});
        self.site.kms_user_may("user", &json!([statement]));
    }

    /// The user may do everything, but not this on this condition.
    #[track_caller]
    fn may_not(&self, action: &str, condition: Value) {
        let all = json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*"});
        let deny = json!({"Effect": "Deny", "Action": action, "Resource": "*", "Condition": condition});
        self.site.kms_user_may("user", &json!([all, deny]));
    }

    #[track_caller]
    fn assert(&self, operation: &str, request: &Value, error: Option<&str>) {
        let found = self.site.error_name(&self.user, operation, request);
        assert_eq!(found.as_deref(), error, "{operation} {request}");
    }
}

#[test]
fn an_absent_parameter_counts_as_its_default_and_a_given_one_as_given() {
    let stage = Stage::new();
    let id = stage.site.create_kms_key();
    let spec = |spec: &str| json!({"KeySpec": spec, "KeyUsage": "SIGN_VERIFY"});
    for (key, default, given, other) in [
        ("kms:KeySpec", "SYMMETRIC_DEFAULT", spec("RSA_2048"), "RSA_*"),
        ("kms:CustomerMasterKeySpec", "SYMMETRIC_DEFAULT", spec("RSA_2048"), "RSA_2048"),
        ("kms:KeyUsage", "ENCRYPT_DECRYPT", spec("ECC_NIST_P256"), "SIGN_VERIFY"),
        ("kms:CustomerMasterKeyUsage", "ENCRYPT_DECRYPT", spec("ECC_NIST_P256"), "SIGN_*"),
        ("kms:KeyOrigin", "AWS_KMS", json!({"Origin": "EXTERNAL"}), "EXTERNAL"),
        ("kms:MultiRegion", "false", json!({"MultiRegion": true}), "true"),
    ] {
        stage.may(&json!("kms:CreateKey"), json!({"StringLike": {key: default}}));
        stage.assert("CreateKey", &json!({}), None);
        stage.assert("CreateKey", &given, DENIED);
        stage.may(&json!("kms:CreateKey"), json!({"StringLike": {key: other}}));
        stage.assert("CreateKey", &json!({}), DENIED);
        stage.assert("CreateKey", &given, None);
    }

    let rotation = |days: Value| json!({"KeyId": id, "RotationPeriodInDays": days});
    stage.may_not(
        "kms:EnableKeyRotation",
        json!({"NumericLessThanEquals": {"kms:RotationPeriodInDays": "180"}}),
    );
    stage.assert("EnableKeyRotation", &json!({"KeyId": id}), None);
    stage.assert("EnableKeyRotation", &rotation(json!(181)), None);
    stage.assert("EnableKeyRotation", &rotation(json!(180)), DENIED);
    let window = json!({"NumericNotEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": 30}});
    stage.may_not("kms:ScheduleKeyDeletion", window);
    stage.assert("ScheduleKeyDeletion", &json!({"KeyId": id, "PendingWindowInDays": 29}), DENIED);
    stage.assert("ScheduleKeyDeletion", &json!({"KeyId": id}), None);
    let algorithm = |value: &str| json!({"StringEquals": {"kms:EncryptionAlgorithm": value}});
    let id = stage.site.create_kms_key();
    for (operation, request) in [
        ("Encrypt", json!({"KeyId": id, "Plaintext": PLAINTEXT})),
        ("Decrypt", json!({"KeyId": id, "CiphertextBlob": stage.site.kms_encrypt(&id)})),
        ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
    ] {
        let action = json!(format!("kms:{operation}"));
        stage.may(&action, algorithm("SYMMETRIC_DEFAULT"));
        stage.assert(operation, &request, None);
        stage.may(&action, algorithm("RSAES_OAEP_SHA_256"));
        stage.assert(operation, &request, DENIED);
    }
}

#[test]
fn whether_the_lock_out_check_is_bypassed_is_absent_unless_the_request_says_it() {
    let stage = Stage::new();
    let id = stage.site.create_kms_key();
    let policy = delegating_policy(&[]);
    let bypassing =
        |bypass: Value| json!({"KeyId": id, "Policy": policy, "BypassPolicyLockoutSafetyCheck": bypass});
    let silent = json!({"KeyId": id, "Policy": policy});
    let actions = json!(["kms:CreateKey", "kms:PutKeyPolicy"]);
    let key = "kms:BypassPolicyLockoutSafetyCheck";
    let without = |request: &Value| crate::support::site::merged(request.clone(), json!({"KeyId": null}));
    for (condition, silent_may, false_may, true_may) in [
        (json!({"Null": {key: "true"}}), true, false, false),
        (json!({"Null": {key: false}}), false, true, true),
        (json!({"Bool": {key: "false"}}), false, true, false),
        (json!({"Bool": {key: true}}), false, false, true),
    ] {
        for (request, may) in [
            (silent.clone(), silent_may),
            (bypassing(json!(false)), false_may),
            (bypassing(json!(true)), true_may),
        ] {
            stage.may(&actions, condition.clone());
            let error = if may { None } else { DENIED };
            stage.assert("PutKeyPolicy", &request, error);
            // The new key is under the same condition: whoever says nothing cannot change its policy either.
            let created = stage.site.error_name(&stage.user, "CreateKey", &without(&request));
            assert_eq!(created.as_deref() == DENIED, !may, "{condition} {request}");
        }
    }
}

#[test]
fn keys_are_anded_values_ored_and_names_compared_without_case() {
    let stage = Stage::new();
    let id = stage.site.create_kms_key();
    let encrypt = |context: Value| json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    let action = json!("kms:Encrypt");
    let (app, stage_of) = ("kms:EncryptionContext:AppName", "kms:EncryptionContext:Stage");
    stage.may(&action, json!({"StringEquals": {app: ["one", "two"], stage_of: "Test"}}));
    stage.assert("Encrypt", &encrypt(json!({"AppName": "two", "Stage": "Test", "More": "x"})), None);
    stage.assert("Encrypt", &encrypt(json!({"AppName": "two"})), DENIED);
    stage.assert("Encrypt", &encrypt(json!({"AppName": "three", "Stage": "Test"})), DENIED);
    stage.may(&action, json!({"StringEquals": {app: "one"}, "StringLike": {stage_of: "T*"}}));
    stage.assert("Encrypt", &encrypt(json!({"AppName": "one", "Stage": "Test"})), None);
    stage.assert("Encrypt", &encrypt(json!({"AppName": "one", "Stage": "Prod"})), DENIED);
    // The name of a key, that of the pair included, and the case of a value.
    stage.may(&action, json!({"StringEquals": {"KMS:encryptioncontext:APPNAME": "one"}}));
    stage.assert("Encrypt", &encrypt(json!({"AppName": "one"})), None);
    stage.assert("Encrypt", &encrypt(json!({"AppName": "One"})), DENIED);
    stage.may(&action, json!({"StringEqualsIgnoreCase": {app: "one"}}));
    stage.assert("Encrypt", &encrypt(json!({"AppName": "ONE"})), None);
    // The keys of the context are values: their case counts.
    let keys = |operator: &str, values: Value| json!({operator: {"kms:EncryptionContextKeys": values}});
    stage.may(&action, keys("ForAnyValue:StringEquals", json!("AppName")));
    stage.assert("Encrypt", &encrypt(json!({"AppName": "x", "Project": "Alpha"})), None);
    stage.assert("Encrypt", &encrypt(json!({"appname": "x"})), DENIED);
    stage.assert("Encrypt", &encrypt(json!({})), DENIED);
    stage.may(&action, keys("ForAllValues:StringEquals", json!(["AppName", "Stage"])));
    stage.assert("Encrypt", &encrypt(json!({})), None);
    stage.assert("Encrypt", &encrypt(json!({"AppName": "x", "Other": "y"})), DENIED);
    // This pair and no other.
    stage.may(
        &action,
        json!({"StringEquals": {app: "one"},
        "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "AppName"}}),
    );
    stage.assert("Encrypt", &encrypt(json!({"AppName": "one"})), None);
    stage.assert("Encrypt", &encrypt(json!({"AppName": "one", "Stage": "Test"})), DENIED);
    // A variable in the value is the caller's own; in the name of a key and in a context it is text.
    stage.may(&action, json!({"StringEquals": {app: "${aws:username}"}}));
    stage.assert("Encrypt", &encrypt(json!({"AppName": "user"})), None);
    stage.assert("Encrypt", &encrypt(json!({"AppName": "${aws:username}"})), DENIED);
    stage.may(&action, json!({"StringEquals": {"kms:EncryptionContext:${aws:username}": "x"}}));
    stage.assert("Encrypt", &encrypt(json!({"user": "x"})), DENIED);
    stage.assert("Encrypt", &encrypt(json!({"${aws:username}": "x"})), None);
    // A Deny hits what it names only.
    stage.may_not("kms:Encrypt", json!({"StringEquals": {stage_of: "Prod"}}));
    stage.assert("Encrypt", &encrypt(json!({"Stage": "Prod"})), DENIED);
    stage.assert("Encrypt", &encrypt(json!({"Stage": "Test"})), None);
}

#[test]
fn a_context_demanded_of_an_operation_without_one_is_never_there() {
    let stage = Stage::new();
    let id = stage.site.create_kms_key();
    let context = json!({"StringEquals": {"kms:EncryptionContext:AppName": "one"}});
    let actions = json!(["kms:Encrypt", "kms:DescribeKey", "kms:ListKeys"]);
    stage.may(&actions, context);
    let encrypt = json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionContext": {"AppName": "one"}});
    stage.assert("Encrypt", &encrypt, None);
    stage.assert("DescribeKey", &json!({"KeyId": id}), DENIED);
    // Nor is what is said of a key, where the operation is about none.
    for key in ["kms:KeySpec", "kms:KeyOrigin", "kms:CallerAccount", "kms:MultiRegion"] {
        stage.may(&actions, json!({"StringLike": {key: "*"}}));
        stage.assert("DescribeKey", &json!({"KeyId": id}), None);
        stage.assert("ListKeys", &json!({}), DENIED);
    }
}

#[test]
fn for_all_values_is_refused_in_key_policies_where_it_would_let_in_requests_without_the_key() {
    let stage = Stage::new();
    let id = stage.site.create_kms_key();
    let with = |operator: &str, key: &str| {
        let statement = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")}, "Action": "kms:*",
            "Resource": "*", "Condition": {operator: {key: "x"}}});
        delegating_policy(&[statement])
    };
    for (key, prefix, what) in [
        (
            "kms:EncryptionContext:AppName",
            "OverlyPermissiveCondition:EncryptionContext",
            "encryption context",
        ),
        ("aws:RequestTag/Project", "OverlyPermissiveCondition", "tag"),
    ] {
        let text = format!(
            "{prefix}: Using the ForAllValues set operator with a single-valued condition key matches requests without \
             the specified {what} or with an unspecified {what}. To fix, remove ForAllValues."
        );
        let policy = with("ForAllValues:StringEquals", key);
        stage
            .site
            .kms("CreateKey", &json!({"Policy": policy}))
            .assert_error("MalformedPolicyDocumentException", &text);
        let put = json!({"KeyId": id, "Policy": policy});
        stage.site.kms("PutKeyPolicy", &put).assert_error("MalformedPolicyDocumentException", &text);
        let any = json!({"KeyId": id, "Policy": with("ForAnyValue:StringEquals", key)});
        stage.site.kms("PutKeyPolicy", &any).ok();
    }
    let several =
        json!({"KeyId": id, "Policy": with("ForAllValues:StringEquals", "kms:EncryptionContextKeys")});
    stage.site.kms("PutKeyPolicy", &several).ok();
}

#[test]
fn whether_a_text_is_encrypted_under_the_same_key_again_can_be_a_condition() {
    let stage = Stage::new();
    let (one, other) = (stage.site.create_kms_key(), stage.site.create_kms_key());
    stage.site.create_alias("alias/one", &one);
    let blob = stage.site.kms_encrypt(&one);
    let to = |key: &str, more: Value| {
        let request = json!({"CiphertextBlob": blob, "DestinationKeyId": key});
        crate::support::site::merged(request, more)
    };
    for (same, same_may) in [("true", true), ("false", false)] {
        stage.may(&json!("kms:ReEncrypt*"), json!({"Bool": {"kms:ReEncryptOnSameKey": same}}));
        let (of_same, of_other) = if same_may { (None, DENIED) } else { (DENIED, None) };
        for source in [json!({}), json!({"SourceKeyId": one}), json!({"SourceKeyId": "alias/one"})] {
            stage.assert("ReEncrypt", &to(&one, source.clone()), of_same);
            stage.assert("ReEncrypt", &to("alias/one", source.clone()), of_same);
            stage.assert("ReEncrypt", &to(&key_arn(&other), source), of_other);
        }
    }
}

#[test]
fn the_account_of_the_caller_makes_everyone_to_everyone_of_an_account() {
    let stage = Stage::new();
    let statement = json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:Encrypt", "Resource": "*",
        "Condition": {"StringEquals": {"kms:CallerAccount": ACCOUNT.id}}});
    let id = stage.site.create_key_with(&json!({"Policy": delegating_policy(&[statement])}));
    let encrypt = json!({"KeyId": key_arn(&id), "Plaintext": PLAINTEXT});
    stage.assert("Encrypt", &encrypt, None);
    stage.site.assert_denied(&OTHER_ACCOUNT, "Encrypt", &encrypt);
    stage.may(
        &json!("kms:DescribeCustomKeyStores"),
        json!({"StringEquals": {"kms:CallerAccount": ACCOUNT.id}}),
    );
    stage.assert("DescribeCustomKeyStores", &json!({}), None);
}

#[test]
fn without_a_service_between_nothing_is_via_a_service() {
    let stage = Stage::new();
    let id = stage.site.create_kms_key();
    let encrypt = json!({"KeyId": id, "Plaintext": PLAINTEXT});
    let via = json!({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}});
    stage.may(&json!("kms:Encrypt"), via.clone());
    stage.assert("Encrypt", &encrypt, DENIED);
    stage.may_not("kms:Encrypt", via);
    stage.assert("Encrypt", &encrypt, None);
    for key in ["aws:SourceArn", "aws:SourceAccount"] {
        stage.may(&json!("kms:Encrypt"), json!({"StringLike": {key: "*"}}));
        stage.assert("Encrypt", &encrypt, DENIED);
    }
}

#[test]
fn a_multi_region_key_has_its_kind_and_another_key_has_none() {
    let stage = Stage::new();
    let multi = stage.site.create_key_with(&json!({"MultiRegion": true}));
    let single = stage.site.create_kms_key();
    let kind = |operator: &str, value: Value| json!({operator: {"kms:MultiRegionKeyType": value}});
    for (condition, of_multi, of_single) in [
        (kind("StringEquals", json!("PRIMARY")), None, DENIED),
        (kind("StringEquals", json!("REPLICA")), DENIED, DENIED),
        (kind("Null", json!("true")), DENIED, None),
        (json!({"Bool": {"kms:MultiRegion": "true"}}), None, DENIED),
    ] {
        stage.may(&json!(["kms:DescribeKey", "kms:CreateKey"]), condition);
        stage.assert("DescribeKey", &json!({"KeyId": multi}), of_multi);
        stage.assert("DescribeKey", &json!({"KeyId": single}), of_single);
        stage.assert("CreateKey", &json!({"MultiRegion": true}), of_multi);
        stage.assert("CreateKey", &json!({}), of_single);
    }
    // A resource pattern with their prefix, and one of any Region.
    let on = |resource: &str| {
        stage
            .site
            .kms_user_may("user", &json!([{"Effect": "Allow", "Action": "kms:*", "Resource": resource}]));
    };
    on(&key_arn("mrk-*"));
    stage.assert("DescribeKey", &json!({"KeyId": multi}), None);
    stage.assert("DescribeKey", &json!({"KeyId": single}), DENIED);
    on(&format!("arn:aws:kms:*:{}:key/{single}", ACCOUNT.id));
    stage.assert("DescribeKey", &json!({"KeyId": single}), None);
    on(&format!("arn:aws:kms:eu-west-1:{}:key/*", ACCOUNT.id));
    stage.assert("DescribeKey", &json!({"KeyId": single}), DENIED);
    stage.may(&json!("kms:CreateKey"), json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}));
    stage.assert("CreateKey", &json!({}), DENIED);
    stage.may(&json!("kms:CreateKey"), json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}));
    stage.assert("CreateKey", &json!({}), None);
}

#[test]
fn a_deny_beats_key_policy_identity_policy_and_grant() {
    let stage = Stage::new();
    let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
        "Condition": {"StringNotEquals": {"kms:EncryptionContext:AppName": "one"}}});
    let allow = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")}, "Action": "kms:*", "Resource": "*"});
    let id = stage.site.create_key_with(&json!({"Policy": delegating_policy(&[deny, allow])}));
    stage.may(&json!("kms:*"), json!({}));
    let grant = json!({"KeyId": id, "GranteePrincipal": user_arn("user"), "Operations": ["Encrypt"]});
    stage.site.kms("CreateGrant", &grant).ok();
    let encrypt = |context: Value| json!({"KeyId": id, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    stage.assert("Encrypt", &encrypt(json!({"AppName": "one"})), None);
    for context in [json!({}), json!({"AppName": "two"})] {
        let text = format!(
            "User: {} is not authorized to perform: kms:Encrypt on resource: {} with an explicit deny in a \
             resource-based policy",
            user_arn("user"),
            key_arn(&id)
        );
        let refused = stage.site.kms_as(&stage.user, "Encrypt", &encrypt(context));
        refused.assert_error("AccessDeniedException", &text);
    }
    // An identity's own Deny too, where the key policy lets it in by name.
    let mine = json!({"Effect": "Deny", "Action": "kms:Encrypt", "Resource": key_arn(&id)});
    stage.site.kms_user_may("user", &json!([mine]));
    let refused = stage.site.kms_as(&stage.user, "Encrypt", &encrypt(json!({"AppName": "one"})));
    let (_, text) = refused.error();
    assert!(text.ends_with("with an explicit deny in an identity-based policy"), "{text}");
}

#[test]
fn administration_from_one_network_use_from_another_and_reading_from_everywhere() {
    let stage = Stage::new();
    let from = |effect: &str, operator: &str, actions: Value, range: &str| {
        json!({"Effect": effect, "Principal": {"AWS": user_arn("user")}, "Action": actions, "Resource": "*",
            "Condition": {operator: {"aws:SourceIp": range}}})
    };
    let manage = json!(["kms:Enable*", "kms:Disable*", "kms:TagResource"]);
    let use_it = json!(["kms:Encrypt", "kms:GenerateDataKey*"]);
    let read = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")}, "Resource": "*",
        "Action": ["kms:Describe*", "kms:List*", "kms:Get*"]});
    let statements = [
        from("Allow", "IpAddress", manage, "10.0.0.0/8"),
        from("Allow", "IpAddress", use_it, "127.0.0.0/8"),
        read,
    ];
    let id = stage.site.create_key_with(&json!({"Policy": delegating_policy(&statements)}));
    stage.assert("DisableKey", &json!({"KeyId": id}), DENIED);
    stage.assert("Encrypt", &json!({"KeyId": id, "Plaintext": PLAINTEXT}), None);
    stage.assert("DescribeKey", &json!({"KeyId": id}), None);
    stage.assert("GetKeyRotationStatus", &json!({"KeyId": id}), None);
}

#[test]
fn tags_can_be_taken_away_or_kept_from_being_given_by_their_keys() {
    let stage = Stage::new();
    let id = stage.site.create_kms_key();
    let tag = |key: &str| json!({"KeyId": id, "Tags": [{"TagKey": key, "TagValue": "Test"}]});
    stage.may_not("kms:TagResource", json!({"ForAnyValue:StringEquals": {"aws:TagKeys": "Restricted"}}));
    stage.assert("TagResource", &tag("Restricted"), DENIED);
    stage.assert("TagResource", &tag("Purpose"), None);
    stage.may(&json!("kms:UntagResource"), json!({"ForAllValues:StringEquals": {"aws:TagKeys": "Purpose"}}));
    stage.assert("UntagResource", &json!({"KeyId": id, "TagKeys": ["Purpose"]}), None);
    stage.assert("UntagResource", &json!({"KeyId": id, "TagKeys": ["Purpose", "Other"]}), DENIED);
    // Key policies see the tags of a request, and not those of the key.
    let by_tag = |key: &str| {
        let statement = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")}, "Resource": "*",
            "Action": "kms:TagResource", "Condition": {"StringEquals": {key: "Test"}}});
        let text = delegating_policy(&[statement]);
        stage.site.kms("PutKeyPolicy", &json!({"KeyId": id, "Policy": text})).ok();
    };
    stage.may(&json!("kms:ListKeys"), json!({}));
    by_tag("aws:RequestTag/Purpose");
    stage.assert("TagResource", &tag("Purpose"), None);
    by_tag("aws:ResourceTag/Purpose");
    stage.assert("TagResource", &tag("Purpose"), DENIED);
}
