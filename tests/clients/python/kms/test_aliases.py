"""Aliases: names, targets, and keys found by them."""

import re

import pytest
from conftest import ABSENT, OTHER_REGION, advance, arn, new_key, refused, unique

PREFIX = (
    'Alias must start with the prefix "alias/". Please see '
    "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
)


def entries(client, key_id):
    return client.list_aliases(KeyId=key_id)["Aliases"]


def test_an_alias_from_its_creation_to_its_end(kms, key):
    name, key_id = unique(), key["KeyId"]
    assert set(kms.create_alias(AliasName=name, TargetKeyId=key_id)) == {"ResponseMetadata"}
    [entry] = entries(kms, key_id)
    assert set(entry) == {"AliasArn", "AliasName", "CreationDate", "LastUpdatedDate", "TargetKeyId"}
    assert (entry["AliasArn"], entry["AliasName"], entry["TargetKeyId"]) == (arn(name), name, key_id)
    assert entry["CreationDate"] == entry["LastUpdatedDate"] >= key["CreationDate"]

    other = new_key(kms)
    advance("1s")
    assert set(kms.update_alias(AliasName=name, TargetKeyId=other["Arn"])) == {"ResponseMetadata"}
    assert entries(kms, key_id) == []
    [moved] = entries(kms, other["KeyId"])
    assert moved["TargetKeyId"] == other["KeyId"]
    assert moved["CreationDate"] == entry["CreationDate"] < moved["LastUpdatedDate"]
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == other["KeyId"]

    assert set(kms.delete_alias(AliasName=name)) == {"ResponseMetadata"}
    assert entries(kms, other["KeyId"]) == []
    with refused("NotFoundException", f"Alias {arn(name)} is not found."):
        kms.describe_key(KeyId=name)
    assert kms.describe_key(KeyId=other["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


@pytest.mark.parametrize("operation", ["create_alias", "update_alias", "delete_alias"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test", PREFIX),
        ("Alias/test", PREFIX),
        (
            "alias/a@b",
            "1 validation error detected: Value 'alias/a@b' at 'aliasName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
        ),
        ("alias/a:b", "alias/a:b contains invalid characters for an alias"),
        (
            "",
            re.compile(r"[12] validation errors? detected: Value '' at 'aliasName' failed to satisfy constraint: .+"),
        ),
        ("alias/" + "a" * 251, re.compile(r".+ Member must have length less than or equal to 256")),
    ],
)
def test_a_name_that_no_alias_has(kms, key_id, operation, name, text):
    request = {"AliasName": name}
    if operation != "delete_alias":
        request["TargetKeyId"] = key_id
    with refused("ValidationException", text):
        getattr(kms, operation)(**request)


def test_a_name_as_long_as_it_can_be(kms, key_id):
    name = unique().ljust(256, "a")
    kms.create_alias(AliasName=name, TargetKeyId=key_id)
    assert kms.encrypt(KeyId=name, Plaintext=b"x")["KeyId"] == arn(f"key/{key_id}")


def test_all_characters_that_a_name_may_have(kms, key_id):
    name = unique("alias/aZ09/_-/")
    kms.create_alias(AliasName=name, TargetKeyId=key_id)
    assert [entry["AliasName"] for entry in entries(kms, key_id)] == [name]


def test_names_of_aws_services_are_reserved(kms, key_id):
    with refused("NotAuthorizedException", ""):
        kms.create_alias(AliasName="alias/aws/s3", TargetKeyId=key_id)


def test_two_aliases_cannot_have_one_name(kms, key_id):
    name = unique()
    kms.create_alias(AliasName=name, TargetKeyId=key_id)
    for target in (key_id, new_key(kms)["KeyId"]):
        with refused("AlreadyExistsException", f"An alias with the name {arn(name)} already exists"):
            kms.create_alias(AliasName=name, TargetKeyId=target)
    assert len(entries(kms, key_id)) == 1


def test_the_target_of_an_alias_is_a_key(kms, key_id):
    name, other = unique(), unique()
    kms.create_alias(AliasName=other, TargetKeyId=key_id)
    with refused("ValidationException", "Aliases must refer to keys. Not aliases"):
        kms.create_alias(AliasName=name, TargetKeyId=other)
    with refused("NotFoundException", f"Key '{arn(f'key/{ABSENT}')}' does not exist"):
        kms.create_alias(AliasName=name, TargetKeyId=ABSENT)
    with refused("NotFoundException", "Invalid keyId 'x'"):
        kms.create_alias(AliasName=name, TargetKeyId="x")
    with refused("NotFoundException", f"Key '{arn(f'key/{ABSENT}')}' does not exist"):
        kms.update_alias(AliasName=other, TargetKeyId=ABSENT)
    assert [entry["AliasName"] for entry in entries(kms, key_id)] == [other]


def test_an_alias_that_is_not_there(kms, key_id):
    name = unique()
    with refused("NotFoundException", f"Alias {arn(name)} is not found."):
        kms.update_alias(AliasName=name, TargetKeyId=key_id)
    with refused("NotFoundException", f"Alias {arn(name)} is not found."):
        kms.delete_alias(AliasName=name)


def test_each_region_has_its_own_aliases(kms, kms_elsewhere, key_id):
    name, elsewhere = unique(), new_key(kms_elsewhere)["KeyId"]
    kms.create_alias(AliasName=name, TargetKeyId=key_id)
    kms_elsewhere.create_alias(AliasName=name, TargetKeyId=elsewhere)
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == key_id
    assert kms_elsewhere.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == elsewhere
    [entry] = entries(kms_elsewhere, elsewhere)
    assert entry["AliasArn"] == arn(name, region=OTHER_REGION)


def test_a_key_has_at_most_fifty_aliases(kms, key_id):
    for _ in range(50):
        kms.create_alias(AliasName=unique(), TargetKeyId=key_id)
    with refused("LimitExceededException"):
        kms.create_alias(AliasName=unique(), TargetKeyId=key_id)
    spare = unique()
    kms.create_alias(AliasName=spare, TargetKeyId=new_key(kms)["KeyId"])
    with refused("LimitExceededException"):
        kms.update_alias(AliasName=spare, TargetKeyId=key_id)


def test_aliases_of_one_key_or_all(kms, key_id):
    names = sorted(unique() for _ in range(3))
    for name in names:
        kms.create_alias(AliasName=name, TargetKeyId=key_id)
    assert sorted(entry["AliasName"] for entry in entries(kms, key_id)) == names
    assert sorted(entry["AliasName"] for entry in entries(kms, arn(f"key/{key_id}"))) == names
    everything = kms.get_paginator("list_aliases").paginate().build_full_result()["Aliases"]
    assert set(names) <= {entry["AliasName"] for entry in everything}
    with refused("NotFoundException"):
        kms.list_aliases(KeyId=ABSENT)


def test_an_alias_of_a_disabled_key(kms, key_id):
    kms.disable_key(KeyId=key_id)
    name = unique()
    kms.create_alias(AliasName=name, TargetKeyId=key_id)
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyState"] == "Disabled"
