"""Material of every kind, wrapped there by every algorithm for every wrapping key."""

import pytest
from conftest import refused
from kinds import (
    CURVES,
    ECDSA,
    EDWARDS,
    HMAC,
    MESSAGE,
    OAEP,
    RSA,
    WRAPPING,
    import_material,
    mac_algorithm,
    own_key,
    pkcs8,
    spki,
    tag,
    verifies,
    wrap,
)

# Making wrapping keys takes its time: these are wrapped for each size, the others once by each algorithm.
FOR_EACH_SIZE = ["SYMMETRIC_DEFAULT", "RSA_2048", "ECC_NIST_P521"]
KINDS = ["SYMMETRIC_DEFAULT", *HMAC, *RSA, *CURVES, EDWARDS]


def is_possible(spec, algorithm, wrapping_spec):
    """Table of the AWS KMS Developer Guide, «Selecting a wrapping public key spec»."""
    if algorithm not in OAEP:
        return True
    return spec not in RSA and (spec, wrapping_spec) != ("ECC_NIST_P521", "RSA_2048")


def material_of(spec):
    if spec in HMAC:
        return bytes(range(HMAC[spec]))
    return bytes(range(32)) if spec == "SYMMETRIC_DEFAULT" else pkcs8(own_key(spec))


def usage_of(spec):
    if spec in HMAC:
        return "GENERATE_VERIFY_MAC"
    return "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" else "SIGN_VERIFY"


def assert_works(kms, spec, key_id, blob):
    if spec == "SYMMETRIC_DEFAULT":
        assert blob is None or kms.decrypt(CiphertextBlob=blob)["Plaintext"] == MESSAGE
        return kms.encrypt(KeyId=key_id, Plaintext=MESSAGE)["CiphertextBlob"]
    if spec in HMAC:
        made = kms.generate_mac(KeyId=key_id, MacAlgorithm=mac_algorithm(spec), Message=MESSAGE)
        assert made["Mac"] == tag(spec, material_of(spec), MESSAGE)
        return None
    algorithm = "RSASSA_PKCS1_V1_5_SHA_256" if spec in RSA else ECDSA.get(spec, "ED25519_SHA_512")
    signature = kms.sign(KeyId=key_id, SigningAlgorithm=algorithm, Message=MESSAGE)["Signature"]
    assert verifies(own_key(spec).public_key(), algorithm, MESSAGE, signature)
    assert kms.get_public_key(KeyId=key_id)["PublicKey"] == spki(own_key(spec))
    return None


@pytest.mark.parametrize("spec", KINDS)
def test_every_way_brings_the_same_material(kms, spec):
    key_id = kms.create_key(KeySpec=spec, KeyUsage=usage_of(spec), Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    blob, first = None, None
    for wrapping_spec in RSA if spec in FOR_EACH_SIZE else [RSA[KINDS.index(spec) % 2]]:
        for algorithm in WRAPPING:
            if not is_possible(spec, algorithm, wrapping_spec):
                with refused("UnsupportedOperationException"):
                    import_material(kms, key_id, material_of(spec), algorithm, wrapping_spec)
                continue
            answer = import_material(kms, key_id, material_of(spec), algorithm, wrapping_spec)
            first = first or answer.get("KeyMaterialId")
            assert answer.get("KeyMaterialId") == first
            blob = assert_works(kms, spec, key_id, blob)
            kms.delete_imported_key_material(KeyId=key_id)
            assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingImport"


@pytest.mark.parametrize("spec", KINDS)
def test_material_that_is_none_is_refused(kms, spec):
    key_id = kms.create_key(KeySpec=spec, KeyUsage=usage_of(spec), Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    right = material_of(spec)
    others = [right[:-1], right + b"\0", b"\0"]
    # Secrets are bytes of the right number, whatever they mean elsewhere.
    is_secret = spec in HMAC or spec == "SYMMETRIC_DEFAULT"
    others += [other for other in map(material_of, KINDS) if other != right and not (is_secret and len(other) == len(right))]
    for wrong in others:
        with refused("IncorrectKeyMaterialException"):
            import_material(kms, key_id, wrong)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingImport"
    import_material(kms, key_id, right)


def test_what_was_not_wrapped_for_the_key_is_refused(kms):
    keys = [kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"] for _ in range(2)]
    given = [
        kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
        for key in keys
    ]
    encrypted = wrap("RSAES_OAEP_SHA_256", given[0]["PublicKey"], bytes(32))
    asked = {"KeyId": keys[0], "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    with refused("InvalidImportTokenException"):
        kms.import_key_material(**asked, ImportToken=given[1]["ImportToken"], EncryptedKeyMaterial=encrypted)
    with refused("InvalidImportTokenException"):
        kms.import_key_material(**asked, ImportToken=b"no token", EncryptedKeyMaterial=encrypted)
    sha1 = wrap("RSAES_OAEP_SHA_1", given[0]["PublicKey"], bytes(32))
    other = wrap("RSAES_OAEP_SHA_256", given[1]["PublicKey"], bytes(32))
    for wrong in (sha1, other, encrypted[:-1], b"\0"):
        with refused("InvalidCiphertextException"):
            kms.import_key_material(**asked, ImportToken=given[0]["ImportToken"], EncryptedKeyMaterial=wrong)
    kms.import_key_material(**asked, ImportToken=given[0]["ImportToken"], EncryptedKeyMaterial=encrypted)
