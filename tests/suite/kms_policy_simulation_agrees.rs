//! `holdfast policy simulate` says of every request what the daemon says to it.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, Account, OTHER_ACCOUNT};
use crate::support::kms_stories::{PLAINTEXT, delegating_policy, key_arn, policy, user_arn};
use crate::support::{Setup, Site};

/// Whom the requests are of.
const USER: &str = "asker";

/// A request, and how the command asks about it.
struct Question {
    operation: &'static str,
    request: Value,
    asked: Vec<String>,
}

struct Scene {
    site: Site,
    user: Account,
    key: String,
    second: String,
    /// Its policy trusts attributes that key policies do not see.
    tagged: String,
    /// Of the other account, open to everyone.
    theirs: String,
    blob: String,
}

fn question(operation: &'static str, request: Value, asked: &[&str]) -> Question {
    Question { operation, request, asked: asked.iter().map(|text| (*text).to_owned()).collect() }
}

impl Scene {
    fn new() -> Self {
        let site = Site::start_with(&Setup::kms());
        let user = site.kms_user(USER);
        let everyone = json!({"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"});
        let theirs = json!({"Policy": policy(&json!([everyone])).to_string()});
        let theirs = site.kms_as(&OTHER_ACCOUNT, "CreateKey", &theirs).ok()["KeyMetadata"]["Arn"].clone();
        let by_tag = json!({"Effect": "Allow", "Principal": {"AWS": user_arn(USER)}, "Action": "kms:*",
            "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/colour": "red"}}});
        let tagged = json!({"Policy": delegating_policy(&[by_tag]),
            "Tags": [{"TagKey": "colour", "TagValue": "red"}]});
        let (key, second) = (site.create_kms_key(), site.create_kms_key());
        Self {
            tagged: site.create_key_with(&tagged),
            theirs: theirs.as_str().unwrap().to_owned(),
            blob: site.kms_encrypt(&key),
            key: key_arn(&key),
            second: key_arn(&second),
            site,
            user,
        }
    }

    /// A grant that the user's account may retire.
    fn grant(&self, of: &Account, key: &str, retiring: &str) -> String {
        let grant = json!({"KeyId": key, "GranteePrincipal": user_arn("grantee"), "Operations": ["Decrypt"],
            "RetiringPrincipal": retiring});
        self.site.kms_as(of, "CreateGrant", &grant).text("GrantId")
    }

    /// On one key, by operations that every key has.
    fn on_key(&self, key: &str) -> Vec<Question> {
        let only_key = json!({"KeyId": key});
        let with = |members: Value| crate::support::site::merged(only_key.clone(), members);
        let mut questions: Vec<_> = [
            ("DescribeKey", only_key.clone()),
            ("Encrypt", with(json!({"Plaintext": PLAINTEXT}))),
            ("GenerateDataKey", with(json!({"KeySpec": "AES_256"}))),
            ("GenerateDataKeyWithoutPlaintext", with(json!({"KeySpec": "AES_256"}))),
            ("GetKeyPolicy", only_key.clone()),
            ("GetKeyRotationStatus", only_key.clone()),
            ("ListGrants", only_key.clone()),
            ("ListResourceTags", only_key.clone()),
            ("EnableKeyRotation", only_key.clone()),
            ("UpdateKeyDescription", with(json!({"Description": "asked"}))),
            ("EnableKey", only_key.clone()),
        ]
        .into_iter()
        .map(|(operation, request)| question(operation, request, &["--key", key]))
        .collect();
        questions.push(question(
            "TagResource",
            with(json!({"Tags": [{"TagKey": "scene", "TagValue": "new"}]})),
            &["--key", key, "--context", "aws:RequestTag/scene=new", "--context", "aws:TagKeys=scene"],
        ));
        questions
    }

    fn questions(&self) -> Vec<Question> {
        let Self { key, second, blob, .. } = self;
        let re_encrypt =
            |to: &str| json!({"CiphertextBlob": blob, "SourceKeyId": key, "DestinationKeyId": to});
        let own_root = format!("arn:aws:iam::{}:root", ACCOUNT.id);
        let mut questions = self.on_key(key);
        questions.extend(self.on_key(&self.tagged));
        questions.extend(self.on_key(&self.theirs));
        questions.extend([
            question("Decrypt", json!({"CiphertextBlob": blob}), &["--key", key]),
            question("ReEncrypt", re_encrypt(key), &["--key", key]),
            question("ReEncrypt", re_encrypt(second), &["--key", key, "--destination-key", second]),
            question("CreateKey", json!({}), &[]),
            question("ListKeys", json!({}), &[]),
            question("ListAliases", json!({"KeyId": key}), &["--key", key]),
            question("GenerateRandom", json!({"NumberOfBytes": 1}), &[]),
            question("DeleteAlias", json!({"AliasName": "alias/a"}), &["--alias", "alias/a"]),
            question("ScheduleKeyDeletion", json!({"KeyId": second}), &["--key", second]),
            question("CancelKeyDeletion", json!({"KeyId": second}), &["--key", second]),
        ]);
        for (of, key, retiring) in [
            (&ACCOUNT, key, user_arn(USER)),
            (&ACCOUNT, key, user_arn("other")),
            (&ACCOUNT, key, own_root.clone()),
            (&OTHER_ACCOUNT, &self.theirs, own_root),
        ] {
            let id = self.grant(of, key, &retiring);
            let request = json!({"KeyId": key, "GrantId": id});
            questions.push(question("RetireGrant", request, &["--key", key, "--grant", &id]));
        }
        questions
    }

    fn simulated(&self, question: &Question) -> bool {
        let caller = user_arn(USER);
        let asked = ["policy", "simulate", "--json", "--caller", &caller, "--operation", question.operation];
        let more: Vec<_> = question.asked.iter().map(String::as_str).collect();
        let all = [&asked[..], &["--region", "us-east-1"], &more].concat();
        let answers = self.site.holdfast_ok(&all);
        let is_allowed = |line: &str| serde_json::from_str::<Value>(line).unwrap()["decision"] == "allowed";
        assert!(!answers.is_empty(), "{all:?}");
        answers.lines().all(is_allowed)
    }

    /// What is refused for another reason is not refused by policies.
    fn served(&self, question: &Question) -> bool {
        let error = self.site.error_name(&self.user, question.operation, &question.request);
        assert_ne!(error.as_deref(), Some("ThrottlingException"));
        error.as_deref() != Some("AccessDeniedException")
    }
}

/// What the user may, each as the only policy that it has.
fn policies() -> Vec<Value> {
    let all = json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*"});
    let only = |condition: Value| json!([{"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": condition}]);
    let but = |condition: Value| json!([all, {"Effect": "Deny", "Action": "kms:*", "Resource": "*", "Condition": condition}]);
    let equals = |key: &str, value: &str| json!({"StringEquals": {key: value}});
    vec![
        json!([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]),
        json!([all]),
        json!([all, {"Effect": "Deny", "Action": ["kms:Encrypt", "kms:RetireGrant", "kms:ListKeys"], "Resource": "*"}]),
        only(equals("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT")),
        only(equals("kms:KeyUsage", "ENCRYPT_DECRYPT")),
        only(equals("kms:CustomerMasterKeySpec", "SYMMETRIC_DEFAULT")),
        but(equals("kms:KeyOrigin", "AWS_KMS")),
        but(json!({"Bool": {"kms:MultiRegion": "false"}})),
        only(json!({"Bool": {"kms:ReEncryptOnSameKey": "true"}})),
        only(json!({"NumericEquals": {"kms:RotationPeriodInDays": "365"}})),
        but(json!({"NumericEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}})),
        only(equals("aws:ResourceTag/colour", "red")),
        but(json!({"Null": {"kms:CallerAccount": "false"}})),
        only(json!({"ForAnyValue:StringEquals": {"aws:TagKeys": "scene"}})),
    ]
}

#[test]
fn the_daemon_and_the_simulation_of_it_decide_alike_about_every_request() {
    let scene = Scene::new();
    let (mut wrong, mut allowed, mut denied) = (Vec::new(), 0, 0);
    for statements in policies() {
        scene.site.kms_user_may(USER, &statements);
        // Requests that were served may have deleted it.
        let alias = json!({"AliasName": "alias/a", "TargetKeyId": scene.second});
        scene.site.kms("CreateAlias", &alias);
        scene.site.kms("CancelKeyDeletion", &json!({"KeyId": scene.second}));
        for question in scene.questions() {
            let simulated = scene.simulated(&question);
            let served = scene.served(&question);
            *(if served { &mut allowed } else { &mut denied }) += 1;
            if simulated != served {
                wrong.push(format!(
                    "{statements}: {} {}: the daemon says {served}",
                    question.operation, question.request
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(allowed > 50 && denied > 50, "{allowed} {denied}");
}

#[test]
fn who_sees_a_condition_key_does_not_depend_on_who_says_it() {
    let scene = Scene::new();
    scene.site.kms_user_may(USER, &json!([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]));
    let key = key_arn(&scene.tagged);
    let ask = |context: &str| question("Encrypt", json!({}), &["--key", &key, "--context", context]);
    for context in ["aws:ResourceTag/colour=red", "AWS:resourcetag/Colour=red"] {
        assert!(!scene.simulated(&ask(context)), "{context}");
    }
    let only_red = json!([{"Effect": "Allow", "Action": "kms:*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:ResourceTag/colour": "blue"}}}]);
    scene.site.kms_user_may(USER, &only_red);
    assert!(scene.simulated(&ask("aws:ResourceTag/colour=blue")));
    assert!(!scene.simulated(&ask("aws:ResourceTag/colour=red")));
}

#[test]
fn a_retirement_is_asked_about_with_its_grant() {
    let scene = Scene::new();
    let caller = user_arn(USER);
    let grant = scene.grant(&ACCOUNT, &scene.key, &caller);
    let asked =
        ["policy", "simulate", "--caller", &caller, "--action", "kms:RetireGrant", "--key", &scene.key];
    let said = |more: &[&str]| {
        let output = scene.site.holdfast(&[&asked[..], more].concat());
        let text = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (is_answered, text) = said(&["--grant", &grant]);
    assert!(is_answered && text.starts_with("allowed") && text.contains(&grant), "{text}");
    let (is_answered, text) = said(&[]);
    assert!(!is_answered && text.contains("its grant decides about RetireGrant"), "{text}");
    let (is_answered, text) = said(&["--grant", &"0".repeat(64)]);
    assert!(!is_answered && text.contains("no such grant"), "{text}");
}
