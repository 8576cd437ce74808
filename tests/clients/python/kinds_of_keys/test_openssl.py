"""The OpenSSL command line (3.0 or later) on the other side."""

import os
import subprocess

import pytest
from kinds import AGREEING, CURVES, ECDSA, HMAC, MESSAGE, OAEP, RSA, RSA_SIGNING, mac_algorithm, made

GROUPS = {"ECC_NIST_P256": "P-256", "ECC_NIST_P384": "P-384", "ECC_NIST_P521": "P-521", "ECC_SECG_P256K1": "secp256k1"}


class Folder:
    """Where OpenSSL finds its files."""

    def __init__(self, path):
        self.path = path

    def put(self, name, content):
        (self.path / name).write_bytes(content)

    def get(self, name):
        return (self.path / name).read_bytes()

    def openssl(self, *arguments, may_fail=False):
        done = subprocess.run(["openssl", *arguments], cwd=self.path, capture_output=True, check=False)
        if not may_fail:
            assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout if done.returncode == 0 else None

    def private_key(self, spec):
        """Makes one, in PKCS #8: `own.pem` and `own.der`, `own.pub`."""
        if spec in RSA:
            kind = ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{spec[4:]}"]
        elif spec in GROUPS:
            kind = ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{GROUPS[spec]}"]
        else:
            kind = ["-algorithm", "ED25519"]
        self.openssl("genpkey", *kind, "-out", "own.pem")
        self.openssl("pkcs8", "-topk8", "-nocrypt", "-in", "own.pem", "-outform", "DER", "-out", "own.der")
        self.openssl("pkey", "-in", "own.pem", "-pubout", "-outform", "DER", "-out", "own.pub")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def bits(algorithm):
    return algorithm.rsplit("_", 1)[1]


def options(algorithm):
    if "PSS" not in algorithm:
        return []
    hashed = f"rsa_mgf1_md:sha{bits(algorithm)}"
    return ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest", "-sigopt", hashed]


def oaep(algorithm):
    hashed = f"sha{bits(algorithm)}"
    pairs = ("rsa_padding_mode:oaep", f"rsa_oaep_md:{hashed}", f"rsa_mgf1_md:{hashed}")
    return [word for pair in pairs for word in ("-pkeyopt", pair)]


def import_from(kms, folder, key_id, algorithm, wrapping_spec):
    """The recipe of the AWS KMS Developer Guide, for `own.der`."""
    given = kms.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec=wrapping_spec)
    folder.put("wrapping.der", given["PublicKey"])
    encrypt = ["pkeyutl", "-encrypt", "-keyform", "DER", "-pubin", "-inkey", "wrapping.der", *oaep(algorithm)]
    if algorithm in OAEP:
        folder.openssl(*encrypt, "-in", "own.der", "-out", "encrypted")
    else:
        folder.put("aes", os.urandom(32))
        aes = ["enc", "-id-aes256-wrap-pad", "-iv", "A65959A6", "-K", folder.get("aes").hex()]
        folder.openssl(*aes, "-in", "own.der", "-out", "wrapped")
        folder.openssl(*encrypt, "-in", "aes", "-out", "aes-encrypted")
        folder.put("encrypted", folder.get("aes-encrypted") + folder.get("wrapped"))
    kms.import_key_material(
        KeyId=key_id,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=folder.get("encrypted"),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )


def new_imported(kms, folder, spec, usage, algorithm="RSA_AES_KEY_WRAP_SHA_256", wrapping_spec="RSA_2048"):
    folder.private_key(spec)
    key_id = kms.create_key(KeySpec=spec, KeyUsage=usage, Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    import_from(kms, folder, key_id, algorithm, wrapping_spec)
    assert kms.get_public_key(KeyId=key_id)["PublicKey"] == folder.get("own.pub")
    return key_id


SIGNING = [*((spec, algorithm) for spec in RSA for algorithm in RSA_SIGNING), *ECDSA.items()]


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_dgst_verifies_our_signatures(kms, folder, spec, algorithm):
    key_id = made(kms, spec, "SIGN_VERIFY")
    folder.put("public.der", kms.get_public_key(KeyId=key_id)["PublicKey"])
    folder.put("message", MESSAGE)
    folder.put("signature", kms.sign(KeyId=key_id, Message=MESSAGE, SigningAlgorithm=algorithm)["Signature"])
    judge = ["dgst", f"-sha{bits(algorithm)}", *options(algorithm), "-keyform", "DER", "-verify", "public.der"]
    folder.openssl(*judge, "-signature", "signature", "message")
    # The same of the digest alone.
    folder.openssl("dgst", f"-sha{bits(algorithm)}", "-binary", "-out", "digest", "message")
    signed = kms.sign(KeyId=key_id, Message=folder.get("digest"), MessageType="DIGEST", SigningAlgorithm=algorithm)
    folder.put("signature", signed["Signature"])
    folder.openssl(*judge, "-signature", "signature", "message")
    folder.put("message", b"another message")
    assert folder.openssl(*judge, "-signature", "signature", "message", may_fail=True) is None


@pytest.mark.parametrize("spec", [*RSA, *CURVES])
def test_we_verify_the_signatures_of_dgst(kms, folder, spec):
    key_id = new_imported(kms, folder, spec, "SIGN_VERIFY")
    folder.put("message", MESSAGE)
    for algorithm in RSA_SIGNING if spec in RSA else [ECDSA[spec]]:
        make = ["dgst", f"-sha{bits(algorithm)}", *options(algorithm), "-sign", "own.pem", "-out", "signature"]
        folder.openssl(*make, "message")
        asked = {"KeyId": key_id, "Message": MESSAGE, "SigningAlgorithm": algorithm}
        assert kms.verify(**asked, Signature=folder.get("signature"))["SignatureValid"] is True


def test_ed25519_in_both_directions(kms, folder):
    key_id = new_imported(kms, folder, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
    folder.put("message", MESSAGE)
    folder.openssl("pkeyutl", "-sign", "-rawin", "-inkey", "own.pem", "-in", "message", "-out", "signature")
    asked = {"KeyId": key_id, "Message": MESSAGE, "SigningAlgorithm": "ED25519_SHA_512"}
    assert kms.verify(**asked, Signature=folder.get("signature"))["SignatureValid"] is True
    made_here = made(kms, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
    for key in (key_id, made_here):
        folder.put("public.der", kms.get_public_key(KeyId=key)["PublicKey"])
        folder.put("signature", kms.sign(**{**asked, "KeyId": key})["Signature"])
        judge = ["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "public.der"]
        folder.openssl(*judge, "-in", "message", "-sigfile", "signature")


@pytest.mark.parametrize("algorithm", OAEP)
@pytest.mark.parametrize("spec", RSA)
def test_pkeyutl_encrypts_and_decrypts(kms, folder, spec, algorithm):
    key_id = new_imported(kms, folder, spec, "ENCRYPT_DECRYPT")
    folder.put("plain", MESSAGE)
    for key in (key_id, made(kms, spec, "ENCRYPT_DECRYPT")):
        folder.put("public.der", kms.get_public_key(KeyId=key)["PublicKey"])
        encrypt = ["pkeyutl", "-encrypt", "-keyform", "DER", "-pubin", "-inkey", "public.der", *oaep(algorithm)]
        folder.openssl(*encrypt, "-in", "plain", "-out", "blob")
        answer = kms.decrypt(KeyId=key, CiphertextBlob=folder.get("blob"), EncryptionAlgorithm=algorithm)
        assert answer["Plaintext"] == MESSAGE
    blob = kms.encrypt(KeyId=key_id, Plaintext=MESSAGE, EncryptionAlgorithm=algorithm)["CiphertextBlob"]
    folder.put("blob", blob)
    assert folder.openssl("pkeyutl", "-decrypt", "-inkey", "own.pem", *oaep(algorithm), "-in", "blob") == MESSAGE


@pytest.mark.parametrize("spec", AGREEING)
def test_pkeyutl_derives_the_same_secret(kms, folder, spec):
    key_id = made(kms, spec, "KEY_AGREEMENT")
    folder.private_key(spec)
    folder.put("public.der", kms.get_public_key(KeyId=key_id)["PublicKey"])
    folder.openssl("pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", "public.pem")
    asked = {"KeyId": key_id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": folder.get("own.pub")}
    secret = folder.openssl("pkeyutl", "-derive", "-inkey", "own.pem", "-peerkey", "public.pem")
    assert kms.derive_shared_secret(**asked)["SharedSecret"] == secret


@pytest.mark.parametrize(("spec", "size"), HMAC.items())
def test_dgst_makes_the_same_tag(kms, folder, spec, size):
    folder.put("own.der", os.urandom(size))
    key_id = kms.create_key(KeySpec=spec, KeyUsage="GENERATE_VERIFY_MAC", Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    import_from(kms, folder, key_id, "RSAES_OAEP_SHA_256", "RSA_3072")
    folder.put("message", MESSAGE)
    hexkey = f"hexkey:{folder.get('own.der').hex()}"
    tag = folder.openssl("dgst", f"-sha{spec[5:]}", "-mac", "HMAC", "-macopt", hexkey, "-binary", "message")
    asked = {"KeyId": key_id, "MacAlgorithm": mac_algorithm(spec), "Message": MESSAGE}
    assert kms.generate_mac(**asked)["Mac"] == tag
    assert kms.verify_mac(**asked, Mac=tag)["MacValid"] is True


@pytest.mark.parametrize("algorithm", ["RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"])
@pytest.mark.parametrize("wrapping_spec", RSA)
def test_the_recipe_of_the_guide_with_wrapped_keys(kms, folder, wrapping_spec, algorithm):
    for spec in ("RSA_2048", "ECC_NIST_P521"):
        new_imported(kms, folder, spec, "SIGN_VERIFY", algorithm, wrapping_spec)


@pytest.mark.parametrize("algorithm", OAEP)
@pytest.mark.parametrize("wrapping_spec", RSA)
def test_the_recipe_of_the_guide_with_oaep(kms, folder, wrapping_spec, algorithm):
    folder.put("own.der", os.urandom(32))
    key_id = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    import_from(kms, folder, key_id, algorithm, wrapping_spec)
    blob = kms.encrypt(KeyId=key_id, Plaintext=MESSAGE)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == MESSAGE
    spec = "ECC_NIST_P384" if wrapping_spec == "RSA_2048" else "ECC_NIST_P521"
    new_imported(kms, folder, spec, "SIGN_VERIFY", algorithm, wrapping_spec)


@pytest.mark.parametrize("spec", [*RSA, *CURVES, "ECC_NIST_EDWARDS25519"])
def test_pkcs8_reads_our_data_key_pairs(kms, folder, key_id, spec):
    pair = kms.generate_data_key_pair(KeyId=key_id, KeyPairSpec=spec)
    folder.put("private.der", pair["PrivateKeyPlaintext"])
    folder.openssl("pkcs8", "-nocrypt", "-inform", "DER", "-in", "private.der", "-out", "private.pem")
    check = folder.openssl("pkey", "-in", "private.pem", "-check", "-noout", may_fail=spec.endswith("25519"))
    assert check is None or b"is valid" in check
    assert folder.openssl("pkey", "-in", "private.pem", "-pubout", "-outform", "DER") == pair["PublicKey"]
