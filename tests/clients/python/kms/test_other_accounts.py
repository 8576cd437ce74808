"""Callers of other accounts, sessions of roles, and what they may learn."""

import json
import os

import pytest
from conftest import (
    ABSENT,
    ACCOUNT,
    ACCOUNT2,
    ROLE_ARN,
    arn,
    assume,
    connect,
    new_key,
    not_authorized,
    policy_allowing,
    refused,
    unique,
)

STRANGER = f"arn:aws:iam::{ACCOUNT2}:user/admin"


@pytest.fixture
def shared(kms):
    """A key whose policy lets the other account use it."""
    use = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT2}:root"},
        "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
                   "kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant", "kms:PutKeyPolicy", "kms:CreateAlias"],
        "Resource": "*",
    }
    return new_key(kms, Policy=policy_allowing(use))


def test_a_stranger_learns_nothing(kms_account2, key):
    for key_arn in (key["Arn"], arn(f"key/{ABSENT}")):
        with refused("AccessDeniedException", not_authorized(STRANGER, "DescribeKey", key_arn, "resource")):
            kms_account2.describe_key(KeyId=key_arn)
        with refused("AccessDeniedException", not_authorized(STRANGER, "Encrypt", key_arn, "resource")):
            kms_account2.encrypt(KeyId=key_arn, Plaintext=b"x")


def test_an_id_alone_is_of_the_callers_account(kms_account2, key):
    own = arn(f"key/{key['KeyId']}", account=ACCOUNT2)
    with refused("NotFoundException", f"Key '{own}' does not exist"):
        kms_account2.describe_key(KeyId=key["KeyId"])


def test_a_shared_key_is_used_by_its_arn(kms, kms_account2, shared):
    assert kms_account2.describe_key(KeyId=shared["Arn"])["KeyMetadata"] == shared
    blob = kms_account2.encrypt(KeyId=shared["Arn"], Plaintext=b"x")["CiphertextBlob"]
    assert kms_account2.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert kms.decrypt(CiphertextBlob=blob)["KeyId"] == shared["Arn"]
    assert kms_account2.generate_data_key(KeyId=shared["Arn"], KeySpec="AES_256")["KeyId"] == shared["Arn"]
    own = new_key(kms_account2)
    moved = kms_account2.re_encrypt(CiphertextBlob=blob, DestinationKeyId=own["KeyId"])
    assert (moved["SourceKeyId"], moved["KeyId"]) == (shared["Arn"], own["Arn"])
    with refused("AccessDeniedException"):
        kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])


def test_a_shared_key_is_used_by_the_arn_of_its_alias(kms, kms_account2, shared):
    name = unique()
    kms.create_alias(AliasName=name, TargetKeyId=shared["KeyId"])
    assert kms_account2.encrypt(KeyId=arn(name), Plaintext=b"x")["KeyId"] == shared["Arn"]
    with refused("NotFoundException", f"Alias {arn(name, account=ACCOUNT2)} is not found."):
        kms_account2.encrypt(KeyId=name, Plaintext=b"x")


def test_no_policy_lets_another_account_administrate(kms, kms_account2, shared):
    for use, action in (
        (lambda key: kms_account2.put_key_policy(KeyId=key, Policy=policy_allowing()), "PutKeyPolicy"),
        (lambda key: kms_account2.disable_key(KeyId=key), "DisableKey"),
        (lambda key: kms_account2.schedule_key_deletion(KeyId=key), "ScheduleKeyDeletion"),
        (lambda key: kms_account2.list_resource_tags(KeyId=key), "ListResourceTags"),
        (lambda key: kms_account2.create_alias(AliasName=unique(), TargetKeyId=key), "CreateAlias"),
    ):
        with refused("AccessDeniedException", not_authorized(STRANGER, action, shared["Arn"], "resource")):
            use(shared["Arn"])
    assert kms.describe_key(KeyId=shared["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_grants_of_a_shared_key(kms, kms_account2, shared):
    made = kms_account2.create_grant(
        KeyId=shared["Arn"], GranteePrincipal=f"arn:aws:iam::{ACCOUNT2}:role/any", Operations=["Encrypt"]
    )
    [entry] = kms_account2.list_grants(KeyId=shared["Arn"])["Grants"]
    assert entry["IssuingAccount"] == f"arn:aws:iam::{ACCOUNT2}:root"
    kms_account2.revoke_grant(KeyId=shared["Arn"], GrantId=made["GrantId"])
    assert kms.list_grants(KeyId=shared["KeyId"])["Grants"] == []


def test_a_ciphertext_of_another_account(kms_account2, kms, key):
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    with refused("AccessDeniedException"):
        kms_account2.decrypt(CiphertextBlob=blob)
    own = new_key(kms_account2)["KeyId"]
    with refused("IncorrectKeyException"):
        kms_account2.decrypt(CiphertextBlob=blob, KeyId=own)


def test_accounts_list_their_own_keys(kms, kms_account2, key, shared):
    theirs = new_key(kms_account2)["KeyId"]
    ids = lambda client: {
        entry["KeyId"] for entry in client.get_paginator("list_keys").paginate().build_full_result()["Keys"]
    }
    assert theirs in ids(kms_account2) and theirs not in ids(kms)
    assert not {key["KeyId"], shared["KeyId"]} & ids(kms_account2)


def test_a_session_has_the_permissions_of_its_role(kms_auditor, key):
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/auditor/tester"
    assert kms_auditor.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
    assert kms_auditor.list_aliases(KeyId=key["KeyId"])["Aliases"] == []
    for use, action in (
        (lambda: kms_auditor.encrypt(KeyId=key["KeyId"], Plaintext=b"x"), "Encrypt"),
        (lambda: kms_auditor.disable_key(KeyId=key["KeyId"]), "DisableKey"),
        (lambda: kms_auditor.schedule_key_deletion(KeyId=key["KeyId"]), "ScheduleKeyDeletion"),
    ):
        with refused("AccessDeniedException", not_authorized(session, action, key["Arn"])):
            use()
    with refused("AccessDeniedException"):
        kms_auditor.create_key()
    with refused("AccessDeniedException"):
        kms_auditor.generate_random(NumberOfBytes=8)


def test_permission_by_tag(kms):
    """By a policy of the caller: key policies do not see the tags of their key."""
    by_tag = {
        "Effect": "Allow",
        "Action": "kms:Encrypt",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:ResourceTag/team": "blue"}},
    }
    let_in = {"Effect": "Allow", "Principal": {"AWS": ROLE_ARN}, "Action": "kms:Encrypt", "Resource": "*"}
    key_id = new_key(kms, Policy=policy_allowing(let_in))["KeyId"]
    session = assume(ROLE_ARN, Policy=json.dumps({"Version": "2012-10-17", "Statement": by_tag}))
    for team, is_allowed in (("red", False), ("blue", True), ("green", False)):
        kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "team", "TagValue": team}])
        if is_allowed:
            session.encrypt(KeyId=key_id, Plaintext=b"x")
        else:
            with refused("AccessDeniedException"):
                session.encrypt(KeyId=key_id, Plaintext=b"x")


def test_who_am_i():
    identity = connect("sts").get_caller_identity()
    del identity["ResponseMetadata"]
    assert identity.pop("UserId")
    assert identity == {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/admin"}


def test_roles_that_cannot_be_assumed():
    sts = connect("sts")
    for role in (f"arn:aws:iam::{ACCOUNT}:role/nobody", f"arn:aws:iam::{ACCOUNT2}:role/application"):
        with pytest.raises(sts.exceptions.ClientError) as caught:
            sts.assume_role(RoleArn=role, RoleSessionName="tester")
        error = caught.value.response["Error"]
        text = f"User: arn:aws:iam::{ACCOUNT}:user/admin is not authorized to perform: sts:AssumeRole on resource: {role}"
        assert (error["Code"], error["Message"]) == ("AccessDenied", text)


def test_keys_that_are_not_known(key):
    unknown = connect(aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x" * 40)
    with refused("UnrecognizedClientException", "The security token included in the request is invalid."):
        unknown.list_keys()
    wrong = connect(aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="x" * 40)
    with refused("InvalidSignatureException"):
        wrong.list_keys()


def test_a_session_policy_narrows():
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*"}}
    narrow = assume(ROLE_ARN.replace("application", "auditor"), Policy=json.dumps(policy))
    narrow.list_keys()
    with refused("AccessDeniedException"):
        narrow.list_aliases()
