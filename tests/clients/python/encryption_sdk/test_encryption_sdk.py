"""The AWS Encryption SDK: envelope encryption with keys of ours."""

import aws_encryption_sdk
import botocore.session
import pytest
from aws_encryption_sdk import CommitmentPolicy, EncryptionSDKClient
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError, DecryptKeyError, GenerateKeyError
from conftest import new_key, unique

CONTEXT = {"purpose": "test"}
TEXT = b"a message that is longer than a block " * 1000


@pytest.fixture(scope="module")
def client():
    return EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)


def provider(*keys, kind=aws_encryption_sdk.StrictAwsKmsMasterKeyProvider, **more):
    return kind(key_ids=[key["Arn"] for key in keys], botocore_session=botocore.session.Session(), **more)


def test_a_message_goes_round(client, key):
    keys = provider(key)
    message, header = client.encrypt(source=TEXT, key_provider=keys, encryption_context=CONTEXT)
    assert TEXT[:38] not in message
    assert header.encryption_context["purpose"] == "test"
    text, header = client.decrypt(source=message, key_provider=keys)
    assert text == TEXT
    assert header.encryption_context["purpose"] == "test"


def test_each_of_two_keys_decrypts(kms, client, key):
    other = new_key(kms)
    message, header = client.encrypt(source=TEXT, key_provider=provider(key, other), encryption_context=CONTEXT)
    assert len(header.encrypted_data_keys) == 2
    for one in (key, other):
        assert client.decrypt(source=message, key_provider=provider(one))[0] == TEXT
    kms.disable_key(KeyId=key["KeyId"])
    assert client.decrypt(source=message, key_provider=provider(key, other))[0] == TEXT
    kms.schedule_key_deletion(KeyId=other["KeyId"])
    with pytest.raises(DecryptKeyError):
        client.decrypt(source=message, key_provider=provider(key, other))


def test_another_key_does_not_decrypt(kms, client, key):
    message, _ = client.encrypt(source=TEXT, key_provider=provider(key))
    with pytest.raises(AWSEncryptionSDKClientError):
        client.decrypt(source=message, key_provider=provider(new_key(kms)))


def test_a_message_with_another_context_does_not_decrypt(client, key):
    message, _ = client.encrypt(source=TEXT, key_provider=provider(key), encryption_context=CONTEXT)
    place = message.index(b"purpose")
    changed = message[:place] + b"PURPOSE" + message[place + 7 :]
    with pytest.raises(DecryptKeyError):
        client.decrypt(source=changed, key_provider=provider(key))


def test_a_disabled_key_neither_encrypts_nor_decrypts(kms, client, key):
    message, _ = client.encrypt(source=TEXT, key_provider=provider(key))
    kms.disable_key(KeyId=key["KeyId"])
    with pytest.raises(DecryptKeyError):
        client.decrypt(source=message, key_provider=provider(key))
    with pytest.raises(GenerateKeyError):
        client.encrypt(source=TEXT, key_provider=provider(key))
    kms.enable_key(KeyId=key["KeyId"])
    assert client.decrypt(source=message, key_provider=provider(key))[0] == TEXT


def test_a_rotated_key_decrypts_old_messages(kms, client, key):
    message, _ = client.encrypt(source=TEXT, key_provider=provider(key))
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    assert client.decrypt(source=message, key_provider=provider(key))[0] == TEXT


def test_a_discovery_provider_finds_the_key(client, key):
    message, _ = client.encrypt(source=TEXT, key_provider=provider(key))
    discovery = aws_encryption_sdk.DiscoveryAwsKmsMasterKeyProvider(botocore_session=botocore.session.Session())
    assert client.decrypt(source=message, key_provider=discovery)[0] == TEXT


def test_a_key_is_named_by_the_arn_of_an_alias(kms, client, key):
    name = unique()
    kms.create_alias(AliasName=name, TargetKeyId=key["KeyId"])
    by_alias = {"Arn": key["Arn"].split("key/")[0] + name}
    message, _ = client.encrypt(source=TEXT, key_provider=provider(by_alias))
    assert client.decrypt(source=message, key_provider=provider(key))[0] == TEXT


def test_a_cache_saves_calls(kms, client, key):
    cache = aws_encryption_sdk.LocalCryptoMaterialsCache(capacity=10)
    manager = aws_encryption_sdk.CachingCryptoMaterialsManager(
        master_key_provider=provider(key), cache=cache, max_age=60.0, max_messages_encrypted=100
    )
    messages = [client.encrypt(source=TEXT, materials_manager=manager)[0] for _ in range(3)]
    assert all(client.decrypt(source=message, key_provider=provider(key))[0] == TEXT for message in messages)
