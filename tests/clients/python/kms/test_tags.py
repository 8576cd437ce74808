"""Tags: limits, replacing, removing."""

import re

import pytest
from conftest import arn, new_key, refused


def tag(key, value=""):
    return {"TagKey": key, "TagValue": value}


def tags_of(kms, key_id):
    found = kms.get_paginator("list_resource_tags").paginate(KeyId=key_id).build_full_result()["Tags"]
    return {entry["TagKey"]: entry["TagValue"] for entry in found}


def test_tags_are_added_replaced_and_removed(kms, key_id):
    answer = kms.list_resource_tags(KeyId=key_id)
    assert (answer["Tags"], answer["Truncated"], "NextMarker" in answer) == ([], False, False)
    assert set(kms.tag_resource(KeyId=key_id, Tags=[tag("a", "1"), tag("b", "")])) == {"ResponseMetadata"}
    assert tags_of(kms, key_id) == {"a": "1", "b": ""}
    kms.tag_resource(KeyId=arn(f"key/{key_id}"), Tags=[tag("a", "2"), tag("A", "3")])
    assert tags_of(kms, key_id) == {"a": "2", "A": "3", "b": ""}
    assert set(kms.untag_resource(KeyId=key_id, TagKeys=["a", "never there"])) == {"ResponseMetadata"}
    assert tags_of(kms, key_id) == {"A": "3", "b": ""}


def test_all_that_a_tag_can_be(kms, key_id):
    kms.tag_resource(KeyId=key_id, Tags=[tag("k" * 128, "v" * 256), tag("ü +-=._:/@", "中 +-=._:/@")])
    assert tags_of(kms, key_id) == {"k" * 128: "v" * 256, "ü +-=._:/@": "中 +-=._:/@"}


@pytest.mark.parametrize(
    ("tags", "code", "text"),
    [
        ([tag("aws:x")], "TagException", "Tags beginning with aws: are reserved"),
        ([tag("AWS:x")], "TagException", "Tags beginning with aws: are reserved"),
        ([tag("a"), tag("a", "1")], "TagException", "Duplicate tag keys"),
        ([tag(f"k{index}") for index in range(51)], "TagException", "Too many tags"),
        (
            [tag("")],
            "ValidationException",
            "1 validation error detected: Value '' at 'tags.1.member.tagKey' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
        (
            [tag("ok"), tag("k" * 129)],
            "ValidationException",
            f"1 validation error detected: Value '{'k' * 129}' at 'tags.2.member.tagKey' failed to satisfy "
            "constraint: Member must have length less than or equal to 128",
        ),
        (
            [tag("k", "v" * 257)],
            "ValidationException",
            f"1 validation error detected: Value '{'v' * 257}' at 'tags.1.member.tagValue' failed to satisfy "
            "constraint: Member must have length less than or equal to 256",
        ),
        ([{"TagKey": "k"}], "ValidationException", re.compile(r"1 .+ Value null at 'tags.1.member.tagValue' .+")),
    ],
)
def test_tags_that_cannot_be(kms, key_id, tags, code, text):
    kms.tag_resource(KeyId=key_id, Tags=[tag("before")])
    with refused(code, text):
        kms.tag_resource(KeyId=key_id, Tags=tags)
    with refused(code, text):
        kms.create_key(Tags=tags)
    assert tags_of(kms, key_id) == {"before": ""}


def test_a_key_has_at_most_fifty_tags(kms):
    key_id = new_key(kms, Tags=[tag(f"k{index}") for index in range(50)])["KeyId"]
    kms.tag_resource(KeyId=key_id, Tags=[tag("k7", "new value")])
    with refused("TagException", "Too many tags"):
        kms.tag_resource(KeyId=key_id, Tags=[tag("k50")])
    kms.untag_resource(KeyId=key_id, TagKeys=["k0"])
    kms.tag_resource(KeyId=key_id, Tags=[tag("k50")])
    assert len(tags_of(kms, key_id)) == 50


def test_tags_are_pages_too(kms):
    key_id = new_key(kms, Tags=[tag(f"k{index:02}") for index in range(7)])["KeyId"]
    pages = list(kms.get_paginator("list_resource_tags").paginate(KeyId=key_id, PaginationConfig={"PageSize": 3}))
    assert [len(page["Tags"]) for page in pages] == [3, 3, 1]
    assert [page["Truncated"] for page in pages] == [True, True, False]
    assert "NextMarker" not in pages[-1]
    assert len(tags_of(kms, key_id)) == 7
