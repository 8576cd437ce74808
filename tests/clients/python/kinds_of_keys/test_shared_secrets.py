"""ECDH and ML-KEM, in both directions."""

import pytest
from conftest import refused
from cryptography.hazmat.primitives.asymmetric import ec
from kinds import (
    AGREEING,
    CURVES,
    ML_KEM,
    decapsulate,
    encapsulate,
    load_public,
    made,
    own_imported,
    own_key,
    spki,
)


@pytest.mark.parametrize("spec", AGREEING)
def test_both_sides_agree(kms, spec):
    for key_id in (made(kms, spec, "KEY_AGREEMENT"), own_imported(kms, spec, "KEY_AGREEMENT")):
        public_key = load_public(kms.get_public_key(KeyId=key_id)["PublicKey"])
        for _ in range(3):
            peer = ec.generate_private_key(CURVES[spec])
            derived = kms.derive_shared_secret(KeyId=key_id, KeyAgreementAlgorithm="ECDH", PublicKey=spki(peer))
            assert derived["SharedSecret"] == peer.exchange(ec.ECDH(), public_key)
    for other in CURVES:
        if other != spec:
            with refused("ValidationException"):
                kms.derive_shared_secret(KeyId=key_id, KeyAgreementAlgorithm="ECDH", PublicKey=spki(own_key(other)))


@pytest.mark.parametrize("spec", ML_KEM)
def test_what_is_encapsulated_there_is_decapsulated_here(kms, spec):
    key_id = made(kms, spec, "ENCAPSULATE_DECAPSULATE")
    public_key = kms.get_public_key(KeyId=key_id)["PublicKey"]
    for _ in range(3):
        secret, ciphertext = encapsulate(spec, public_key)
        asked = {"KeyId": key_id, "EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": ciphertext}
        assert kms.decapsulate(**asked)["SharedSecret"] == secret
    # Rejected implicitly: another secret, and no error.
    asked["SharedSecretCiphertextBlob"] = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert kms.decapsulate(**asked)["SharedSecret"] != secret
    made_here = kms.encapsulate(KeyId=key_id, EncapsulationAlgorithm="ML_KEM")
    asked["SharedSecretCiphertextBlob"] = made_here["SharedSecretCiphertextBlob"]
    assert kms.decapsulate(**asked)["SharedSecret"] == made_here["SharedSecret"]


@pytest.mark.parametrize("spec", ML_KEM)
def test_a_key_pair_of_ours_decapsulates_there(kms, spec):
    """Private keys of KMS keys do not leave it, and none are imported: what leaves it is a data key pair."""
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    pair = kms.generate_data_key_pair(KeyId=key_id, KeyPairSpec=spec)
    secret, ciphertext = encapsulate(spec, pair["PublicKey"])
    assert decapsulate(spec, pair["PrivateKeyPlaintext"], ciphertext) == secret
