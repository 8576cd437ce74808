"""Rotation: by schedule and on demand; what was encrypted before still decrypts."""

from datetime import timedelta

import pytest
from conftest import advance, arn, refused


def status(kms, key_id):
    answer = kms.get_key_rotation_status(KeyId=key_id)
    del answer["ResponseMetadata"]
    return answer


def rotations(kms, key_id, **more):
    pages = kms.get_paginator("list_key_rotations").paginate(KeyId=key_id, **more)
    return pages.build_full_result()["Rotations"]


def test_a_new_key_does_not_rotate(kms, key_id):
    answer = status(kms, key_id)
    assert answer["KeyRotationEnabled"] is False
    assert not {"NextRotationDate", "RotationPeriodInDays"} & set(answer)
    assert rotations(kms, key_id) == []


@pytest.mark.parametrize(("request_", "days"), [({}, 365), *(({"RotationPeriodInDays": n}, n) for n in (90, 2560))])
def test_rotation_is_enabled_and_disabled(kms, key, request_, days):
    key_id = key["KeyId"]
    assert set(kms.enable_key_rotation(KeyId=key_id, **request_)) == {"ResponseMetadata"}
    answer = status(kms, key_id)
    assert (answer["KeyRotationEnabled"], answer["RotationPeriodInDays"]) == (True, days)
    assert timedelta() <= answer["NextRotationDate"] - key["CreationDate"] - timedelta(days=days) < timedelta(minutes=5)
    for _ in range(2):
        assert set(kms.disable_key_rotation(KeyId=key_id)) == {"ResponseMetadata"}
        assert status(kms, key_id)["KeyRotationEnabled"] is False


def test_another_period_replaces_the_first(kms, key_id):
    kms.enable_key_rotation(KeyId=key_id)
    kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=100)
    assert status(kms, key_id)["RotationPeriodInDays"] == 100


@pytest.mark.parametrize(("days", "text"), [(89, "greater than or equal to 90"), (2561, "less than or equal to 2560")])
def test_periods_that_cannot_be(kms, key_id, days, text):
    start = f"1 validation error detected: Value '{days}' at 'rotationPeriodInDays' failed to satisfy constraint:"
    with refused("ValidationException", f"{start} Member must have value {text}"):
        kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=days)
    assert status(kms, key_id)["KeyRotationEnabled"] is False


def test_a_key_rotates_when_it_is_due(kms, key):
    key_id = key["KeyId"]
    kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=90)
    due = status(kms, key_id)["NextRotationDate"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    advance("89d")
    assert rotations(kms, key_id) == []
    advance("2d")
    [rotation] = rotations(kms, key_id)
    assert rotation["RotationType"] == "AUTOMATIC"
    assert rotation["RotationDate"] >= due
    now = kms.describe_key(KeyId=key_id)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert rotation["KeyMaterialId"] == now != key["CurrentKeyMaterialId"]
    assert status(kms, key_id)["NextRotationDate"] > due + timedelta(days=89)
    assert kms.decrypt(CiphertextBlob=blob)["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    new = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=new)["KeyMaterialId"] == now
    advance("200d")
    assert len(rotations(kms, key_id)) >= 2


def test_a_disabled_key_does_not_rotate_until_it_is_enabled(kms, key_id):
    kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=90)
    kms.disable_key(KeyId=key_id)
    advance("91d")
    assert rotations(kms, key_id) == []
    assert status(kms, key_id)["KeyRotationEnabled"] is True


def test_a_key_that_waits_for_its_end_does_not_rotate(kms, key_id):
    kms.enable_key_rotation(KeyId=key_id)
    kms.schedule_key_deletion(KeyId=key_id)
    assert status(kms, key_id)["KeyRotationEnabled"] is False
    kms.cancel_key_deletion(KeyId=key_id)
    answer = status(kms, key_id)
    assert (answer["KeyRotationEnabled"], answer["RotationPeriodInDays"]) == (True, 365)


def test_twenty_five_rotations_on_demand(kms, key):
    key_id = key["KeyId"]
    blobs = [kms.encrypt(KeyId=key_id, Plaintext=b"0")["CiphertextBlob"]]
    materials = [key["CurrentKeyMaterialId"]]
    for number in range(1, 26):
        answer = kms.rotate_key_on_demand(KeyId=key_id)
        assert answer["KeyId"] in (key_id, key["Arn"])
        blobs.append(kms.encrypt(KeyId=key_id, Plaintext=str(number).encode())["CiphertextBlob"])
        materials.append(kms.describe_key(KeyId=key_id)["KeyMetadata"]["CurrentKeyMaterialId"])
    text = (
        "The on-demand rotations limit has been reached for the given keyId. "
        f"No more on-demand rotations can be performed for this key: {key['Arn']}"
    )
    with refused("LimitExceededException", text):
        kms.rotate_key_on_demand(KeyId=key_id)
    assert len(set(materials)) == 26
    for number, (blob, material) in enumerate(zip(blobs, materials)):
        answer = kms.decrypt(CiphertextBlob=blob)
        assert (answer["Plaintext"], answer["KeyMaterialId"]) == (str(number).encode(), material)
    found = rotations(kms, key_id)
    assert sorted(entry["KeyMaterialId"] for entry in found) == sorted(materials[1:])
    assert {entry["RotationType"] for entry in found} == {"ON_DEMAND"}
    everything = rotations(kms, key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert sorted(entry["KeyMaterialId"] for entry in everything) == sorted(materials)
    states = {entry["KeyMaterialId"]: entry["KeyMaterialState"] for entry in everything}
    assert [states[material] for material in materials] == ["NON_CURRENT"] * 25 + ["CURRENT"]


def test_rotating_on_demand_leaves_the_schedule_alone(kms, key_id):
    kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=90)
    before = status(kms, key_id)
    kms.rotate_key_on_demand(KeyId=key_id)
    assert status(kms, key_id) == before


def test_rotations_are_pages(kms, key_id):
    for _ in range(3):
        kms.rotate_key_on_demand(KeyId=key_id)
    first = kms.list_key_rotations(KeyId=key_id, Limit=2)
    assert (len(first["Rotations"]), first["Truncated"]) == (2, True)
    second = kms.list_key_rotations(KeyId=key_id, Limit=2, Marker=first["NextMarker"])
    assert (len(second["Rotations"]), second["Truncated"], "NextMarker" in second) == (1, False, False)


def test_a_disabled_key_cannot_be_rotated(kms, key_id):
    kms.disable_key(KeyId=key_id)
    for use in (kms.rotate_key_on_demand, kms.enable_key_rotation, kms.disable_key_rotation):
        with refused("DisabledException", f"{arn(f'key/{key_id}')} is disabled."):
            use(KeyId=key_id)


def test_the_last_use_of_a_key(kms, key):
    answer = kms.get_key_last_usage(KeyId=key["KeyId"])
    assert (answer["KeyCreationDate"], "KeyLastUsage" in answer) == (key["CreationDate"], False)
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    used = kms.decrypt(CiphertextBlob=blob)["ResponseMetadata"]["RequestId"]
    last = kms.get_key_last_usage(KeyId=key["KeyId"])["KeyLastUsage"]
    assert (last["Operation"], last["KmsRequestId"]) == ("Decrypt", used)
    assert last["Timestamp"] >= key["CreationDate"]
    kms.describe_key(KeyId=key["KeyId"])
    with refused("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})
    assert kms.get_key_last_usage(KeyId=key["KeyId"])["KeyLastUsage"] == last
