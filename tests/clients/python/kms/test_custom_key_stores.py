"""Custom key stores from their creation to their end: over the proxy of the same daemon, and over its cluster."""

import json
import os
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import REGION, advance, arn, connect, new_key, refused, unique

PREFIX = os.environ["URI_PREFIX"]
EXTERNAL = {
    "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
    "XksProxyConnectivity": "PUBLIC_ENDPOINT",
    "XksProxyUriEndpoint": f"https://{os.environ['XKS_PROXY_HOST']}",
    "XksProxyUriPath": f"/{PREFIX}/kms/xks/v1",
    "XksProxyAuthenticationCredential": {
        "AccessKeyId": os.environ["SIGV4_ACCESS_KEY_ID"],
        "RawSecretAccessKey": os.environ["SIGV4_SECRET_ACCESS_KEY"],
    },
}
NOT_CONNECTED = (
    "This KMS key is in a custom key store that is not connected to its external key store proxy. Connect the "
    "external key store and try the request again."
)


def holdfast(*arguments):
    """What an operator does at the command line."""
    binary, folder = os.environ["HOLDFAST_TEST_BINARY"], os.environ["HOLDFAST_TEST_FOLDER"]
    command = [binary, *arguments, "--config", f"{folder}/holdfast.toml"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout


def describe(kms, store):
    (described,) = kms.describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"]
    return described


def eventually(what, condition, seconds=20):
    """Waits for a condition, and says which when it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} did not come about"
        time.sleep(0.02)


def settle(kms, store):
    eventually("a state", lambda: not describe(kms, store)["ConnectionState"].endswith("ING"))
    described = describe(kms, store)
    return described["ConnectionState"], described.get("ConnectionErrorCode")


def connect_store(kms, store):
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    assert settle(kms, store) == ("CONNECTED", None)


def disconnect_store(kms, store):
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    assert settle(kms, store) == ("DISCONNECTED", None)


def delete_all(kms, store):
    """The keys, in a week that is over at once, and then the key store."""
    if describe(kms, store)["ConnectionState"] != "DISCONNECTED":
        disconnect_store(kms, store)
    for page in kms.get_paginator("list_keys").paginate():
        for key in page["Keys"]:
            metadata = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
            if metadata.get("CustomKeyStoreId") == store and metadata["KeyState"] != "PendingDeletion":
                kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    advance("8d")
    kms.delete_custom_key_store(CustomKeyStoreId=store)


@pytest.fixture
def external_store(kms):
    """Connected."""
    store = kms.create_custom_key_store(CustomKeyStoreName=unique("store"), **EXTERNAL)["CustomKeyStoreId"]
    connect_store(kms, store)
    yield store
    delete_all(kms, store)


@contextmanager
def load(key_id):
    """Encrypts and decrypts without a pause. No request may fail; gives a function that waits for some more."""
    ended, rounds, failures = threading.Event(), [], []

    def work():
        client = connect()
        while not ended.is_set() and not failures:
            try:
                blob = client.encrypt(KeyId=key_id, Plaintext=b"load")["CiphertextBlob"]
                assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == b"load"
                rounds.append(1)
            except Exception as error:
                failures.append(error)

    def wait_for_more():
        before = len(rounds)
        eventually("more answers", lambda: failures or len(rounds) > before + 10)
        assert not failures

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield wait_for_more
    finally:
        ended.set()
        thread.join()
    assert not failures


def test_an_external_key_store_from_its_creation_to_its_end(kms):
    name = unique("store")
    store = kms.create_custom_key_store(CustomKeyStoreName=name, **EXTERNAL)["CustomKeyStoreId"]
    described = describe(kms, store)
    assert described.pop("CreationDate")
    assert described == {
        "CustomKeyStoreId": store,
        "CustomKeyStoreName": name,
        "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "ConnectionState": "DISCONNECTED",
        "XksProxyConfiguration": {
            "Connectivity": "PUBLIC_ENDPOINT",
            "AccessKeyId": os.environ["SIGV4_ACCESS_KEY_ID"],
            "UriEndpoint": EXTERNAL["XksProxyUriEndpoint"],
            "UriPath": EXTERNAL["XksProxyUriPath"],
        },
    }
    connect_store(kms, store)
    of_key = {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store, "XksKeyId": os.environ["KEY_ID"]}
    key = new_key(kms, **of_key)
    key_id = key["KeyId"]
    assert key["XksKeyConfiguration"] == {"Id": os.environ["KEY_ID"]}
    assert (key["Origin"], key["CustomKeyStoreId"], key["KeyState"]) == ("EXTERNAL_KEY_STORE", store, "Enabled")

    context = {"order": "17"}
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"first", EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"first"
    data_key = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    with refused("KMSInvalidStateException"):
        kms.decrypt(CiphertextBlob=blob)

    rotate_credential(kms, store, key_id)
    holdfast("key", "rotate", os.environ["KEY_ID"])
    new = kms.encrypt(KeyId=key_id, Plaintext=b"second")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=new)["Plaintext"] == b"second"
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"first"

    disconnect_store(kms, store)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Unavailable"
    with refused("KMSInvalidStateException", NOT_CONNECTED):
        kms.decrypt(CiphertextBlob=new)
    connect_store(kms, store)
    assert kms.decrypt(CiphertextBlob=new)["Plaintext"] == b"second"

    disconnect_store(kms, store)
    with refused("CustomKeyStoreHasCMKsException"):
        kms.delete_custom_key_store(CustomKeyStoreId=store)
    delete_all(kms, store)
    with refused("CustomKeyStoreNotFoundException", f"Custom key store {store} does not exist."):
        kms.describe_custom_key_stores(CustomKeyStoreId=store)
    with refused("NotFoundException", f"Key '{key['Arn']}' does not exist"):
        kms.describe_key(KeyId=key_id)


def rotate_credential(kms, store, key_id):
    """To a second credential of the proxy and back, while the key is used."""
    first = EXTERNAL["XksProxyAuthenticationCredential"]
    out = Path(os.environ["HOLDFAST_TEST_FOLDER"]) / "second-credential.json"
    with load(key_id) as wait_for_more:
        wait_for_more()
        holdfast("credential", "create", "--store", PREFIX, "--out", str(out), "--force")
        made = json.loads(out.read_text())["XksProxyAuthenticationCredential"]
        second = {"AccessKeyId": made["AccessKeyId"], "RawSecretAccessKey": made["RawSecretAccessKey"]}
        eventually("the second credential", lambda: is_taken(kms, store, second))
        wait_for_more()
        assert describe(kms, store)["XksProxyConfiguration"]["AccessKeyId"] == second["AccessKeyId"]
        # The other suites use the first one.
        kms.update_custom_key_store(CustomKeyStoreId=store, XksProxyAuthenticationCredential=first)
        wait_for_more()
        holdfast("credential", "remove", second["AccessKeyId"], "--store", PREFIX)
        eventually("its end", lambda: not is_taken(kms, store, second))
        wait_for_more()


def is_taken(kms, store, credential):
    """Whether the proxy takes it: then it is in force."""
    try:
        kms.update_custom_key_store(CustomKeyStoreId=store, XksProxyAuthenticationCredential=credential)
    except kms.exceptions.XksProxyIncorrectAuthenticationCredentialException:
        return False
    return True


def test_reencryption_between_the_default_key_store_and_an_external_one(kms, external_store, key_id):
    of_key = {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": external_store, "XksKeyId": os.environ["KEY_ID"]}
    external = new_key(kms, **of_key)
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    for source, destination in [(key_id, external["KeyId"]), (external["KeyId"], key_id)]:
        moved = kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=source, DestinationKeyId=destination)
        assert moved["KeyId"] == arn(f"key/{destination}")
        blob = moved["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


@pytest.mark.parametrize(
    ("xks_key_id", "code", "text"),
    [
        (
            os.environ["ENCRYPT_ONLY_KEY_ID"],
            "XksKeyInvalidConfigurationException",
            "The key usage of the external key must include ENCRYPT and DECRYPT. The key use of specified external key "
            "is ENCRYPT.",
        ),
        ("non_existing_key", "XksKeyNotFoundException", None),
        ("not/an/id", "ValidationException", None),
    ],
)
def test_an_external_key_that_is_not_fit_is_refused(kms, external_store, xks_key_id, code, text):
    with refused(code, text):
        kms.create_key(Origin="EXTERNAL_KEY_STORE", CustomKeyStoreId=external_store, XksKeyId=xks_key_id)


def test_a_proxy_that_does_not_do_is_refused_and_nothing_is_made(kms):
    stranger = {"AccessKeyId": "A" * 20, "RawSecretAccessKey": "s" * 43}
    for change, code in [
        ({"XksProxyUriPath": "/nowhere/kms/xks/v1"}, "XksProxyInvalidConfigurationException"),
        ({"XksProxyAuthenticationCredential": stranger}, "XksProxyIncorrectAuthenticationCredentialException"),
        ({"XksProxyUriEndpoint": "https://localhost:1"}, "XksProxyUriUnreachableException"),
        ({"XksProxyUriEndpoint": "http://localhost"}, "ValidationException"),
    ]:
        with refused(code):
            kms.create_custom_key_store(CustomKeyStoreName=unique("store"), **{**EXTERNAL, **change})
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []


def test_key_stores_are_listed_in_pages(kms):
    service = f"com.amazonaws.vpce.{REGION}.vpce-svc-"
    names = sorted(unique("store") for _ in range(5))
    stores = []
    for number, name in enumerate(names):
        members = {
            "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
            "XksProxyVpcEndpointServiceName": f"{service}{number}",
            "XksProxyUriEndpoint": f"https://proxy{number}.example.com",
        }
        made = kms.create_custom_key_store(CustomKeyStoreName=name, **{**EXTERNAL, **members})
        stores.append(made["CustomKeyStoreId"])
    pages = list(kms.get_paginator("describe_custom_key_stores").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["CustomKeyStores"]) for page in pages] == [2, 2, 1]
    assert sorted(entry["CustomKeyStoreName"] for page in pages for entry in page["CustomKeyStores"]) == names
    for store in stores:
        kms.delete_custom_key_store(CustomKeyStoreId=store)


def test_a_cloudhsm_key_store_from_its_creation_to_its_end(kms):
    members = {
        "CustomKeyStoreName": unique("store"),
        "CloudHsmClusterId": os.environ["HOLDFAST_CLUSTER_ID"],
        "TrustAnchorCertificate": Path(os.environ["HOLDFAST_CLUSTER_TRUST_ANCHOR"]).read_text(),
    }
    wrong = kms.create_custom_key_store(KeyStorePassword="not-the-password", **members)["CustomKeyStoreId"]
    kms.connect_custom_key_store(CustomKeyStoreId=wrong)
    assert settle(kms, wrong) == ("FAILED", "INVALID_CREDENTIALS")
    disconnect_store(kms, wrong)
    kms.delete_custom_key_store(CustomKeyStoreId=wrong)

    password = os.environ["HOLDFAST_CLUSTER_PASSWORD"]
    store = kms.create_custom_key_store(KeyStorePassword=password, **members)["CustomKeyStoreId"]
    connect_store(kms, store)
    described = describe(kms, store)
    assert described["CustomKeyStoreType"] == "AWS_CLOUDHSM"
    assert described["CloudHsmClusterId"] == os.environ["HOLDFAST_CLUSTER_ID"]
    assert "XksProxyConfiguration" not in described
    key = new_key(kms, Origin="AWS_CLOUDHSM", CustomKeyStoreId=store)
    assert (key["CustomKeyStoreId"], key["CloudHsmClusterId"]) == (store, os.environ["HOLDFAST_CLUSTER_ID"])
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})["Plaintext"] == b"x"
    with refused("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob)
    data_key = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    assert len(kms.generate_random(NumberOfBytes=33, CustomKeyStoreId=store)["Plaintext"]) == 33

    disconnect_store(kms, store)
    with refused("KMSInvalidStateException", f"{key['Arn']} is unavailable."):
        kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})
    connect_store(kms, store)
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})["Plaintext"] == b"x"
    # While it is connected, so that the key object goes too.
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    advance("8d")
    assert json.loads(holdfast("cluster", "orphans", "--json"))[0]["orphans"] == []
    delete_all(kms, store)
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []
