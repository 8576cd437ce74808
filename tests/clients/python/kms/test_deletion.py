"""Deletion: waiting periods, taking back, and what is left afterwards."""

import re
from datetime import timedelta

import pytest
from conftest import ROLE_ARN, advance, new_key, refused, unique

WINDOW = "PendingWindowInDays must be between 7 and 30 (inclusive)."


@pytest.mark.parametrize(("request_", "days"), [({}, 30), *(({"PendingWindowInDays": n}, n) for n in (7, 30))])
def test_a_deletion_is_scheduled(kms, key, request_, days):
    answer = kms.schedule_key_deletion(KeyId=key["KeyId"], **request_)
    del answer["ResponseMetadata"]
    date = answer.pop("DeletionDate")
    assert answer == {"KeyId": key["Arn"], "KeyState": "PendingDeletion", "PendingWindowInDays": days}
    assert timedelta() <= date - key["CreationDate"] - timedelta(days=days) < timedelta(minutes=5)
    described = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    changed = {"DeletionDate": date, "Enabled": False, "KeyState": "PendingDeletion"}
    assert described == {**key, **changed}


@pytest.mark.parametrize("days", [1, 6, 31, 365])
def test_windows_that_cannot_be(kms, key, days):
    with refused("ValidationException", WINDOW):
        kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=days)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key


@pytest.mark.parametrize("days", [0, 366])
def test_windows_that_the_model_does_not_know(kms, key_id, days):
    start = f"1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: "
    with refused("ValidationException", re.compile(re.escape(start) + ".+")):
        kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=days)


def test_a_deletion_is_taken_back(kms, key):
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    with refused("KMSInvalidStateException", f"{key['Arn']} is pending deletion."):
        kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    with refused("KMSInvalidStateException", f"{key['Arn']} is pending deletion."):
        kms.enable_key(KeyId=key["KeyId"])
    assert kms.cancel_key_deletion(KeyId=key["KeyId"])["KeyId"] == key["Arn"]
    described = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert described == {**key, "Enabled": False, "KeyState": "Disabled"}
    with refused("KMSInvalidStateException", f"{key['Arn']} is not pending deletion."):
        kms.cancel_key_deletion(KeyId=key["KeyId"])
    advance("31d")
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Disabled"


def test_a_disabled_key_can_be_deleted(kms, key_id):
    kms.disable_key(KeyId=key_id)
    assert kms.schedule_key_deletion(KeyId=key_id)["KeyState"] == "PendingDeletion"


def test_seven_days_in_a_second(kms, key):
    key_id, name = key["KeyId"], unique()
    kms.create_alias(AliasName=name, TargetKeyId=key_id)
    kms.create_grant(KeyId=key_id, GranteePrincipal=ROLE_ARN, Operations=["Encrypt"])
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    advance("6d")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert [entry["AliasName"] for entry in kms.list_aliases(KeyId=key_id)["Aliases"]] == [name]
    advance("2d")
    gone = f"Key '{key['Arn']}' does not exist"
    for use in (
        lambda: kms.describe_key(KeyId=key_id),
        lambda: kms.cancel_key_deletion(KeyId=key_id),
        lambda: kms.encrypt(KeyId=key_id, Plaintext=b"x"),
        lambda: kms.decrypt(KeyId=key_id, CiphertextBlob=blob),
        lambda: kms.list_grants(KeyId=key_id),
        lambda: kms.get_key_policy(KeyId=key_id),
        lambda: kms.list_resource_tags(KeyId=key_id),
        lambda: kms.create_alias(AliasName=unique(), TargetKeyId=key_id),
    ):
        with refused("NotFoundException", gone):
            use()
    with refused("AccessDeniedException"):
        kms.decrypt(CiphertextBlob=blob)
    ids = [entry["KeyId"] for entry in kms.get_paginator("list_keys").paginate().build_full_result()["Keys"]]
    assert key_id not in ids
    kms.create_alias(AliasName=name, TargetKeyId=new_key(kms)["KeyId"])
