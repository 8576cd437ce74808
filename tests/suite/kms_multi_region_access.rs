//! Who may replicate a key and move the primary: permissions in two Regions, and conditions on what is related.

use serde_json::{Value, json};

use crate::support::kms::{Account, KmsClient, KmsReply, signed};
use crate::support::kms_stories::{delegating_policy, user_arn};
use crate::support::regions::{ASIA, EUROPE, HOME, MultiRegionKey, arn_in};
use crate::support::site::merged;
use crate::support::{Setup, Site};

const DENIED: &str = "AccessDeniedException";

/// A user, and what it is let do.
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

    fn may(&self, statements: &Value) {
        self.site.kms_user_may("user", statements);
    }

    fn call(&self, region: &str, operation: &str, body: &Value) -> KmsReply {
        let mut request = signed(&self.user, operation, body);
        region.clone_into(&mut request.region);
        let mut client = KmsClient::open(&self.site.runtime, self.site.kms_endpoint()).unwrap();
        client.send(&request).unwrap()
    }

    fn replicate(&self, key: &MultiRegionKey<'_>, region: &str, more: Value) -> KmsReply {
        self.call(HOME, "ReplicateKey", &merged(json!({"KeyId": key.id, "ReplicaRegion": region}), more))
    }

    #[track_caller]
    fn assert_denied(&self, reply: &KmsReply, permission: &str, resource: &str) {
        let text = format!(
            "User: {} is not authorized to perform: kms:{permission} on resource: {resource} because no \
             identity-based policy allows the kms:{permission} action",
            user_arn("user")
        );
        reply.assert_error(DENIED, &text);
    }
}

fn allow(action: &str, resource: &str, condition: Value) -> Value {
    let statement = json!({"Effect": "Allow", "Action": action, "Resource": resource});
    merged(statement, if condition.is_null() { json!({}) } else { json!({"Condition": condition}) })
}

fn in_region(region: &str) -> Value {
    json!({"StringEquals": {"aws:RequestedRegion": region}})
}

#[test]
fn replicating_takes_a_permission_on_the_primary_and_one_to_create_keys_where_the_replica_is() {
    let stage = Stage::new();
    let key = MultiRegionKey::create(&stage.site);
    let replicate = allow("kms:ReplicateKey", &key.arn(HOME), Value::Null);
    stage.may(&json!([allow("kms:CreateKey", "*", Value::Null), allow("kms:TagResource", "*", Value::Null)]));
    let denied = stage.replicate(&key, EUROPE, json!({}));
    stage.assert_denied(&denied, "ReplicateKey", &key.arn(HOME));
    // At home it is not enough.
    stage.may(&json!([replicate, allow("kms:CreateKey", "*", in_region(HOME))]));
    stage.assert_denied(&stage.replicate(&key, EUROPE, json!({})), "CreateKey", "*");
    stage.may(&json!([replicate, allow("kms:CreateKey", "*", in_region(EUROPE))]));
    let tags = json!({"Tags": [{"TagKey": "a", "TagValue": "b"}]});
    stage.assert_denied(&stage.replicate(&key, EUROPE, tags.clone()), "TagResource", "*");
    key.assert_absent(EUROPE);
    stage.replicate(&key, EUROPE, json!({})).ok();
    stage.assert_denied(&stage.replicate(&key, ASIA, json!({})), "CreateKey", "*");
    let anywhere = allow("kms:CreateKey", "*", Value::Null);
    stage.may(&json!([replicate, anywhere, allow("kms:TagResource", "*", in_region(ASIA))]));
    stage.replicate(&key, ASIA, tags).ok();
    assert_eq!(stage.call(HOME, "CreateKey", &json!({"MultiRegion": true})).0.status, 200);
}

#[test]
fn a_key_policy_may_give_replication_but_never_creation() {
    let stage = Stage::new();
    let statement = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")},
        "Action": ["kms:ReplicateKey", "kms:CreateKey"], "Resource": "*"});
    let request = json!({"MultiRegion": true, "Policy": delegating_policy(&[statement])});
    let key = MultiRegionKey::create_with(&stage.site, &request);
    stage.assert_denied(&stage.replicate(&key, EUROPE, json!({})), "CreateKey", "*");
    stage.may(&json!([allow("kms:CreateKey", "*", Value::Null)]));
    stage.replicate(&key, EUROPE, json!({})).ok();
}

#[test]
fn conditions_see_the_region_of_the_replica_and_what_it_is_going_to_be() {
    let stage = Stage::new();
    let key = MultiRegionKey::create(&stage.site);
    let create = allow("kms:CreateKey", "*", Value::Null);
    let to = |region: Value| {
        let condition = json!({"StringEquals": {"kms:ReplicaRegion": region}});
        stage.may(&json!([allow("kms:ReplicateKey", "*", condition), create]));
    };
    to(json!([ASIA, "sa-east-1"]));
    assert_eq!(stage.replicate(&key, EUROPE, json!({})).error().0, DENIED);
    stage.replicate(&key, ASIA, json!({})).ok();
    to(json!("eu-*"));
    assert_eq!(stage.replicate(&key, EUROPE, json!({})).error().0, DENIED);
    let like = json!({"StringLike": {"kms:ReplicaRegion": "eu-*"}});
    stage.may(&json!([allow("kms:ReplicateKey", "*", like), create]));
    stage.replicate(&key, "eu-north-1", json!({})).ok();
    // Of no other operation is there such a value.
    stage.may(&json!([allow("kms:DescribeKey", "*", json!({"Null": {"kms:ReplicaRegion": "true"}}))]));
    stage.call(HOME, "DescribeKey", &json!({"KeyId": key.id})).ok();

    let replicate =
        allow("kms:ReplicateKey", "*", json!({"StringEquals": {"kms:MultiRegionKeyType": "PRIMARY"}}));
    for (condition, is_allowed) in [
        (json!({"StringEquals": {"kms:MultiRegionKeyType": "PRIMARY"}}), false),
        (json!({"Bool": {"kms:MultiRegion": "false"}}), false),
        (json!({"StringEquals": {"kms:KeyOrigin": "EXTERNAL"}}), false),
        (
            json!({"StringEquals": {"kms:MultiRegionKeyType": "REPLICA", "kms:KeySpec": "SYMMETRIC_DEFAULT"},
            "Bool": {"kms:MultiRegion": "true"}}),
            true,
        ),
    ] {
        stage.may(&json!([replicate, allow("kms:CreateKey", "*", condition.clone())]));
        let reply = stage.replicate(&key, EUROPE, json!({}));
        assert_eq!(reply.0.status == 200, is_allowed, "{condition}");
    }
}

#[test]
fn moving_the_primary_takes_the_permission_on_both_keys_each_in_its_region() {
    let stage = Stage::new();
    let key = MultiRegionKey::in_regions(&stage.site, &[EUROPE, ASIA]);
    let update =
        |to: &str| stage.call(HOME, "UpdatePrimaryRegion", &json!({"KeyId": key.id, "PrimaryRegion": to}));
    let on = |region: &str, condition: Value| allow("kms:UpdatePrimaryRegion", &key.arn(region), condition);
    stage.may(&json!([on(EUROPE, Value::Null)]));
    stage.assert_denied(&update(EUROPE), "UpdatePrimaryRegion", &key.arn(HOME));
    stage.may(&json!([on(HOME, Value::Null)]));
    stage.assert_denied(&update(EUROPE), "UpdatePrimaryRegion", &key.arn(EUROPE));
    stage.may(&json!([on(HOME, in_region(HOME)), on(EUROPE, in_region(HOME))]));
    stage.assert_denied(&update(EUROPE), "UpdatePrimaryRegion", &key.arn(EUROPE));
    let to = |region: &str| json!({"StringEquals": {"kms:PrimaryRegion": region}});
    stage.may(&json!([on("*", to(ASIA))]));
    assert_eq!(update(EUROPE).error().0, DENIED);
    assert_eq!(key.metadata(HOME)["MultiRegionConfiguration"]["MultiRegionKeyType"], "PRIMARY");
    stage.may(&json!([on(HOME, to(EUROPE)), on(EUROPE, in_region(EUROPE))]));
    update(EUROPE).ok();
    assert_eq!(key.metadata(HOME)["MultiRegionConfiguration"]["MultiRegionKeyType"], "REPLICA");
}

#[test]
fn policies_tell_related_keys_by_region_type_and_prefix() {
    let stage = Stage::new();
    let key = MultiRegionKey::in_regions(&stage.site, &[EUROPE]);
    let other = MultiRegionKey::in_regions(&stage.site, &[EUROPE]);
    let sees = |key: &MultiRegionKey<'_>| {
        [HOME, EUROPE]
            .map(|region| stage.call(region, "DescribeKey", &json!({"KeyId": key.id})).0.status == 200)
    };
    let only = |resource: &str, condition: Value| {
        stage.may(&json!([allow("kms:DescribeKey", resource, condition)]));
        [sees(&key), sees(&other)]
    };
    let account = crate::support::kms::ACCOUNT.id;
    assert_eq!(only(&key.arn(EUROPE), Value::Null), [[false, true], [false, false]]);
    assert_eq!(only(&arn_in("*", &key.id), Value::Null), [[true, true], [false, false]]);
    assert_eq!(only(&arn_in("*", "mrk-*"), Value::Null), [[true, true], [true, true]]);
    assert_eq!(
        only(&format!("arn:aws:kms:eu-west-1:{account}:key/mrk-*"), Value::Null),
        [[false, true], [false, true]]
    );
    for (kind, expected) in [("PRIMARY", [true, false]), ("REPLICA", [false, true])] {
        let condition = json!({"StringEquals": {"kms:MultiRegionKeyType": kind}});
        assert_eq!(only("*", condition), [expected; 2]);
    }
    let multi = json!({"Bool": {"kms:MultiRegion": "true"}});
    assert_eq!(only("*", multi), [[true, true]; 2]);
    // A grant is of one key in one Region, and a key policy too.
    stage.may(&json!([allow("kms:ListKeys", "*", Value::Null)]));
    let grant = json!({"GranteePrincipal": user_arn("user"), "Operations": ["DescribeKey"]});
    key.call(EUROPE, "CreateGrant", &grant).ok();
    assert_eq!([sees(&key), sees(&other)], [[false, true], [false, false]]);
    let statement = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("user")},
        "Action": "kms:DescribeKey", "Resource": "*"});
    other.call(HOME, "PutKeyPolicy", &json!({"Policy": delegating_policy(&[statement])})).ok();
    assert_eq!([sees(&key), sees(&other)], [[false, true], [true, false]]);
}

#[test]
fn replicating_counts_as_creating_two_keys_there_and_moving_the_primary_counts_in_both_regions() {
    let kms = "[kms.request_quotas.per_second]\nReplicateKey = 100\nCreateKey = 0.0001\n";
    let site = Site::start_with(&Setup { kms: Some(kms.to_owned()), ..Setup::kms() });
    let key = MultiRegionKey::create(&site);
    assert_eq!(key.replicate_to(EUROPE).error().0, "ThrottlingException");
    key.assert_absent(EUROPE);
    assert_eq!(site.kms_in(EUROPE, "CreateKey", &json!({})).error().0, "ThrottlingException");
    let kms = "[kms.request_quotas.per_second]\nUpdatePrimaryRegion = 0.0001\n";
    let site = Site::start_with(&Setup { kms: Some(kms.to_owned()), ..Setup::kms() });
    let key = MultiRegionKey::in_regions(&site, &[EUROPE]);
    let update = |from: &str, to: &str| key.call(from, "UpdatePrimaryRegion", &json!({"PrimaryRegion": to}));
    update(HOME, EUROPE).ok();
    assert_eq!(update(EUROPE, ASIA).error().0, "ThrottlingException");
    assert_eq!(update(ASIA, EUROPE).error().0, "ThrottlingException");
}
