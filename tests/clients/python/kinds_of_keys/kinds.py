"""Which kinds of keys there are and what they do, and the other side of each: Python's cryptography (OpenSSL 4),
PyCryptodome for Ed25519ph, kyber-py for ML-KEM-512, which the former does not have."""

import functools
import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa, utils
from Crypto.Hash import SHA512
from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa
from kyber_py.ml_kem import ML_KEM_512

MESSAGE = b"a message"

RSA = ["RSA_2048", "RSA_3072", "RSA_4096"]
CURVES = {
    "ECC_NIST_P256": ec.SECP256R1(),
    "ECC_NIST_P384": ec.SECP384R1(),
    "ECC_NIST_P521": ec.SECP521R1(),
    "ECC_SECG_P256K1": ec.SECP256K1(),
}
ECDSA = {
    "ECC_NIST_P256": "ECDSA_SHA_256",
    "ECC_NIST_P384": "ECDSA_SHA_384",
    "ECC_NIST_P521": "ECDSA_SHA_512",
    "ECC_SECG_P256K1": "ECDSA_SHA_256",
}
EDWARDS = "ECC_NIST_EDWARDS25519"
ML_DSA = ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"]
ML_KEM = ["ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"]
HMAC = {"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}
AGREEING = ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"]
OAEP = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
WRAPPING = [*OAEP, "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]

RSA_SIGNING = [f"RSASSA_{scheme}_SHA_{bits}" for scheme in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)]
# Each spec, algorithm and type of message that goes together.
SIGNING = [
    *((spec, algorithm, kind) for spec in RSA for algorithm in RSA_SIGNING for kind in ("RAW", "DIGEST")),
    *((spec, algorithm, kind) for spec, algorithm in ECDSA.items() for kind in ("RAW", "DIGEST")),
    (EDWARDS, "ED25519_SHA_512", "RAW"),
    (EDWARDS, "ED25519_PH_SHA_512", "DIGEST"),
    *((spec, "ML_DSA_SHAKE_256", kind) for spec in ML_DSA for kind in ("RAW", "EXTERNAL_MU")),
]


def mac_algorithm(spec):
    return spec.replace("HMAC_", "HMAC_SHA_")


def sha(algorithm):
    """The hash that ends the name of an algorithm."""
    bits = algorithm.rsplit("_", 1)[1]
    return {"1": hashes.SHA1, "224": hashes.SHA224, "256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[bits]()


def digest(algorithm, message):
    return hashlib.new(f"sha{algorithm.rsplit('_', 1)[1]}", message).digest()


def oaep(algorithm):
    return padding.OAEP(padding.MGF1(sha(algorithm)), sha(algorithm), None)


def load_public(der):
    return serialization.load_der_public_key(der)


def load_private(der):
    return serialization.load_der_private_key(der, None)


def spki(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pkcs8(key):
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@functools.cache
def own_key(spec):
    """A private key of ours."""
    if spec in RSA:
        return rsa.generate_private_key(65537, int(spec[4:]))
    if spec in CURVES:
        return ec.generate_private_key(CURVES[spec])
    if spec == EDWARDS:
        return ed25519.Ed25519PrivateKey.generate()
    raise KeyError(spec)


def mu(public_key, message):
    hasher = mldsa.MLDSAMuHasher(public_key)
    hasher.update(message)
    return hasher.finalize()


def to_be_signed(public_key, algorithm, kind, message):
    """What the member Message is for a message of this type."""
    if kind == "RAW":
        return message
    return digest(algorithm, message) if kind == "DIGEST" else mu(public_key, message)


def pss(algorithm):
    return padding.PSS(padding.MGF1(sha(algorithm)), padding.PSS.DIGEST_LENGTH)


def verifies(public_key, algorithm, message, signature):
    """Whether the other side takes it for a signature of the message."""
    try:
        if algorithm.startswith("RSASSA_PSS"):
            public_key.verify(signature, message, pss(algorithm), sha(algorithm))
        elif algorithm.startswith("RSASSA"):
            public_key.verify(signature, message, padding.PKCS1v15(), sha(algorithm))
        elif algorithm.startswith("ECDSA"):
            public_key.verify(signature, message, ec.ECDSA(sha(algorithm)))
        elif algorithm == "ED25519_PH_SHA_512":
            raw = public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            verifier = eddsa.new(eddsa.import_public_key(raw), "rfc8032")
            verifier.verify(SHA512.new(message), signature)
        else:
            public_key.verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(private_key, algorithm, message):
    if algorithm.startswith("RSASSA_PSS"):
        return private_key.sign(message, pss(algorithm), sha(algorithm))
    if algorithm.startswith("RSASSA"):
        return private_key.sign(message, padding.PKCS1v15(), sha(algorithm))
    if algorithm.startswith("ECDSA"):
        return private_key.sign(message, ec.ECDSA(sha(algorithm)))
    if algorithm == "ED25519_PH_SHA_512":
        raw = private_key.private_bytes_raw()
        return eddsa.new(ECC.construct(seed=raw, curve="Ed25519"), "rfc8032").sign(SHA512.new(message))
    return private_key.sign(message)


def tag(spec, key, message):
    return hmac.new(key, message, f"sha{spec[5:]}").digest()


def ml_kem_raw(spec, der):
    """The end of SubjectPublicKeyInfo, which is all key."""
    return der[-{"ML_KEM_512": 800, "ML_KEM_768": 1184, "ML_KEM_1024": 1568}[spec] :]


def encapsulate(spec, der):
    """A shared secret, and what it is encapsulated in."""
    if spec == "ML_KEM_512":
        return ML_KEM_512.encaps(ml_kem_raw(spec, der))
    return load_public(der).encapsulate()


def decapsulate(spec, der, ciphertext):
    """With a private key in PKCS #8."""
    if spec == "ML_KEM_512":
        _, private_key = ML_KEM_512.key_derive(der[-64:])
        return ML_KEM_512.decaps(private_key, ciphertext)
    return load_private(der).decapsulate(ciphertext)


def wrap(algorithm, wrapping_key, material, aes_key=bytes(range(32))):
    """As the owner of material wraps it for import."""
    public_key = load_public(wrapping_key)
    if algorithm in OAEP:
        return public_key.encrypt(material, oaep(algorithm))
    return public_key.encrypt(aes_key, oaep(algorithm)) + keywrap.aes_key_wrap_with_padding(aes_key, material)


def import_material(client, key_id, material, algorithm="RSA_AES_KEY_WRAP_SHA_256", spec="RSA_2048", **more):
    given = client.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
    more.setdefault("ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE")
    return client.import_key_material(
        KeyId=key_id,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=wrap(algorithm, given["PublicKey"], material),
        **more,
    )


def imported(client, spec, usage, material):
    """The id of a key with this material."""
    key_id = client.create_key(KeySpec=spec, KeyUsage=usage, Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    import_material(client, key_id, material)
    return key_id


_made = {}


def made(client, spec, usage):
    """The id of a key that the KMS made, the same one for the same kind."""
    if (spec, usage) not in _made:
        _made[spec, usage] = client.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    return _made[spec, usage]


def own_imported(client, spec, usage):
    """The id of a key with the private key of `own_key`."""
    if (spec, usage, "imported") not in _made:
        _made[spec, usage, "imported"] = imported(client, spec, usage, pkcs8(own_key(spec)))
    return _made[spec, usage, "imported"]
