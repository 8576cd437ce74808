"""CreateKey and DescribeKey: defaults, members that are there and members that are not, mistakes."""

import re
from datetime import datetime, timedelta, timezone

import pytest
from conftest import ABSENT, ACCOUNT, OTHER_REGION, REGION, arn, new_key, refused, unique

ALWAYS = {
    "AWSAccountId",
    "Arn",
    "CreationDate",
    "CurrentKeyMaterialId",
    "CustomerMasterKeySpec",
    "Description",
    "Enabled",
    "EncryptionAlgorithms",
    "KeyId",
    "KeyManager",
    "KeySpec",
    "KeyState",
    "KeyUsage",
    "MultiRegion",
    "Origin",
}


def test_a_key_has_the_usual_defaults(kms):
    key = new_key(kms)
    assert set(key) == ALWAYS
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", key["KeyId"])
    assert re.fullmatch(r"[0-9a-f]{64}", key["CurrentKeyMaterialId"])
    given = {name: key[name] for name in ALWAYS - {"CreationDate", "CurrentKeyMaterialId", "KeyId"}}
    assert given == {
        "AWSAccountId": ACCOUNT,
        "Arn": arn(f"key/{key['KeyId']}"),
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "Description": "",
        "Enabled": True,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "KeyManager": "CUSTOMER",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": False,
        "Origin": "AWS_KMS",
    }


def test_the_creation_date_is_the_time_of_the_kms(kms, key):
    other = new_key(kms)
    assert key["CreationDate"] <= other["CreationDate"]
    # The clock of the KMS may have been moved ahead.
    assert key["CreationDate"] > datetime.now(timezone.utc) - timedelta(minutes=5)


def test_describe_answers_what_create_answered(kms, key):
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key


def test_everything_that_can_be_said_of_a_key(kms):
    key = new_key(
        kms,
        Description="d" * 8192,
        KeySpec="SYMMETRIC_DEFAULT",
        KeyUsage="ENCRYPT_DECRYPT",
        Origin="AWS_KMS",
        MultiRegion=False,
        BypassPolicyLockoutSafetyCheck=False,
        Tags=[{"TagKey": "a", "TagValue": "b"}],
    )
    assert key["Description"] == "d" * 8192
    assert kms.list_resource_tags(KeyId=key["KeyId"])["Tags"] == [{"TagKey": "a", "TagValue": "b"}]


def test_the_old_name_of_the_key_spec(kms):
    assert new_key(kms, CustomerMasterKeySpec="SYMMETRIC_DEFAULT")["KeySpec"] == "SYMMETRIC_DEFAULT"
    text = (
        "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
        "CustomerMasterKeySpec is deprecated."
    )
    with refused("ValidationException", text):
        kms.create_key(KeySpec="SYMMETRIC_DEFAULT", CustomerMasterKeySpec="SYMMETRIC_DEFAULT")


def test_a_multi_region_key(kms):
    key = new_key(kms, MultiRegion=True)
    assert re.fullmatch(r"mrk-[0-9a-f]{32}", key["KeyId"])
    assert key["MultiRegion"] is True
    assert key["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "PRIMARY",
        "PrimaryKey": {"Arn": key["Arn"], "Region": REGION},
        "ReplicaKeys": [],
    }


def test_a_key_for_imported_material_waits_for_it(kms):
    key = new_key(kms, Origin="EXTERNAL")
    assert set(key) == ALWAYS - {"CurrentKeyMaterialId"}
    assert (key["Enabled"], key["KeyState"], key["Origin"]) == (False, "PendingImport", "EXTERNAL")
    with refused("KMSInvalidStateException", f"{key['Arn']} is pending import."):
        kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    with refused(
        "UnsupportedOperationException",
        f"{key['Arn']} origin is EXTERNAL which is not valid for this operation.",
    ):
        kms.enable_key_rotation(KeyId=key["KeyId"])


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (
            {"KeyUsage": "sign"},
            re.compile(
                r"1 validation error detected: Value 'sign' at 'keyUsage' failed to satisfy constraint: "
                r"Member must satisfy enum value set: \[[A-Z_, ]+\]"
            ),
        ),
        (
            {"KeySpec": "AES_256"},
            re.compile(
                r"1 validation error detected: Value 'AES_256' at 'keySpec' failed to satisfy constraint: "
                r"Member must satisfy enum value set: \[[A-Za-z0-9_, ]+\]"
            ),
        ),
        (
            {"Origin": "x"},
            re.compile(r"1 validation error detected: Value 'x' at 'origin' failed to satisfy constraint: .+"),
        ),
        ({"KeyUsage": "SIGN_VERIFY"}, "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"),
        (
            {"KeySpec": "HMAC_256", "KeyUsage": "ENCRYPT_DECRYPT"},
            "KeyUsage ENCRYPT_DECRYPT is not compatible with KeySpec HMAC_256",
        ),
        (
            {"KeySpec": "RSA_2048"},
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
        ),
        (
            {"Description": "d" * 8193},
            f"1 validation error detected: Value '{'d' * 8193}' at 'description' failed to satisfy constraint: "
            "Member must have length less than or equal to 8192",
        ),
    ],
)
def test_a_key_that_cannot_be(kms, request_, text):
    if "Description" in request_:
        # What is repeated of it is shorter than in AWS KMS.
        text = re.compile(r"1 validation error detected: Value 'd+.*' at 'description' failed .+ equal to 8192")
    with refused("ValidationException", text):
        kms.create_key(**request_)


def test_a_key_that_cannot_be_is_not_made(kms):
    count = lambda: len(kms.get_paginator("list_keys").paginate().build_full_result()["Keys"])
    before = count()
    for request in (
        {"Tags": [{"TagKey": "aws:x", "TagValue": "x"}]},
        {"Policy": "not JSON"},
        {"KeyUsage": "SIGN_VERIFY"},
        {"Tags": [{"TagKey": "x", "TagValue": "1"}, {"TagKey": "x", "TagValue": "2"}]},
    ):
        with pytest.raises(kms.exceptions.ClientError):
            kms.create_key(**request)
    assert count() == before


@pytest.mark.parametrize("key_id", ["x", "not-a-uuid", "1234", "alias", "mrk-1", f"{ABSENT}0", ABSENT[:-1]])
def test_what_is_no_key_id(kms, key_id):
    with refused("NotFoundException", f"Invalid keyId '{key_id}'"):
        kms.describe_key(KeyId=key_id)


def test_a_key_that_is_not_there(kms):
    absent = arn(f"key/{ABSENT}")
    for key_id in (ABSENT, absent):
        with refused("NotFoundException", f"Key '{absent}' does not exist"):
            kms.describe_key(KeyId=key_id)


def test_an_alias_that_is_not_there(kms):
    name = unique()
    for key_id in (name, arn(name)):
        with refused("NotFoundException", f"Alias {arn(name)} is not found."):
            kms.describe_key(KeyId=key_id)


def test_an_arn_of_another_region(kms_elsewhere, key):
    for use in (
        lambda: kms_elsewhere.describe_key(KeyId=key["Arn"]),
        lambda: kms_elsewhere.encrypt(KeyId=key["Arn"], Plaintext=b"x"),
        lambda: kms_elsewhere.disable_key(KeyId=key["Arn"]),
    ):
        with refused("NotFoundException", f"Invalid arn {REGION}"):
            use()
    elsewhere = arn(f"key/{key['KeyId']}", region=OTHER_REGION)
    with refused("NotFoundException", f"Key '{elsewhere}' does not exist"):
        kms_elsewhere.describe_key(KeyId=key["KeyId"])


def test_a_key_id_is_required(kms):
    text = (
        "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"
    )
    with refused("ValidationException", text):
        kms.describe_key()
    with refused("ValidationException", re.compile(r".*'keyId'.* length greater than or equal to 1")):
        kms.describe_key(KeyId="")
    with refused("ValidationException", re.compile(r".*'keyId'.* length less than or equal to 2048")):
        kms.describe_key(KeyId="x" * 2049)


def test_a_description_is_replaced(kms, key):
    for description in ("new", "", "ünï", "d" * 8192):
        kms.update_key_description(KeyId=key["KeyId"], Description=description)
        assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Description"] == description
    with refused("ValidationException"):
        kms.update_key_description(KeyId=key["KeyId"], Description="d" * 8193)


def test_disabling_and_enabling_twice_is_no_mistake(kms, key_id):
    for change, state in ((kms.disable_key, "Disabled"), (kms.enable_key, "Enabled")):
        for _ in range(2):
            answer = change(KeyId=key_id)
            assert set(answer) == {"ResponseMetadata"}
            key = kms.describe_key(KeyId=key_id)["KeyMetadata"]
            assert (key["KeyState"], key["Enabled"]) == (state, state == "Enabled")


def test_every_answer_names_its_request(kms, key_id):
    answer = kms.describe_key(KeyId=key_id)["ResponseMetadata"]
    uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(uuid, answer["RequestId"])
    assert answer["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.1"
    with pytest.raises(kms.exceptions.NotFoundException) as caught:
        kms.describe_key(KeyId="x")
    answer = caught.value.response["ResponseMetadata"]
    assert re.fullmatch(uuid, answer["RequestId"])
    assert answer["HTTPStatusCode"] == 400
