//! Tags of keys, and who may set and see them.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_stories::{ABSENT, PLAINTEXT, alias_arn, delegating_policy, key_arn, user_arn};
use crate::support::{Setup, Site};

fn tag(key: &str, value: &str) -> Value {
    json!({"TagKey": key, "TagValue": value})
}

fn tags_of(site: &Site, id: &str) -> Value {
    site.kms("ListResourceTags", &json!({"KeyId": id})).ok()["Tags"].clone()
}

fn tag_key(site: &Site, id: &str, tags: &[Value]) {
    site.kms("TagResource", &json!({"KeyId": id, "Tags": tags})).ok();
}

#[test]
fn tags_are_added_replaced_and_removed() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    assert_eq!(
        site.kms("ListResourceTags", &json!({"KeyId": id})).ok(),
        json!({"Tags": [], "Truncated": false})
    );
    let request =
        json!({"KeyId": id, "Tags": [tag("Purpose", "Test"), tag("purpose", ""), tag("Dept", "IT")]});
    assert!(site.kms("TagResource", &request).0.body.is_empty());
    assert_eq!(tags_of(&site, &id), json!([tag("Dept", "IT"), tag("Purpose", "Test"), tag("purpose", "")]));

    tag_key(&site, &key_arn(&id), &[tag("Purpose", "test"), tag("New", "1")]);
    let expected = json!([tag("Dept", "IT"), tag("New", "1"), tag("Purpose", "test"), tag("purpose", "")]);
    assert_eq!(tags_of(&site, &id), expected);

    let request = json!({"KeyId": id, "TagKeys": ["Purpose", "New", "was never there", "DEPT"]});
    assert!(site.kms("UntagResource", &request).0.body.is_empty());
    assert_eq!(tags_of(&site, &id), json!([tag("Dept", "IT"), tag("purpose", "")]));
    assert!(site.kms("UntagResource", &request).0.body.is_empty());
}

#[test]
fn empty_double_reserved_and_long_tags_are_refused() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let refused = |tags: Value| {
        let (name, _) = site.kms("TagResource", &json!({"KeyId": id, "Tags": tags})).error();
        assert_eq!(site.kms("CreateKey", &json!({"Tags": tags})).0.status == 200, tags == json!([]));
        name
    };
    assert_eq!(refused(json!([])), "ValidationException");
    assert_eq!(refused(json!([tag("a", "1"), tag("a", "2")])), "TagException");
    assert_eq!(refused(json!([tag("aws:a", "1")])), "TagException");
    assert_eq!(refused(json!([tag("", "1")])), "ValidationException");
    assert_eq!(refused(json!([tag(&"k".repeat(129), "1")])), "ValidationException");
    assert_eq!(refused(json!([tag("k", &"v".repeat(257))])), "ValidationException");
    assert_eq!(refused(json!([{"TagKey": "k"}])), "ValidationException");
    let untag = site.kms("UntagResource", &json!({"KeyId": id, "TagKeys": []}));
    assert_eq!(untag.error().0, "ValidationException");
    for operation in ["TagResource", "UntagResource", "ListResourceTags"] {
        assert_eq!(site.kms(operation, &json!({})).error().0, "ValidationException");
    }
    assert_eq!(tags_of(&site, &id), json!([]));
    tag_key(&site, &id, &[tag(&"k".repeat(128), &"v".repeat(256)), tag("größe +-=._:/@", "ä")]);
    assert_eq!(tags_of(&site, &id).as_array().unwrap().len(), 2);
}

#[test]
fn a_key_has_at_most_fifty_tags_and_lists_them_in_pages() {
    let site = Site::start_with(&Setup::kms());
    let tags: Vec<_> = (0..50).map(|number| tag(&format!("k{number:02}"), "v")).collect();
    let id = site.create_key_with(&json!({"Tags": tags}));
    let request = json!({"KeyId": id, "Tags": [tag("one more", "")]});
    assert_eq!(site.kms("TagResource", &request).error().0, "TagException");
    tag_key(&site, &id, &[tag("k00", "replaced")]);
    let (listed, lengths) = site.kms_pages("ListResourceTags", &json!({"KeyId": id, "Limit": 20}), "Tags");
    assert_eq!((listed.len(), lengths), (50, vec![20, 20, 10]));
    assert_eq!((&listed[0], &listed[49]), (&tag("k00", "replaced"), &tag("k49", "v")));
    let too_many: Vec<_> = (0..51).map(|number| tag(&format!("k{number:02}"), "v")).collect();
    assert_ne!(site.kms("CreateKey", &json!({"Tags": too_many})).0.status, 200);
}

#[test]
fn only_keys_of_the_account_that_stay_are_tagged() {
    let site = Site::start_with(&Setup::kms());
    let root = format!("arn:aws:iam::{}:root", OTHER_ACCOUNT.id);
    let all = json!({"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"});
    let id = site.create_key_with(&json!({"Policy": delegating_policy(&[all])}));
    site.create_alias("alias/tagged", &id);
    tag_key(&site, &id, &[tag("a", "1")]);
    let requests = |key: &str| {
        [
            ("TagResource", json!({"KeyId": key, "Tags": [tag("b", "2")]})),
            ("UntagResource", json!({"KeyId": key, "TagKeys": ["a"]})),
            ("ListResourceTags", json!({"KeyId": key})),
        ]
    };
    for (operation, request) in requests(&key_arn(&id)) {
        site.assert_denied(&OTHER_ACCOUNT, operation, &request);
    }
    for name in ["alias/tagged".to_owned(), alias_arn("alias/tagged"), ABSENT.to_owned()] {
        for (operation, request) in requests(&name) {
            assert_eq!(site.kms(operation, &request).error().0, "NotFoundException", "{operation} {name}");
        }
    }
    site.kms("DisableKey", &json!({"KeyId": id})).ok();
    tag_key(&site, &id, &[tag("c", "3")]);
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": id})).ok();
    let [tag_it, untag_it, list] = requests(&id);
    for (operation, request) in [tag_it, untag_it] {
        site.kms(operation, &request)
            .assert_error("KMSInvalidStateException", &format!("{} is pending deletion.", key_arn(&id)));
    }
    assert_eq!(site.kms(list.0, &list.1).ok()["Tags"], json!([tag("a", "1"), tag("c", "3")]));
}

#[test]
fn tagging_viewing_and_untagging_are_permissions_of_their_own() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("tagger");
    let by_policy = json!({"Effect": "Allow", "Principal": {"AWS": user_arn("tagger")}, "Action": "kms:TagResource",
        "Resource": "*"});
    let (plain, named) =
        (site.create_kms_key(), site.create_key_with(&json!({"Policy": delegating_policy(&[by_policy])})));
    let requests = |key: &str| {
        [
            ("TagResource", json!({"KeyId": key, "Tags": [tag("b", "2")]})),
            ("ListResourceTags", json!({"KeyId": key})),
            ("UntagResource", json!({"KeyId": key, "TagKeys": ["a"]})),
        ]
    };
    let [by_key_policy, ..] = requests(&named);
    site.assert_allowed(&user, by_key_policy.0, &by_key_policy.1);
    for (permitted, _) in requests(&plain) {
        let action = format!("kms:{permitted}");
        site.kms_user_may(
            "tagger",
            &json!([{"Effect": "Allow", "Action": action, "Resource": key_arn(&plain)}]),
        );
        for (operation, request) in requests(&plain) {
            if operation == permitted {
                site.assert_allowed(&user, operation, &request);
            } else {
                site.assert_denied(&user, operation, &request);
            }
        }
        let [_, list, _] = requests(&named);
        site.assert_denied(&user, list.0, &list.1);
    }
    // A key policy that does not let identity policies in keeps them out.
    let closed = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": user_arn("admin")}, "Action": "kms:*", "Resource": "*"}]});
    let closed = site.create_key_with(&json!({"Policy": closed.to_string()}));
    site.kms_user_may("tagger", &json!([{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]));
    for (operation, request) in requests(&closed) {
        site.assert_denied(&user, operation, &request);
        site.assert_allowed(&ACCOUNT, operation, &request);
    }
}

#[test]
fn the_tags_of_a_request_can_be_conditions() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("tagger");
    let id = site.create_kms_key();
    let allow = |condition: Value| {
        let statement = json!({"Effect": "Allow", "Action": ["kms:TagResource", "kms:UntagResource"],
            "Resource": "*", "Condition": condition});
        site.kms_user_may("tagger", &json!([statement]));
    };
    let add = |tags: &[Value]| json!({"KeyId": id, "Tags": tags});
    let remove = |keys: &[&str]| json!({"KeyId": id, "TagKeys": keys});

    allow(json!({"StringEquals": {"aws:RequestTag/Project": "Alpha"}}));
    site.assert_allowed(&user, "TagResource", &add(&[tag("Project", "Alpha"), tag("Any", "x")]));
    site.assert_denied(&user, "TagResource", &add(&[tag("Project", "Beta")]));
    site.assert_denied(&user, "TagResource", &add(&[tag("Any", "Alpha")]));

    allow(json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["Project", "Dept"]}}));
    site.assert_allowed(&user, "TagResource", &add(&[tag("Project", "x"), tag("Dept", "y")]));
    site.assert_denied(&user, "TagResource", &add(&[tag("Project", "x"), tag("Any", "y")]));
    site.assert_allowed(&user, "UntagResource", &remove(&["Dept"]));
    site.assert_denied(&user, "UntagResource", &remove(&["Dept", "Any"]));
    // True of no keys at all: then the request itself is wrong.
    for (operation, request) in [("TagResource", add(&[])), ("UntagResource", remove(&[]))] {
        let refused = site.error_name(&user, operation, &request);
        assert_eq!(refused.as_deref(), Some("ValidationException"));
    }

    allow(json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["Project"]}}));
    site.assert_allowed(&user, "TagResource", &add(&[tag("Project", "x"), tag("Any", "y")]));
    site.assert_denied(&user, "TagResource", &add(&[tag("Any", "y")]));
    site.assert_denied(&user, "UntagResource", &remove(&[]));

    for (key, right, wrong) in [
        ("kms:CallerAccount", ACCOUNT.id, OTHER_ACCOUNT.id),
        ("kms:KeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
        ("kms:KeyUsage", "ENCRYPT_DECRYPT", "SIGN_VERIFY"),
        ("kms:KeyOrigin", "AWS_KMS", "EXTERNAL"),
    ] {
        allow(json!({"StringEquals": {key: right}}));
        site.assert_allowed(&user, "TagResource", &add(&[tag("a", "b")]));
        allow(json!({"StringEquals": {key: wrong}}));
        site.assert_denied(&user, "TagResource", &add(&[tag("a", "b")]));
    }
}

#[test]
fn the_tags_of_a_key_open_and_close_it_and_count_at_once() {
    let site = Site::start_with(&Setup::kms());
    let user = site.kms_user("reader");
    let id = site.create_kms_key();
    let encrypt = json!({"KeyId": id, "Plaintext": PLAINTEXT});
    let equals = json!({"StringEquals": {"aws:ResourceTag/Type": "open"}});
    let allow = |condition: &Value| json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": condition});
    site.kms_user_may("reader", &json!([allow(&equals)]));
    site.assert_denied(&user, "Encrypt", &encrypt);
    for value in ["Open", "closed"] {
        tag_key(&site, &id, &[tag("Type", value)]);
        site.assert_denied(&user, "Encrypt", &encrypt);
    }
    // By the text of the tag: removed and set again, it matches again.
    for _ in 0..2 {
        tag_key(&site, &id, &[tag("Type", "open")]);
        site.assert_allowed(&user, "Encrypt", &encrypt);
        site.kms("UntagResource", &json!({"KeyId": id, "TagKeys": ["Type"]})).ok();
        site.assert_denied(&user, "Encrypt", &encrypt);
    }
    // Lists are about no key in particular.
    tag_key(&site, &id, &[tag("Type", "open")]);
    for operation in ["ListKeys", "ListAliases"] {
        site.assert_denied(&user, operation, &json!({}));
    }

    let everything = json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*"});
    let deny = |condition: Value| json!({"Effect": "Deny", "Action": "kms:*", "Resource": "*", "Condition": condition});
    site.kms_user_may("reader", &json!([everything, deny(equals)]));
    site.assert_denied(&user, "Encrypt", &encrypt);
    tag_key(&site, &id, &[tag("Type", "other")]);
    site.assert_allowed(&user, "Encrypt", &encrypt);

    let untagged = json!({"Null": {"aws:ResourceTag/Type": "true"}});
    site.kms_user_may("reader", &json!([everything, deny(untagged)]));
    site.assert_allowed(&user, "Encrypt", &encrypt);
    site.kms("UntagResource", &json!({"KeyId": id, "TagKeys": ["Type"]})).ok();
    site.assert_denied(&user, "Encrypt", &encrypt);
}
