"""Encrypt, Decrypt and ReEncrypt: sizes, contexts, damage, keys that are not the right one."""

import os
import re

import pytest
from conftest import REGION, arn, connect, new_key, refused, unique

INCORRECT_KEY = "The key ID in the request does not identify a CMK that can perform this operation."
NO_SUCH_MAKER = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)


def test_what_encrypt_and_decrypt_answer(kms, key):
    encrypted = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    assert set(encrypted) - {"ResponseMetadata"} == {"CiphertextBlob", "EncryptionAlgorithm", "KeyId"}
    assert (encrypted["KeyId"], encrypted["EncryptionAlgorithm"]) == (key["Arn"], "SYMMETRIC_DEFAULT")
    decrypted = kms.decrypt(CiphertextBlob=encrypted["CiphertextBlob"])
    del decrypted["ResponseMetadata"]
    assert decrypted == {
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "KeyId": key["Arn"],
        "KeyMaterialId": key["CurrentKeyMaterialId"],
        "Plaintext": b"x",
    }


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 4095, 4096])
def test_a_plaintext_has_1_to_4096_bytes(kms, key_id, length):
    plaintext = bytes(index % 256 for index in range(length))
    blob = kms.encrypt(KeyId=key_id, Plaintext=plaintext)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == plaintext
    assert kms.decrypt(CiphertextBlob=blob, KeyId=key_id)["Plaintext"] == plaintext


def test_other_plaintexts_are_refused_and_not_repeated(kms, key_id):
    start = "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have "
    with refused("ValidationException", f"{start}length less than or equal to 4096"):
        kms.encrypt(KeyId=key_id, Plaintext=b"x" * 4097)
    with refused("ValidationException", f"{start}length greater than or equal to 1"):
        kms.encrypt(KeyId=key_id, Plaintext=b"")
    with refused("ValidationException", re.compile(r"1 .+ Value null at 'plaintext' .+ must not be null")):
        kms.encrypt(KeyId=key_id)


def test_no_two_ciphertexts_are_the_same(kms, key_id):
    blobs = {kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"] for _ in range(20)}
    assert len(blobs) == 20


def test_each_bit_of_a_ciphertext_counts(kms, key_id):
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
    for bit in range(len(blob) * 8):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with refused("InvalidCiphertextException", ""):
            kms.decrypt(CiphertextBlob=bytes(damaged), EncryptionContext={"a": "b"})
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})["Plaintext"] == b"x"


def test_a_ciphertext_that_is_too_short_or_too_long(kms, key_id):
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    for length in range(1, len(blob)):
        with refused("InvalidCiphertextException", ""):
            kms.decrypt(CiphertextBlob=blob[:length])
    for more in (blob + b"\0", b"\0" + blob, blob + blob, b"garbage", b"\0" * 6144):
        with refused("InvalidCiphertextException", ""):
            kms.decrypt(CiphertextBlob=more)
        with refused("InvalidCiphertextException", ""):
            kms.decrypt(CiphertextBlob=more, KeyId=key_id)
    with refused("ValidationException", re.compile(r".+'ciphertextBlob'.+ less than or equal to 6144")):
        kms.decrypt(CiphertextBlob=b"\0" * 6145)
    with refused("ValidationException", re.compile(r".+'ciphertextBlob'.+ greater than or equal to 1")):
        kms.decrypt(CiphertextBlob=b"")


@pytest.mark.parametrize(
    ("with_", "against"),
    [
        ({"a": "b"}, {}),
        ({}, {"a": "b"}),
        ({"a": "b"}, {"a": "c"}),
        ({"a": "b"}, {"A": "b"}),
        ({"a": "b"}, {"a": "B"}),
        ({"a": "b"}, {"a": "b", "c": "d"}),
        ({"ab": "c"}, {"a": "bc"}),
        ({"a": "b", "c": "d"}, {"a": "d", "c": "b"}),
        ({"a": ""}, {}),
        ({"a": "é"}, {"a": "e\u0301"}),
    ],
)
def test_another_context_does_not_decrypt(kms, key_id, with_, against):
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=with_)["CiphertextBlob"]
    with refused("InvalidCiphertextException", ""):
        kms.decrypt(CiphertextBlob=blob, EncryptionContext=against)
    with refused("InvalidCiphertextException", ""):
        kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=against, DestinationKeyId=key_id)
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=with_)["Plaintext"] == b"x"


def test_the_order_of_a_context_does_not_count(kms, key_id):
    pairs = [("a", "1"), ("b", "2"), ("ü", "中"), ("", "")]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=dict(pairs))["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=dict(reversed(pairs)))["Plaintext"] == b"x"


def test_no_context_is_an_empty_context(kms, key_id):
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={})["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_context_can_be_long_but_not_without_end(kms, key_id):
    context = {f"name{index}": "v" * 100 for index in range(70)}
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"x"
    with refused("ValidationException"):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={"a": "v" * 8193})


def test_a_key_id_that_is_given_must_be_right(kms, key):
    other = new_key(kms)["KeyId"]
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    with refused("IncorrectKeyException", INCORRECT_KEY):
        kms.decrypt(CiphertextBlob=blob, KeyId=other)
    with refused("IncorrectKeyException", INCORRECT_KEY):
        kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=other, DestinationKeyId=other)
    with refused("NotFoundException", "Invalid keyId 'x'"):
        kms.decrypt(CiphertextBlob=blob, KeyId="x")


def test_an_algorithm_for_other_keys(kms, key_id):
    text = "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT."
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionAlgorithm="SYMMETRIC_DEFAULT")["CiphertextBlob"]
    with refused("InvalidKeyUsageException", text):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    with refused("InvalidKeyUsageException", text):
        kms.decrypt(KeyId=key_id, CiphertextBlob=blob, EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    with refused("InvalidKeyUsageException", text):
        kms.re_encrypt(
            CiphertextBlob=blob, DestinationKeyId=key_id, DestinationEncryptionAlgorithm="RSAES_OAEP_SHA_256"
        )
    with refused("ValidationException", re.compile(r"1 .+ 'encryptionAlgorithm' .+ enum value set: \[.+\]")):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionAlgorithm="AES")


def test_a_ciphertext_does_not_leave_its_region(kms, kms_elsewhere):
    for multi_region in (False, True):
        key = new_key(kms, MultiRegion=multi_region)
        blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
        with refused("AccessDeniedException", NO_SUCH_MAKER):
            kms_elsewhere.decrypt(CiphertextBlob=blob)
        with refused("NotFoundException", f"Invalid arn {REGION}"):
            kms_elsewhere.decrypt(CiphertextBlob=blob, KeyId=key["Arn"])


def test_re_encrypt_changes_key_and_context(kms, key):
    other = new_key(kms)
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"a": "1"})["CiphertextBlob"]
    answer = kms.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext={"a": "1"},
        SourceKeyId=key["KeyId"],
        DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext={"b": "2"},
    )
    del answer["ResponseMetadata"]
    again = answer.pop("CiphertextBlob")
    assert answer == {
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationKeyMaterialId": other["CurrentKeyMaterialId"],
        "KeyId": other["Arn"],
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "SourceKeyId": key["Arn"],
        "SourceKeyMaterialId": key["CurrentKeyMaterialId"],
    }
    assert kms.decrypt(CiphertextBlob=again, EncryptionContext={"b": "2"})["Plaintext"] == b"x"
    with refused("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=again, EncryptionContext={"a": "1"})
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "1"})["Plaintext"] == b"x"


def test_re_encrypt_needs_both_keys_to_be_enabled(kms, key):
    other = new_key(kms)
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    for disabled in (key, other):
        kms.disable_key(KeyId=disabled["KeyId"])
        with refused("DisabledException", f"{disabled['Arn']} is disabled."):
            kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=other["KeyId"])
        kms.enable_key(KeyId=disabled["KeyId"])
    kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=other["KeyId"])


def test_every_way_to_name_a_key_is_answered_with_its_arn(kms, key):
    name = unique()
    kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    for key_id in (key["KeyId"], key["Arn"], name, arn(name)):
        assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"] == key["Arn"]
        answer = kms.encrypt(KeyId=key_id, Plaintext=b"x")
        blob = answer["CiphertextBlob"]
        again = kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=key_id, DestinationKeyId=key_id)
        answers = [
            answer,
            kms.decrypt(CiphertextBlob=blob, KeyId=key_id),
            kms.generate_data_key(KeyId=key_id, KeySpec="AES_256"),
            kms.generate_data_key_without_plaintext(KeyId=key_id, KeySpec="AES_256"),
            again,
        ]
        assert [answer["KeyId"] for answer in answers] == [key["Arn"]] * 5
        assert again["SourceKeyId"] == key["Arn"]


def test_operations_that_do_not_take_aliases(kms, key):
    name = unique()
    kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    uses = [
        kms.cancel_key_deletion,
        kms.disable_key,
        kms.disable_key_rotation,
        kms.enable_key,
        kms.enable_key_rotation,
        kms.get_key_policy,
        kms.get_key_rotation_status,
        kms.list_grants,
        kms.list_key_policies,
        kms.list_key_rotations,
        kms.list_resource_tags,
        kms.rotate_key_on_demand,
        kms.schedule_key_deletion,
        lambda KeyId: kms.put_key_policy(KeyId=KeyId, Policy="{}"),
        lambda KeyId: kms.tag_resource(KeyId=KeyId, Tags=[{"TagKey": "a", "TagValue": "b"}]),
        lambda KeyId: kms.untag_resource(KeyId=KeyId, TagKeys=["a"]),
        lambda KeyId: kms.update_key_description(KeyId=KeyId, Description=""),
    ]
    for use in uses:
        with refused("NotFoundException", f"Invalid keyId '{name}'"):
            use(KeyId=name)
        with refused("NotFoundException"):
            use(KeyId=arn(name))
    assert kms.describe_key(KeyId=name)["KeyMetadata"] == key


def test_plaintext_over_http_is_for_this_machine_and_works(key):
    plain = connect(endpoint_url=os.environ["HOLDFAST_KMS_HTTP"])
    blob = plain.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert plain.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
