"""Sign and Verify: every key spec, algorithm and type of message, in both directions."""

import pytest
from conftest import refused
from kinds import (
    CURVES,
    EDWARDS,
    MESSAGE,
    RSA,
    SIGNING,
    load_public,
    made,
    own_imported,
    own_key,
    sign,
    spki,
    to_be_signed,
    verifies,
)

IMPORTABLE = [case for case in SIGNING if case[0] in RSA or case[0] in CURVES or case[0] == EDWARDS]


def request(key_id, algorithm, kind, message):
    return {"KeyId": key_id, "SigningAlgorithm": algorithm, "MessageType": kind, "Message": message}


@pytest.mark.parametrize(("spec", "algorithm", "kind"), SIGNING)
def test_ours_verify_there(kms, spec, algorithm, kind):
    key_id = made(kms, spec, "SIGN_VERIFY")
    answer = kms.get_public_key(KeyId=key_id)
    assert algorithm in answer["SigningAlgorithms"]
    public_key = load_public(answer["PublicKey"])
    for message in (MESSAGE, b"\0" * 4096):
        asked = request(key_id, algorithm, kind, to_be_signed(public_key, algorithm, kind, message))
        signature = kms.sign(**asked)["Signature"]
        assert verifies(public_key, algorithm, message, signature)
        assert not verifies(public_key, algorithm, b"another message", signature)
        assert kms.verify(**asked, Signature=signature)["SignatureValid"] is True


@pytest.mark.parametrize(("spec", "algorithm", "kind"), IMPORTABLE)
def test_theirs_verify_here(kms, spec, algorithm, kind):
    own = own_key(spec)
    key_id = own_imported(kms, spec, "SIGN_VERIFY")
    public_key = load_public(kms.get_public_key(KeyId=key_id)["PublicKey"])
    assert spki(own) == kms.get_public_key(KeyId=key_id)["PublicKey"]
    signature = sign(own, algorithm, MESSAGE)
    asked = request(key_id, algorithm, kind, to_be_signed(public_key, algorithm, kind, MESSAGE))
    assert kms.verify(**asked, Signature=signature)["SignatureValid"] is True
    other = request(key_id, algorithm, kind, to_be_signed(public_key, algorithm, kind, b"another message"))
    with refused("KMSInvalidSignatureException"):
        kms.verify(**other, Signature=signature)
    # An imported key signs like any other.
    assert verifies(own.public_key(), algorithm, MESSAGE, kms.sign(**asked)["Signature"])


def test_a_multi_region_key_signs_here_and_verifies_elsewhere(kms, kms_elsewhere):
    for spec, algorithm in (("RSA_2048", "RSASSA_PSS_SHA_256"), ("ECC_NIST_P256", "ECDSA_SHA_256"), ("ML_DSA_44", "ML_DSA_SHAKE_256")):
        key_id = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY", MultiRegion=True)["KeyMetadata"]["KeyId"]
        kms.replicate_key(KeyId=key_id, ReplicaRegion=kms_elsewhere.meta.region_name)
        asked = request(key_id, algorithm, "RAW", MESSAGE)
        signature = kms.sign(**asked)["Signature"]
        assert kms_elsewhere.verify(**asked, Signature=signature)["SignatureValid"] is True
        public_key = kms_elsewhere.get_public_key(KeyId=key_id)["PublicKey"]
        assert public_key == kms.get_public_key(KeyId=key_id)["PublicKey"]
        assert verifies(load_public(public_key), algorithm, MESSAGE, kms_elsewhere.sign(**asked)["Signature"])
