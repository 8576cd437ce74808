//! Aliases: independent names that point at one key each, and can be pointed at another.

use serde_json::{Value, json};

use crate::support::kms::{ACCOUNT, OTHER_ACCOUNT};
use crate::support::kms_stories::{ABSENT, alias_arn, key_arn};
use crate::support::{Setup, Site};

fn aliases_of(site: &Site, key_id: &str) -> Vec<Value> {
    site.kms("ListAliases", &json!({"KeyId": key_id})).ok()["Aliases"].as_array().unwrap().clone()
}

fn names_of(site: &Site, key_id: &str) -> Vec<String> {
    let aliases = aliases_of(site, key_id);
    aliases.iter().map(|alias| alias["AliasName"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_alias_is_made_pointed_elsewhere_and_deleted_and_its_keys_stay_as_they_are() {
    let site = Site::start_with(&Setup::kms());
    let (first, second) = (site.create_kms_key(), site.create_kms_key());
    let (first_before, second_before) = (site.key_metadata_of(&first), site.key_metadata_of(&second));
    let create = site.kms("CreateAlias", &json!({"AliasName": "alias/story", "TargetKeyId": first}));
    assert!(create.0.body.is_empty(), "{:?}", create.0.body);
    let [made] = aliases_of(&site, &first).try_into().unwrap();
    let expected = json!({
        "AliasName": "alias/story",
        "AliasArn": alias_arn("alias/story"),
        "TargetKeyId": first,
        "CreationDate": made["CreationDate"],
        "LastUpdatedDate": made["CreationDate"],
    });
    assert_eq!(made, expected);

    site.advance_clock("1h");
    let update = site.kms("UpdateAlias", &json!({"AliasName": "alias/story", "TargetKeyId": second}));
    assert!(update.0.body.is_empty(), "{:?}", update.0.body);
    assert_eq!(aliases_of(&site, &first), [] as [Value; 0]);
    let [moved] = aliases_of(&site, &second).try_into().unwrap();
    assert_eq!((&moved["TargetKeyId"], &moved["CreationDate"]), (&json!(second), &made["CreationDate"]));
    let later = moved["LastUpdatedDate"].as_f64().unwrap() - made["LastUpdatedDate"].as_f64().unwrap();
    assert!((3600.0..3700.0).contains(&later), "{later}");

    let delete = site.kms("DeleteAlias", &json!({"AliasName": "alias/story"}));
    assert!(delete.0.body.is_empty(), "{:?}", delete.0.body);
    assert_eq!(site.kms("ListAliases", &json!({})).ok()["Aliases"], json!([]));
    assert_eq!(site.key_metadata_of(&first), first_before);
    assert_eq!(site.key_metadata_of(&second), second_before);
}

#[test]
fn a_key_has_many_aliases_and_an_alias_one_key() {
    let site = Site::start_with(&Setup::kms());
    let (one, other) = (site.create_kms_key(), site.create_kms_key());
    for name in ["alias/a", "alias/b", "alias/c"] {
        site.create_alias(name, &one);
    }
    site.create_alias("alias/d", &other);
    assert_eq!(names_of(&site, &one), ["alias/a", "alias/b", "alias/c"]);
    let all = site.kms("ListAliases", &json!({})).ok();
    assert_eq!(all["Aliases"].as_array().unwrap().len(), 4);
    for target in [&one, &other] {
        site.kms("CreateAlias", &json!({"AliasName": "alias/a", "TargetKeyId": target})).assert_error(
            "AlreadyExistsException",
            &format!("An alias with the name {} already exists", alias_arn("alias/a")),
        );
    }
    site.kms("DeleteAlias", &json!({"AliasName": "alias/b"})).ok();
    assert_eq!(names_of(&site, &one), ["alias/a", "alias/c"]);
}

#[test]
fn names_have_a_prefix_few_characters_and_a_length() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    let longest = format!("alias/{}", "x".repeat(250));
    let good = ["alias/alias/ExampleAlias", "alias/a/b_c-D9", "alias/awsome", "alias/1", &longest];
    for name in good {
        site.create_alias(name, &id);
        assert_eq!(site.key_metadata_of(name)["KeyId"], json!(id), "{name}");
    }
    let mut sorted = good.to_vec();
    sorted.sort_unstable();
    assert_eq!(names_of(&site, &id), sorted);
    let too_long = format!("alias/{}", "x".repeat(251));
    let all_named = |name: &str| {
        [
            ("CreateAlias", json!({"AliasName": name, "TargetKeyId": id})),
            ("UpdateAlias", json!({"AliasName": name, "TargetKeyId": id})),
            ("DeleteAlias", json!({"AliasName": name})),
        ]
    };
    for name in ["alias/", "story", "Alias/story", "alias/a b", "alias/a.b", "alias/ä", "", &too_long] {
        for (operation, request) in all_named(name) {
            assert_eq!(site.kms(operation, &request).error().0, "ValidationException", "{operation} {name}");
        }
    }
}

#[test]
fn names_of_services_are_reserved() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    for name in ["alias/aws/s3", "alias/aws/x/y"] {
        let request = json!({"AliasName": name, "TargetKeyId": id});
        assert_eq!(site.kms("CreateAlias", &request).error().0, "NotAuthorizedException");
        assert_eq!(
            site.error_name(&ACCOUNT, "DeleteAlias", &json!({"AliasName": name})).as_deref(),
            Some("NotFoundException")
        );
    }
    assert_eq!(site.kms("ListAliases", &json!({})).ok()["Aliases"], json!([]));
}

#[test]
fn names_differ_by_case_and_there_is_one_of_each_in_an_account_and_region() {
    let site = Site::start_with(&Setup::kms());
    let (lower, upper) = (site.create_kms_key(), site.create_kms_key());
    site.create_alias("alias/name", &lower);
    site.create_alias("alias/Name", &upper);
    assert_eq!(site.key_metadata_of("alias/name")["KeyId"], json!(lower));
    assert_eq!(site.key_metadata_of("alias/Name")["KeyId"], json!(upper));
    site.kms("DeleteAlias", &json!({"AliasName": "alias/NAME"}))
        .assert_error("NotFoundException", &format!("Alias {} is not found.", alias_arn("alias/NAME")));
    let elsewhere = site.kms_in("eu-west-1", "CreateKey", &json!({})).ok()["KeyMetadata"]["KeyId"].clone();
    let request = json!({"AliasName": "alias/name", "TargetKeyId": elsewhere});
    site.kms_in("eu-west-1", "CreateAlias", &request).ok();
    let described = site.kms_in("eu-west-1", "DescribeKey", &json!({"KeyId": "alias/name"})).ok();
    assert_eq!(described["KeyMetadata"]["KeyId"], elsewhere);
    assert_eq!(site.key_metadata_of("alias/name")["KeyId"], json!(lower));
}

#[test]
fn an_alias_and_its_key_are_of_the_same_account_and_region() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.create_alias("alias/mine", &id);
    let elsewhere = site.kms_in("eu-west-1", "CreateKey", &json!({})).ok()["KeyMetadata"]["Arn"].clone();
    let theirs = site.kms_as(&OTHER_ACCOUNT, "CreateKey", &json!({})).ok()["KeyMetadata"]["Arn"].clone();
    for operation in ["CreateAlias", "UpdateAlias"] {
        let name = if operation == "CreateAlias" { "alias/new" } else { "alias/mine" };
        let refused = |target: &Value| {
            let request = json!({"AliasName": name, "TargetKeyId": target});
            site.kms(operation, &request).error().0
        };
        assert_eq!(refused(&elsewhere), "NotFoundException");
        assert_eq!(refused(&theirs), "AccessDeniedException");
        assert_eq!(refused(&json!(ABSENT)), "NotFoundException");
    }
    let request = json!({"AliasName": "alias/new", "TargetKeyId": "alias/mine"});
    assert_eq!(site.kms("CreateAlias", &request).error().0, "ValidationException");
    assert_eq!(names_of(&site, &id), ["alias/mine"]);
    for (operation, request) in [
        ("UpdateAlias", json!({"AliasName": "alias/nobody", "TargetKeyId": id})),
        ("DeleteAlias", json!({"AliasName": "alias/nobody"})),
    ] {
        let text = format!("Alias {} is not found.", alias_arn("alias/nobody"));
        site.kms(operation, &request).assert_error("NotFoundException", &text);
    }
}

#[test]
fn the_aliases_of_a_deleted_key_are_deleted_and_their_names_free() {
    let site = Site::start_with(&Setup::kms());
    let (gone, next) = (site.create_kms_key(), site.create_kms_key());
    site.create_alias("alias/a", &gone);
    site.create_alias("alias/b", &gone);
    site.create_alias("alias/c", &next);
    site.kms("ScheduleKeyDeletion", &json!({"KeyId": gone, "PendingWindowInDays": 7})).ok();
    assert_eq!(names_of(&site, &gone), ["alias/a", "alias/b"]);
    site.advance_clock("8d");
    let all = site.kms("ListAliases", &json!({})).ok();
    assert_eq!(all["Aliases"].as_array().unwrap().len(), 1);
    site.create_alias("alias/a", &next);
    assert_eq!(names_of(&site, &next), ["alias/a", "alias/c"]);
}

#[test]
fn a_name_is_exchanged_by_deleting_and_making_it_anew() {
    let site = Site::start_with(&Setup::kms());
    let id = site.create_kms_key();
    site.create_alias("alias/old", &id);
    let rename = json!({"AliasName": "alias/new", "TargetKeyId": id});
    assert_eq!(site.kms("UpdateAlias", &rename).error().0, "NotFoundException");
    site.kms("DeleteAlias", &json!({"AliasName": "alias/old"})).ok();
    site.create_alias("alias/new", &id);
    assert_eq!(names_of(&site, &id), ["alias/new"]);
}

#[test]
fn lists_are_of_one_key_or_of_all_and_come_in_pages() {
    let site = Site::start_with(&Setup::kms());
    let (one, other) = (site.create_kms_key(), site.create_kms_key());
    for number in 0..5 {
        site.create_alias(&format!("alias/one-{number}"), &one);
        site.create_alias(&format!("alias/other-{number}"), &other);
    }
    let (all, lengths) = site.kms_pages("ListAliases", &json!({"Limit": 4}), "Aliases");
    assert_eq!((all.len(), lengths), (10, vec![4, 4, 2]));
    for name in [one.clone(), key_arn(&one)] {
        let (of_one, lengths) = site.kms_pages("ListAliases", &json!({"KeyId": name, "Limit": 2}), "Aliases");
        assert_eq!((of_one.len(), lengths), (5, vec![2, 2, 1]));
        assert!(of_one.iter().all(|alias| alias["TargetKeyId"] == json!(one)), "{of_one:?}");
    }
    for pattern in ["*", "alias/one-*", "alias/one-1"] {
        assert_eq!(site.kms("ListAliases", &json!({"KeyId": pattern})).error().0, "NotFoundException");
    }
    let marker = site.kms("ListAliases", &json!({"Limit": 4})).text("NextMarker");
    for request in [json!({"KeyId": one, "Marker": marker}), json!({"Marker": "alias/one-1"})] {
        assert_eq!(site.kms("ListAliases", &request).error().0, "InvalidMarkerException");
    }
    let theirs = site.kms_as(&OTHER_ACCOUNT, "ListAliases", &json!({})).ok();
    assert_eq!(theirs["Aliases"], json!([]));
}

#[test]
fn the_fifty_first_alias_of_a_key_is_refused() {
    let site = Site::start_with(&Setup::kms());
    let (id, other) = (site.create_kms_key(), site.create_kms_key());
    for number in 0..50 {
        site.create_alias(&format!("alias/n-{number}"), &id);
    }
    let create = json!({"AliasName": "alias/n-50", "TargetKeyId": id});
    assert_eq!(site.kms("CreateAlias", &create).error().0, "LimitExceededException");
    site.create_alias("alias/n-50", &other);
    let update = json!({"AliasName": "alias/n-50", "TargetKeyId": id});
    assert_eq!(site.kms("UpdateAlias", &update).error().0, "LimitExceededException");
    site.kms("DeleteAlias", &json!({"AliasName": "alias/n-0"})).ok();
    site.kms("UpdateAlias", &update).ok();
}

#[test]
fn an_alias_serves_to_exchange_a_key_by_hand() {
    let site = Site::start_with(&Setup::kms());
    let (old, new) = (site.create_kms_key(), site.create_kms_key());
    site.create_alias("alias/current", &old);
    let before = site.kms_encrypt("alias/current");
    site.kms("UpdateAlias", &json!({"AliasName": "alias/current", "TargetKeyId": new})).ok();
    let after = site.kms_encrypt("alias/current");
    let data_key = json!({"KeyId": "alias/current", "KeySpec": "AES_256"});
    assert_eq!(site.kms("GenerateDataKey", &data_key).text("KeyId"), key_arn(&new));
    assert_eq!(site.kms_decrypt(&before)["KeyId"], json!(key_arn(&old)));
    assert_eq!(site.kms_decrypt(&after)["KeyId"], json!(key_arn(&new)));
    site.kms("DisableKey", &json!({"KeyId": old})).ok();
    site.kms("Decrypt", &json!({"CiphertextBlob": before}))
        .assert_error("DisabledException", &format!("{} is disabled.", key_arn(&old)));
    site.kms_decrypt(&after);
}

#[test]
fn an_alias_of_imported_material_can_point_at_a_key_of_kms_material() {
    let site = Site::start_with(&Setup::kms());
    let (imported, made) = (site.create_key_with(&json!({"Origin": "EXTERNAL"})), site.create_kms_key());
    site.create_alias("alias/kind", &imported);
    site.kms("UpdateAlias", &json!({"AliasName": "alias/kind", "TargetKeyId": made})).ok();
    assert_eq!(names_of(&site, &made), ["alias/kind"]);
}
