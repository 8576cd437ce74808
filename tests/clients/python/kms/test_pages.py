"""Lists in pages: limits, markers, and markers that are not of this list."""

import re

import pytest
from conftest import ROLE_ARN, arn, new_key, refused, unique


@pytest.fixture(scope="module")
def crowded(kms):
    """A key with five aliases and five grants, among other keys."""
    key = new_key(kms)
    for _ in range(5):
        new_key(kms)
        kms.create_alias(AliasName=unique(), TargetKeyId=key["KeyId"])
        kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE_ARN, Operations=["Encrypt"])
    return key["KeyId"]


def lists(kms, key_id):
    """Each list, as a function of paging, with the name of its entries and of what tells them apart."""
    return {
        "ListAliases": (lambda **page: kms.list_aliases(KeyId=key_id, **page), "Aliases", "AliasName"),
        "ListGrants": (lambda **page: kms.list_grants(KeyId=key_id, **page), "Grants", "GrantId"),
        "ListKeys": (kms.list_keys, "Keys", "KeyId"),
    }


NAMES = ["ListAliases", "ListGrants", "ListKeys"]


def walk(fetch, entries, limit):
    found, marker = [], {}
    while True:
        page = fetch(Limit=limit, **marker)
        assert len(page[entries]) <= limit
        found += page[entries]
        assert page["Truncated"] == ("NextMarker" in page)
        if not page["Truncated"]:
            return found
        assert len(page[entries]) == limit
        marker = {"Marker": page["NextMarker"]}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("limit", [1, 2, 5, 50])
def test_pages_have_every_entry_once(kms, crowded, name, limit):
    fetch, entries, id_ = lists(kms, crowded)[name]
    if name == "ListKeys" and limit == 1:
        limit = 7
    found = [entry[id_] for entry in walk(fetch, entries, limit)]
    assert len(found) == len(set(found)) >= 5
    assert name == "ListKeys" or len(found) == 5


def test_what_list_keys_says(kms, crowded):
    everything = walk(kms.list_keys, "Keys", 1000)
    assert {"KeyId": crowded, "KeyArn": arn(f"key/{crowded}")} in everything


@pytest.mark.parametrize("name", NAMES)
def test_a_marker_is_of_one_list(kms, crowded, name):
    fetches = lists(kms, crowded)
    fetch = fetches[name][0]
    others = [other[0](Limit=1)["NextMarker"] for key, other in fetches.items() if key != name]
    for marker in [*others, "garbage", "x" * 1024]:
        with refused("InvalidMarkerException"):
            fetch(Marker=marker)
    with refused("ValidationException", re.compile(r".+ at 'marker' .+ less than or equal to 1024")):
        fetch(Marker="x" * 1025)
    with refused("ValidationException", re.compile(r".+ at 'marker' .+ greater than or equal to 1")):
        fetch(Marker="")


@pytest.mark.parametrize("name", NAMES)
def test_limits(kms, crowded, name):
    fetch = lists(kms, crowded)[name][0]
    start = "1 validation error detected: Value"
    with refused("ValidationException", re.compile(f"{start} '0' at 'limit' .+ greater than or equal to 1")):
        fetch(Limit=0)
    with refused("ValidationException", re.compile(f"{start} '1001' at 'limit' .+ less than or equal to 1000")):
        fetch(Limit=1001)
    fetch(Limit=1000)


def test_a_marker_does_not_lead_elsewhere(kms, kms_elsewhere, kms_account2, crowded):
    marker = kms.list_keys(Limit=1)["NextMarker"]
    for other in (kms_elsewhere, kms_account2):
        with refused("InvalidMarkerException"):
            other.list_keys(Marker=marker)
    other_key = new_key(kms)["KeyId"]
    marker = kms.list_aliases(KeyId=crowded, Limit=1)["NextMarker"]
    with refused("InvalidMarkerException"):
        kms.list_aliases(KeyId=other_key, Marker=marker)
    with refused("InvalidMarkerException"):
        kms.list_aliases(Marker=marker)


def test_an_entry_that_goes_away_does_not_end_the_walk(kms):
    key_id = new_key(kms)["KeyId"]
    names = sorted(unique() for _ in range(4))
    for name in names:
        kms.create_alias(AliasName=name, TargetKeyId=key_id)
    first = kms.list_aliases(KeyId=key_id, Limit=2)
    gone = [entry["AliasName"] for entry in first["Aliases"]]
    for name in gone:
        kms.delete_alias(AliasName=name)
    rest = kms.list_aliases(KeyId=key_id, Marker=first["NextMarker"])["Aliases"]
    assert sorted(gone + [entry["AliasName"] for entry in rest]) == names
