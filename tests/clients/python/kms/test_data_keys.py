"""GenerateDataKey, GenerateDataKeyWithoutPlaintext and GenerateRandom: sizes, and ways to ask for them."""

import re

import pytest
from conftest import new_key, refused

EITHER = "Please specify either number of bytes or key spec."


@pytest.mark.parametrize(
    ("request_", "length"),
    [
        ({"KeySpec": "AES_256"}, 32),
        ({"KeySpec": "AES_128"}, 16),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 64}, 64),
        ({"NumberOfBytes": 1024}, 1024),
    ],
)
def test_a_data_key_decrypts_to_itself(kms, key, request_, length):
    context = {"table": "orders"}
    answer = kms.generate_data_key(KeyId=key["KeyId"], EncryptionContext=context, **request_)
    members = {"CiphertextBlob", "KeyId", "KeyMaterialId", "Plaintext"}
    assert set(answer) - {"ResponseMetadata"} == members
    assert (answer["KeyId"], answer["KeyMaterialId"]) == (key["Arn"], key["CurrentKeyMaterialId"])
    assert len(answer["Plaintext"]) == length
    opened = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=context)
    assert opened["Plaintext"] == answer["Plaintext"]

    hidden = kms.generate_data_key_without_plaintext(KeyId=key["KeyId"], EncryptionContext=context, **request_)
    assert set(hidden) - {"ResponseMetadata"} == members - {"Plaintext"}
    opened = kms.decrypt(CiphertextBlob=hidden["CiphertextBlob"], EncryptionContext=context)
    assert len(opened["Plaintext"]) == length
    with refused("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=hidden["CiphertextBlob"])


@pytest.mark.parametrize("operation", ["generate_data_key", "generate_data_key_without_plaintext"])
def test_how_long_a_data_key_is_must_be_said_once(kms, key_id, operation):
    generate = getattr(kms, operation)
    start = "1 validation error detected: Value"
    bytes_ = "at 'numberOfBytes' failed to satisfy constraint: Member must have value"
    for request, text in (
        ({}, EITHER),
        ({"NumberOfBytes": 32, "KeySpec": "AES_256"}, EITHER),
        ({"NumberOfBytes": 0}, f"{start} '0' {bytes_} greater than or equal to 1"),
        ({"NumberOfBytes": 1025}, f"{start} '1025' {bytes_} less than or equal to 1024"),
        ({"KeySpec": "AES_192"}, re.compile(f"{start} 'AES_192' at 'keySpec' .+ enum value set: .+")),
    ):
        with refused("ValidationException", text):
            generate(KeyId=key_id, **request)


def test_no_two_data_keys_are_the_same(kms, key_id):
    answers = [kms.generate_data_key(KeyId=key_id, KeySpec="AES_256") for _ in range(20)]
    assert len({answer["Plaintext"] for answer in answers}) == 20
    assert len({answer["CiphertextBlob"] for answer in answers}) == 20


@pytest.mark.parametrize("length", [1, 12, 1024])
def test_random_bytes(kms, length):
    first, second = (kms.generate_random(NumberOfBytes=length)["Plaintext"] for _ in range(2))
    assert len(first) == len(second) == length
    assert length == 1 or first != second


def test_random_bytes_that_nobody_can_have(kms):
    start, end = "1 validation error detected: Value", "at 'numberOfBytes' failed to satisfy constraint: Member must"
    with refused("ValidationException", f"{start} '0' {end} have value greater than or equal to 1"):
        kms.generate_random(NumberOfBytes=0)
    with refused("ValidationException", f"{start} '1025' {end} have value less than or equal to 1024"):
        kms.generate_random(NumberOfBytes=1025)
    with refused("ValidationException"):
        kms.generate_random()


def test_the_longest_data_key_can_be_encrypted_again(kms, key_id):
    blob = kms.generate_data_key_without_plaintext(KeyId=key_id, NumberOfBytes=1024)["CiphertextBlob"]
    again = kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=new_key(kms)["KeyId"])["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=again)["Plaintext"] == kms.decrypt(CiphertextBlob=blob)["Plaintext"]
