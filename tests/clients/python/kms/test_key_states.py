"""Every operation in every state that a key can be brought into, against the table of the daemon."""

import os
import re
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from conftest import ROLE_ARN, new_key, policy_allowing, unique

TABLE = Path(os.environ["HOLDFAST_KEY_STATES"])
WORDS = {
    "disabled": "disabled",
    "is Creating": "creating",
    "is PendingDeletion": "pending deletion",
    "is PendingImport": "pending import",
    "not pending deletion": "not pending deletion",
}
CELL = re.compile(r"yes|disabled|not pending deletion|is (?:Creating|PendingDeletion|PendingImport"
                  r"|PendingReplicaDeletion|Unavailable|Updating)")
STATES = ["Creating", "Disabled", "Enabled", "PendingDeletion", "PendingImport"]
REACHED = ["Disabled", "Enabled", "PendingDeletion", "PendingImport"]
# What keys for imported material cannot do in any state.
ROTATION = {"DisableKeyRotation", "EnableKeyRotation", "GetKeyRotationStatus", "ListKeyRotations", "RotateKeyOnDemand"}


def rows():
    for line in TABLE.read_text().splitlines()[1:]:
        cells = CELL.findall(line)
        action = line[: CELL.search(line).start()].strip()
        assert len(cells) == 8, line
        yield action, dict(zip(STATES, cells))


USES = {
    "CancelKeyDeletion": lambda kms, key, more: kms.cancel_key_deletion(KeyId=key),
    "CreateAlias": lambda kms, key, more: kms.create_alias(AliasName=unique(), TargetKeyId=key),
    "CreateGrant": lambda kms, key, more: kms.create_grant(
        KeyId=key, GranteePrincipal=ROLE_ARN, Operations=["Encrypt"]
    ),
    "Decrypt": lambda kms, key, more: kms.decrypt(KeyId=key, CiphertextBlob=more["blob"]),
    "DeleteAlias": lambda kms, key, more: kms.delete_alias(AliasName=more["alias"]),
    "DescribeKey": lambda kms, key, more: kms.describe_key(KeyId=key),
    "DisableKey": lambda kms, key, more: kms.disable_key(KeyId=key),
    "DisableKeyRotation": lambda kms, key, more: kms.disable_key_rotation(KeyId=key),
    "EnableKey": lambda kms, key, more: kms.enable_key(KeyId=key),
    "EnableKeyRotation": lambda kms, key, more: kms.enable_key_rotation(KeyId=key),
    "Encrypt": lambda kms, key, more: kms.encrypt(KeyId=key, Plaintext=b"x"),
    "GenerateDataKey": lambda kms, key, more: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
    "GenerateDataKeyWithoutPlaintext": lambda kms, key, more: kms.generate_data_key_without_plaintext(
        KeyId=key, KeySpec="AES_256"
    ),
    "GetKeyLastUsage": lambda kms, key, more: kms.get_key_last_usage(KeyId=key),
    "GetKeyPolicy": lambda kms, key, more: kms.get_key_policy(KeyId=key),
    "GetKeyRotationStatus": lambda kms, key, more: kms.get_key_rotation_status(KeyId=key),
    "ListAliases": lambda kms, key, more: kms.list_aliases(KeyId=key),
    "ListGrants": lambda kms, key, more: kms.list_grants(KeyId=key),
    "ListKeyPolicies": lambda kms, key, more: kms.list_key_policies(KeyId=key),
    "ListKeyRotations": lambda kms, key, more: kms.list_key_rotations(KeyId=key),
    "ListResourceTags": lambda kms, key, more: kms.list_resource_tags(KeyId=key),
    "PutKeyPolicy": lambda kms, key, more: kms.put_key_policy(KeyId=key, Policy=policy_allowing()),
    "ReEncryptFrom": lambda kms, key, more: kms.re_encrypt(
        CiphertextBlob=more["blob"], SourceKeyId=key, DestinationKeyId=more["other"]
    ),
    "ReEncryptTo": lambda kms, key, more: kms.re_encrypt(
        CiphertextBlob=more["other_blob"], DestinationKeyId=key
    ),
    "RetireGrant": lambda kms, key, more: kms.retire_grant(KeyId=more["arn"], GrantId=more["grant"]),
    "RevokeGrant": lambda kms, key, more: kms.revoke_grant(KeyId=key, GrantId=more["grant"]),
    "RotateKeyOnDemand": lambda kms, key, more: kms.rotate_key_on_demand(KeyId=key),
    "ScheduleKeyDeletion": lambda kms, key, more: kms.schedule_key_deletion(KeyId=key),
    "TagResource": lambda kms, key, more: kms.tag_resource(
        KeyId=key, Tags=[{"TagKey": "a", "TagValue": "b"}]
    ),
    "UntagResource": lambda kms, key, more: kms.untag_resource(KeyId=key, TagKeys=["a"]),
    "UpdateAlias": lambda kms, key, more: kms.update_alias(AliasName=more["other_alias"], TargetKeyId=key),
    "UpdateAliasFrom": lambda kms, key, more: kms.update_alias(AliasName=more["alias"], TargetKeyId=more["other"]),
    "UpdateKeyDescription": lambda kms, key, more: kms.update_key_description(KeyId=key, Description=""),
}


def make(kms, state):
    """A key with a ciphertext, an alias and a grant, and another key; brought into the state."""
    key, other = new_key(kms, Origin="EXTERNAL" if state == "PendingImport" else "AWS_KMS"), new_key(kms)
    key_id, alias, other_alias = key["KeyId"], unique(), unique()
    other_blob = kms.encrypt(KeyId=other["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    kms.create_alias(AliasName=other_alias, TargetKeyId=other["KeyId"])
    blob, grant = other_blob, None
    if state != "PendingImport":
        blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
        grant = kms.create_grant(KeyId=key_id, GranteePrincipal=ROLE_ARN, Operations=["Encrypt"])["GrantId"]
    if state == "Disabled":
        kms.disable_key(KeyId=key_id)
    elif state == "PendingDeletion":
        kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=30)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == state
    return key_id, {
        "alias": alias,
        "arn": key["Arn"],
        "blob": blob,
        "grant": grant,
        "other": other["KeyId"],
        "other_alias": other_alias,
        "other_blob": other_blob,
    }


def expected(action, state, cell, arn):
    if state == "PendingImport" and action in ROTATION:
        text = f"{arn} origin is EXTERNAL which is not valid for this operation."
        return ("UnsupportedOperationException", text)
    if cell == "yes":
        return None
    code = "DisabledException" if cell == "disabled" else "KMSInvalidStateException"
    return (code, f"{arn} is {WORDS[cell]}.")


def test_no_operation_of_the_table_is_forgotten():
    supported = {action for action, _ in rows()} - set(USES)
    assert supported <= {
        "Decapsulate",
        "DeleteImportedKeyMaterial",
        "DeriveSharedSecret",
        "Encapsulate",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateMac",
        "GetParametersForImport",
        "GetPublicKey",
        "ImportKeyMaterial",
        "ReplicateKey",
        "Sign",
        "UpdatePrimaryRegion",
        "Verify",
        "VerifyMac",
    }


@pytest.mark.parametrize("state", REACHED)
@pytest.mark.parametrize(("action", "cells"), [row for row in rows() if row[0] in USES], ids=lambda value: value if isinstance(value, str) else "")
def test_an_operation_in_a_state(kms, action, cells, state):
    if state == "PendingImport" and action in {"RetireGrant", "RevokeGrant"}:
        pytest.skip("a key that waits for its material has no grants")
    key_id, more = make(kms, state)
    try:
        USES[action](kms, key_id, more)
        found = None
    except ClientError as error:
        found = (error.response["Error"]["Code"], error.response["Error"]["Message"])
    assert found == expected(action, state, cells[state], more["arn"])
