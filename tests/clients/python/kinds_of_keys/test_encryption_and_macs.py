"""RSAES-OAEP and HMAC, in both directions."""

import pytest
from conftest import refused
from kinds import HMAC, MESSAGE, OAEP, RSA, imported, load_public, mac_algorithm, made, oaep, own_imported, own_key, sha, tag

ENCRYPTION = [(spec, algorithm) for spec in RSA for algorithm in OAEP]


def longest(spec, algorithm):
    return int(spec[4:]) // 8 - 2 * sha(algorithm).digest_size - 2


@pytest.mark.parametrize(("spec", "algorithm"), ENCRYPTION)
def test_theirs_decrypt_here(kms, spec, algorithm):
    for key_id in (made(kms, spec, "ENCRYPT_DECRYPT"), own_imported(kms, spec, "ENCRYPT_DECRYPT")):
        public_key = load_public(kms.get_public_key(KeyId=key_id)["PublicKey"])
        for plaintext in (b"x", MESSAGE, b"\0" * longest(spec, algorithm)):
            blob = public_key.encrypt(plaintext, oaep(algorithm))
            answer = kms.decrypt(KeyId=key_id, CiphertextBlob=blob, EncryptionAlgorithm=algorithm)
            assert answer["Plaintext"] == plaintext
            other = next(name for name in OAEP if name != algorithm)
            with refused("InvalidCiphertextException"):
                kms.decrypt(KeyId=key_id, CiphertextBlob=blob, EncryptionAlgorithm=other)


@pytest.mark.parametrize(("spec", "algorithm"), ENCRYPTION)
def test_ours_decrypt_there(kms, spec, algorithm):
    key_id = own_imported(kms, spec, "ENCRYPT_DECRYPT")
    for plaintext in (b"x", MESSAGE, b"\0" * longest(spec, algorithm)):
        blob = kms.encrypt(KeyId=key_id, Plaintext=plaintext, EncryptionAlgorithm=algorithm)["CiphertextBlob"]
        assert own_key(spec).decrypt(blob, oaep(algorithm)) == plaintext
    with refused("ValidationException"):
        kms.encrypt(KeyId=key_id, Plaintext=b"\0" * (longest(spec, algorithm) + 1), EncryptionAlgorithm=algorithm)


def test_what_is_reencrypted_here_decrypts_there(kms):
    symmetric = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=symmetric, Plaintext=MESSAGE)["CiphertextBlob"]
    for spec, algorithm in ENCRYPTION:
        moved = kms.re_encrypt(
            CiphertextBlob=blob,
            DestinationKeyId=own_imported(kms, spec, "ENCRYPT_DECRYPT"),
            DestinationEncryptionAlgorithm=algorithm,
        )
        assert own_key(spec).decrypt(moved["CiphertextBlob"], oaep(algorithm)) == MESSAGE


@pytest.mark.parametrize(("spec", "size"), HMAC.items())
def test_tags_are_the_same(kms, spec, size):
    material = bytes(range(size))
    key_id = imported(kms, spec, "GENERATE_VERIFY_MAC", material)
    for message in (b"x", MESSAGE, b"\0" * 4096):
        asked = {"KeyId": key_id, "MacAlgorithm": mac_algorithm(spec), "Message": message}
        expected = tag(spec, material, message)
        assert kms.generate_mac(**asked)["Mac"] == expected
        assert kms.verify_mac(**asked, Mac=expected)["MacValid"] is True
        for wrong in (expected[:-1], expected + b"\0", bytes([expected[0] ^ 1]) + expected[1:]):
            with refused("KMSInvalidMacException"):
                kms.verify_mac(**asked, Mac=wrong)
