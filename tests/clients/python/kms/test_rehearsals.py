"""DryRun: what would have been answered, and nothing done."""

import pytest
from conftest import ROLE_ARN, new_key, refused

REHEARSED = "The request would have succeeded, but the DryRun option is set."


@pytest.fixture
def uses(kms, key):
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE_ARN, Operations=["Encrypt"])
    by_id = {"KeyId": key["KeyId"], "DryRun": True}
    return {
        "Encrypt": lambda client: client.encrypt(Plaintext=b"x", **by_id),
        "Decrypt": lambda client: client.decrypt(CiphertextBlob=blob, **by_id),
        "ReEncrypt": lambda client: client.re_encrypt(
            CiphertextBlob=blob, DestinationKeyId=key["KeyId"], DryRun=True
        ),
        "GenerateDataKey": lambda client: client.generate_data_key(KeySpec="AES_256", **by_id),
        "GenerateDataKeyWithoutPlaintext": lambda client: client.generate_data_key_without_plaintext(
            NumberOfBytes=8, **by_id
        ),
        "CreateGrant": lambda client: client.create_grant(
            GranteePrincipal=ROLE_ARN, Operations=["Decrypt"], **by_id
        ),
        "RevokeGrant": lambda client: client.revoke_grant(GrantId=made["GrantId"], **by_id),
        "RetireGrant": lambda client: client.retire_grant(
            KeyId=key["Arn"], GrantId=made["GrantId"], DryRun=True
        ),
    }


NAMES = [
    "CreateGrant",
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncrypt",
    "RetireGrant",
    "RevokeGrant",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_rehearsal_says_that_it_would_have_succeeded(kms, key, uses, name):
    before = kms.list_grants(KeyId=key["KeyId"])["Grants"]
    last = kms.get_key_last_usage(KeyId=key["KeyId"])["KeyLastUsage"]
    with refused("DryRunOperationException", REHEARSED):
        uses[name](kms)
    assert kms.list_grants(KeyId=key["KeyId"])["Grants"] == before
    assert kms.get_key_last_usage(KeyId=key["KeyId"])["KeyLastUsage"] == last


@pytest.mark.parametrize("name", NAMES)
def test_a_rehearsal_says_why_it_would_have_failed(kms, kms_auditor, key, uses, name):
    with refused("AccessDeniedException"):
        uses[name](kms_auditor)
    if name in {"RetireGrant", "RevokeGrant"}:
        return
    kms.disable_key(KeyId=key["KeyId"])
    with refused("DisabledException", f"{key['Arn']} is disabled."):
        uses[name](kms)


def test_no_rehearsal_is_the_usual_case(kms, key_id):
    assert kms.encrypt(KeyId=key_id, Plaintext=b"x", DryRun=False)["CiphertextBlob"]


def test_decrypt_is_rehearsed_without_a_ciphertext(kms, key_id):
    modifiers = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    with refused("DryRunOperationException", REHEARSED):
        kms.decrypt(KeyId=key_id, **modifiers)
    with refused("DryRunOperationException", REHEARSED):
        kms.re_encrypt(SourceKeyId=key_id, DestinationKeyId=new_key(kms)["KeyId"], **modifiers)
    with refused("ValidationException"):
        kms.decrypt(KeyId=key_id, DryRunModifiers=["IGNORE_CIPHERTEXT"])
    kms.disable_key(KeyId=key_id)
    with refused("DisabledException"):
        kms.decrypt(KeyId=key_id, **modifiers)
