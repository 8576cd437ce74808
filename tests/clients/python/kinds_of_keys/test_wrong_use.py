"""What does not go together: every kind of key, asked for everything that it does not do."""

import pytest
from conftest import new_key, refused
from kinds import (
    AGREEING,
    CURVES,
    ECDSA,
    EDWARDS,
    HMAC,
    MESSAGE,
    ML_DSA,
    ML_KEM,
    OAEP,
    RSA,
    RSA_SIGNING,
    mac_algorithm,
    made,
    own_key,
    spki,
)

KINDS = [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    *((spec, "ENCRYPT_DECRYPT") for spec in RSA),
    *((spec, "SIGN_VERIFY") for spec in (*RSA, *CURVES, EDWARDS, *ML_DSA)),
    *((spec, "KEY_AGREEMENT") for spec in AGREEING),
    *((spec, "ENCAPSULATE_DECAPSULATE") for spec in ML_KEM),
    *((spec, "GENERATE_VERIFY_MAC") for spec in HMAC),
]
SPECS = sorted({spec for spec, _ in KINDS})
USAGES = sorted({usage for _, usage in KINDS})
SIGNING = [*RSA_SIGNING, "ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512", "ED25519_SHA_512", "ED25519_PH_SHA_512", "ML_DSA_SHAKE_256"]


def signing_of(spec):
    if spec in RSA:
        return RSA_SIGNING
    if spec in ML_DSA:
        return ["ML_DSA_SHAKE_256"]
    return [ECDSA[spec]] if spec in ECDSA else ["ED25519_SHA_512", "ED25519_PH_SHA_512"]


def requests(spec):
    """Operation, what it is for, and a request that a key of the right kind would be served."""
    peer = spki(own_key("ECC_NIST_P256"))
    return [
        ("encrypt", "ENCRYPT_DECRYPT", {"Plaintext": MESSAGE}),
        ("decrypt", "ENCRYPT_DECRYPT", {"CiphertextBlob": b"\0" * 256, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
        ("generate_data_key", "ENCRYPT_DECRYPT", {"KeySpec": "AES_256"}),
        ("generate_data_key_without_plaintext", "ENCRYPT_DECRYPT", {"KeySpec": "AES_256"}),
        ("generate_data_key_pair", "ENCRYPT_DECRYPT", {"KeyPairSpec": "ECC_NIST_P256"}),
        ("generate_data_key_pair_without_plaintext", "ENCRYPT_DECRYPT", {"KeyPairSpec": "ECC_NIST_P256"}),
        ("sign", "SIGN_VERIFY", {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}),
        ("verify", "SIGN_VERIFY", {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256", "Signature": b"x"}),
        ("generate_mac", "GENERATE_VERIFY_MAC", {"Message": MESSAGE, "MacAlgorithm": "HMAC_SHA_256"}),
        ("verify_mac", "GENERATE_VERIFY_MAC", {"Message": MESSAGE, "MacAlgorithm": "HMAC_SHA_256", "Mac": b"x"}),
        ("derive_shared_secret", "KEY_AGREEMENT", {"KeyAgreementAlgorithm": "ECDH", "PublicKey": peer}),
        ("encapsulate", "ENCAPSULATE_DECAPSULATE", {"EncapsulationAlgorithm": "ML_KEM"}),
        ("decapsulate", "ENCAPSULATE_DECAPSULATE", {"EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": b"x" * 1088}),
    ]


@pytest.mark.parametrize(("spec", "usage"), KINDS)
def test_operations_of_another_usage(kms, spec, usage):
    key_id = made(kms, spec, usage)
    for operation, needed, request in requests(spec):
        if needed == usage:
            continue
        with refused("InvalidKeyUsageException"):
            getattr(kms, operation)(KeyId=key_id, **request)


@pytest.mark.parametrize(("spec", "usage"), [kind for kind in KINDS if kind[1] == "SIGN_VERIFY"])
def test_signing_algorithms_of_other_specs(kms, spec, usage):
    key_id = made(kms, spec, usage)
    for algorithm in SIGNING:
        if algorithm in signing_of(spec):
            continue
        with refused("InvalidKeyUsageException"):
            kms.sign(KeyId=key_id, Message=MESSAGE, SigningAlgorithm=algorithm)
        with refused("InvalidKeyUsageException"):
            kms.verify(KeyId=key_id, Message=MESSAGE, SigningAlgorithm=algorithm, Signature=b"x")


def test_algorithms_of_other_specs(kms):
    for spec in HMAC:
        for other in HMAC:
            if other != spec:
                with refused("InvalidKeyUsageException"):
                    kms.generate_mac(KeyId=made(kms, spec, "GENERATE_VERIFY_MAC"), MacAlgorithm=mac_algorithm(other), Message=b"x")
    for spec in RSA:
        with refused("InvalidKeyUsageException"):
            kms.encrypt(KeyId=made(kms, spec, "ENCRYPT_DECRYPT"), Plaintext=b"x")
    for algorithm in OAEP:
        with refused("InvalidKeyUsageException"):
            kms.encrypt(KeyId=made(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), Plaintext=b"x", EncryptionAlgorithm=algorithm)


@pytest.mark.parametrize("spec", RSA)
def test_data_keys_are_for_symmetric_keys(kms, spec):
    key_id = made(kms, spec, "ENCRYPT_DECRYPT")
    for operation, request in (
        ("generate_data_key", {"KeySpec": "AES_256"}),
        ("generate_data_key_without_plaintext", {"KeySpec": "AES_256"}),
        ("generate_data_key_pair", {"KeyPairSpec": "RSA_2048"}),
        ("generate_data_key_pair_without_plaintext", {"KeyPairSpec": "RSA_2048"}),
    ):
        with refused("InvalidKeyUsageException"):
            getattr(kms, operation)(KeyId=key_id, **request)


@pytest.mark.parametrize("spec", SPECS)
def test_usages_that_no_key_of_the_spec_has(kms, spec):
    for usage in USAGES:
        if (spec, usage) not in KINDS:
            with refused("ValidationException"):
                kms.create_key(KeySpec=spec, KeyUsage=usage)


def test_sm2_is_for_other_regions(kms):
    for usage in ("SIGN_VERIFY", "ENCRYPT_DECRYPT", "KEY_AGREEMENT"):
        with refused("UnsupportedOperationException"):
            kms.create_key(KeySpec="SM2", KeyUsage=usage)


def test_messages_that_are_too_long_and_digests_that_are_not_as_long(kms):
    for spec, algorithm in (("RSA_2048", "RSASSA_PSS_SHA_256"), ("ECC_NIST_P384", "ECDSA_SHA_384"), (EDWARDS, "ED25519_PH_SHA_512")):
        key_id = made(kms, spec, "SIGN_VERIFY")
        for length in (1, 20, 4096):
            with refused("ValidationException"):
                kms.sign(KeyId=key_id, Message=b"x" * length, MessageType="DIGEST", SigningAlgorithm=algorithm)
        with refused("ValidationException"):
            kms.sign(KeyId=key_id, Message=b"x" * 4097, SigningAlgorithm=algorithm)
        with refused("ValidationException"):
            kms.sign(KeyId=key_id, Message=b"x" * 64, MessageType="EXTERNAL_MU", SigningAlgorithm=algorithm)
    key_id = made(kms, "ML_DSA_65", "SIGN_VERIFY")
    for kind, length in (("EXTERNAL_MU", 63), ("EXTERNAL_MU", 65), ("DIGEST", 64), ("RAW", 4097)):
        with refused("ValidationException"):
            kms.sign(KeyId=key_id, Message=b"x" * length, MessageType=kind, SigningAlgorithm="ML_DSA_SHAKE_256")


def test_ciphertexts_of_others(kms):
    rsa, other = made(kms, "RSA_2048", "ENCRYPT_DECRYPT"), new_key(kms, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyId"]
    symmetric, another = made(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), new_key(kms)["KeyId"]
    algorithm = {"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    blob = kms.encrypt(KeyId=rsa, Plaintext=MESSAGE, **algorithm)["CiphertextBlob"]
    with refused("InvalidCiphertextException"):
        kms.decrypt(KeyId=other, CiphertextBlob=blob, **algorithm)
    with refused("InvalidCiphertextException"):
        kms.decrypt(KeyId=rsa, CiphertextBlob=blob[:-1], **algorithm)
    with refused("InvalidCiphertextException"):
        kms.decrypt(KeyId=symmetric, CiphertextBlob=blob)
    with refused("ValidationException"):
        kms.decrypt(CiphertextBlob=blob, **algorithm)
    ours = kms.encrypt(KeyId=symmetric, Plaintext=MESSAGE)["CiphertextBlob"]
    with refused("IncorrectKeyException"):
        kms.decrypt(KeyId=another, CiphertextBlob=ours)
    with refused("InvalidCiphertextException"):
        kms.decrypt(KeyId=rsa, CiphertextBlob=ours, **algorithm)
    for spec, length in zip(ML_KEM, (768, 1088, 1568), strict=True):
        for wrong in (1, length - 1, length + 1):
            with refused("InvalidCiphertextException"):
                kms.decapsulate(
                    KeyId=made(kms, spec, "ENCAPSULATE_DECAPSULATE"), EncapsulationAlgorithm="ML_KEM", SharedSecretCiphertextBlob=b"x" * wrong
                )


SERVED = {
    "ENCRYPT_DECRYPT": [("encrypt", {"Plaintext": MESSAGE, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"})],
    "SIGN_VERIFY": [
        ("sign", {"Message": MESSAGE, "SigningAlgorithm": "RSASSA_PSS_SHA_256"}),
        ("verify", {"Message": MESSAGE, "SigningAlgorithm": "RSASSA_PSS_SHA_256", "Signature": b"x" * 256}),
    ],
}


@pytest.mark.parametrize("usage", SERVED)
def test_keys_that_are_disabled_or_to_be_deleted_or_without_material(kms, usage):
    key_id = new_key(kms, KeySpec="RSA_2048", KeyUsage=usage)["KeyId"]
    waiting = new_key(kms, KeySpec="RSA_2048", KeyUsage=usage, Origin="EXTERNAL")["KeyId"]
    kms.disable_key(KeyId=key_id)
    for operation, request in SERVED[usage]:
        with refused("DisabledException"):
            getattr(kms, operation)(KeyId=key_id, **request)
        with refused("KMSInvalidStateException"):
            getattr(kms, operation)(KeyId=waiting, **request)
    with refused("DisabledException"):
        kms.get_public_key(KeyId=key_id)
    with refused("KMSInvalidStateException"):
        kms.get_public_key(KeyId=waiting)
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    for operation, request in SERVED[usage]:
        with refused("KMSInvalidStateException"):
            getattr(kms, operation)(KeyId=key_id, **request)


def test_what_only_key_pairs_have(kms):
    for spec in ("SYMMETRIC_DEFAULT", "HMAC_256"):
        usage = "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" else "GENERATE_VERIFY_MAC"
        with refused("UnsupportedOperationException"):
            kms.get_public_key(KeyId=made(kms, spec, usage))


@pytest.mark.parametrize("spec", [*ML_DSA, *ML_KEM])
def test_material_of_lattices_is_not_imported(kms, spec):
    usage = "SIGN_VERIFY" if spec in ML_DSA else "ENCAPSULATE_DECAPSULATE"
    with refused("UnsupportedOperationException"):
        kms.create_key(KeySpec=spec, KeyUsage=usage, Origin="EXTERNAL")


def test_automatic_rotation_is_for_symmetric_keys(kms):
    for spec, usage in (("RSA_2048", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC"), ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE")):
        with refused("UnsupportedOperationException"):
            kms.enable_key_rotation(KeyId=made(kms, spec, usage))
        with refused("UnsupportedOperationException"):
            kms.rotate_key_on_demand(KeyId=made(kms, spec, usage))
        assert kms.get_key_rotation_status(KeyId=made(kms, spec, usage))["KeyRotationEnabled"] is False
