#!/usr/bin/env python3
"""The whole life of a KMS key in seconds, with boto3: an example for tests of your own.

    deploy/ci/holdfast.sh start && eval "$(deploy/ci/holdfast.sh env)" && python3 deploy/ci/key_life.py

It takes nothing from Holdfast but the clock: leave out `advance`, and the same lines run against AWS KMS.
"""

import datetime
import os
import time
import urllib.request

import boto3
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

# The loopback address is behind no proxy.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
kms = boto3.client("kms")


def clock(method="GET", query=""):
    """The KMS's time, in seconds since 1970."""
    url = os.environ["HOLDFAST_ADMIN_URL"] + "/dev/clock" + query
    with direct.open(urllib.request.Request(url, method=method), timeout=60) as answer:
        return int(answer.read())


def advance(duration):
    """Moves it forward; everything that became due is done when this returns."""
    return clock("POST", f"?advance={duration}")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return
    raise AssertionError(f"{code} was expected")


def state(key):
    return kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]


def opens(blob, text):
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == text


def create_and_use():
    key = kms.create_key(Description="for tests")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/ci", TargetKeyId=key)
    blob = kms.encrypt(KeyId="alias/ci", Plaintext=b"secret")["CiphertextBlob"]
    opens(blob, b"secret")
    return key, blob


def rotate(key, blob):
    kms.rotate_key_on_demand(KeyId=key)
    opens(blob, b"secret")
    kms.enable_key_rotation(KeyId=key)
    advance("366d")
    kinds = [rotation["RotationType"] for rotation in kms.list_key_rotations(KeyId=key)["Rotations"]]
    assert sorted(kinds) == ["AUTOMATIC", "ON_DEMAND"], kinds
    opens(blob, b"secret")


def disable_and_enable(key, blob):
    kms.disable_key(KeyId=key)
    refused("DisabledException", kms.decrypt, CiphertextBlob=blob)
    kms.enable_key(KeyId=key)
    opens(blob, b"secret")


def import_and_expire():
    key = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    material = os.urandom(32)

    def bring(valid_days):
        parameters = kms.get_parameters_for_import(
            KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
        )
        public = serialization.load_der_public_key(parameters["PublicKey"])
        oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
        end = datetime.datetime.fromtimestamp(clock(), datetime.timezone.utc) + datetime.timedelta(days=valid_days)
        kms.import_key_material(
            KeyId=key,
            ImportToken=parameters["ImportToken"],
            EncryptedKeyMaterial=public.encrypt(material, oaep),
            ExpirationModel="KEY_MATERIAL_EXPIRES",
            ValidTo=end,
        )

    bring(valid_days=30)
    blob = kms.encrypt(KeyId=key, Plaintext=b"imported")["CiphertextBlob"]
    advance("31d")
    assert state(key) == "PendingImport"
    refused("KMSInvalidStateException", kms.decrypt, CiphertextBlob=blob)
    bring(valid_days=30)
    opens(blob, b"imported")


def external_key_store():
    """A key in an external key store: Holdfast's own XKS proxy, or the one whose values are in the environment."""
    store = kms.create_custom_key_store(
        CustomKeyStoreName="ci",
        CustomKeyStoreType="EXTERNAL_KEY_STORE",
        XksProxyConnectivity="PUBLIC_ENDPOINT",
        XksProxyUriEndpoint="https://" + os.environ["XKS_PROXY_HOST"],
        XksProxyUriPath=f"/{os.environ['URI_PREFIX']}/kms/xks/v1",
        XksProxyAuthenticationCredential={
            "AccessKeyId": os.environ["SIGV4_ACCESS_KEY_ID"],
            "RawSecretAccessKey": os.environ["SIGV4_SECRET_ACCESS_KEY"],
        },
    )["CustomKeyStoreId"]

    def connection():
        return kms.describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"][0]["ConnectionState"]

    def wait(wanted):
        deadline = time.monotonic() + 30
        while (now := connection()) != wanted:
            assert time.monotonic() < deadline and now != "FAILED", now
            time.sleep(0.05)

    kms.connect_custom_key_store(CustomKeyStoreId=store)
    wait("CONNECTED")
    key = kms.create_key(Origin="EXTERNAL_KEY_STORE", CustomKeyStoreId=store, XksKeyId=os.environ["KEY_ID"])
    key = key["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"outside")["CiphertextBlob"]
    opens(blob, b"outside")
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    wait("DISCONNECTED")
    refused("KMSInvalidStateException", kms.decrypt, CiphertextBlob=blob)
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    wait("CONNECTED")
    opens(blob, b"outside")


def delete(key, blob):
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert state(key) == "PendingDeletion"
    refused("KMSInvalidStateException", kms.decrypt, CiphertextBlob=blob)
    kms.cancel_key_deletion(KeyId=key)
    assert state(key) == "Disabled"
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    advance("6d")
    assert state(key) == "PendingDeletion"
    before = time.monotonic()
    advance("2d")
    refused("NotFoundException", kms.describe_key, KeyId=key)
    refused("NotFoundException", kms.describe_key, KeyId="alias/ci")
    return time.monotonic() - before


def main():
    before = time.monotonic()
    key, blob = create_and_use()
    rotate(key, blob)
    disable_and_enable(key, blob)
    import_and_expire()
    external_key_store()
    waited = delete(key, blob)
    print(f"the life of a key: {time.monotonic() - before:.2f} s; its last days of waiting: {waited:.2f} s")


if __name__ == "__main__":
    main()
