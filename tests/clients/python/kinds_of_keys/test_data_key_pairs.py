"""GenerateDataKeyPair of every spec: what other libraries make of it."""

import pytest
from kinds import (
    CURVES,
    ECDSA,
    EDWARDS,
    MESSAGE,
    ML_KEM,
    RSA,
    decapsulate,
    encapsulate,
    load_private,
    load_public,
    sign,
    spki,
    verifies,
)

SPECS = [*RSA, *CURVES, EDWARDS, *ML_KEM]


@pytest.mark.parametrize("with_plaintext", [True, False])
@pytest.mark.parametrize("spec", SPECS)
def test_a_pair_is_one(kms, key_id, spec, with_plaintext):
    context = {"tenant": "blue"}
    if with_plaintext:
        pair = kms.generate_data_key_pair(KeyId=key_id, KeyPairSpec=spec, EncryptionContext=context)
    else:
        pair = kms.generate_data_key_pair_without_plaintext(KeyId=key_id, KeyPairSpec=spec, EncryptionContext=context)
        assert "PrivateKeyPlaintext" not in pair
    blob = pair["PrivateKeyCiphertextBlob"]
    private_key = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"]
    assert pair.get("PrivateKeyPlaintext", private_key) == private_key
    if spec in ML_KEM:
        secret, ciphertext = encapsulate(spec, pair["PublicKey"])
        assert decapsulate(spec, private_key, ciphertext) == secret
        if spec == "ML_KEM_512":
            return
    own = load_private(private_key)
    assert spki(own) == pair["PublicKey"]
    if spec in RSA:
        algorithm = "RSASSA_PSS_SHA_256"
        assert own.key_size == int(spec[4:])
        assert own.private_numbers().public_numbers.e == 65537
    elif spec in CURVES:
        algorithm = ECDSA[spec]
    elif spec == EDWARDS:
        algorithm = "ED25519_SHA_512"
    else:
        return
    assert verifies(load_public(pair["PublicKey"]), algorithm, MESSAGE, sign(own, algorithm, MESSAGE))
