"""Key policies: the default, replacing it, policies that are refused."""

import json
import re

import pytest
from conftest import ACCOUNT, not_authorized, arn, new_key, policy_allowing, refused

ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"


def statement(**more):
    return {"Effect": "Allow", "Principal": {"AWS": ADMIN}, "Action": "kms:*", "Resource": "*", **more}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_the_default_policy(kms, key_id):
    answer = kms.get_key_policy(KeyId=key_id)
    assert answer["PolicyName"] == "default"
    assert json.loads(answer["Policy"]) == {
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
    assert kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"] == answer["Policy"]


def test_a_policy_is_kept_as_it_was_written(kms, key_id):
    for policy in (policy_allowing(), json.dumps(json.loads(policy_allowing()), indent=4)):
        answer = kms.put_key_policy(KeyId=key_id, PolicyName="default", Policy=policy)
        assert set(answer) == {"ResponseMetadata"}
        assert kms.get_key_policy(KeyId=key_id)["Policy"] == policy
        created = new_key(kms, Policy=policy)
        assert kms.get_key_policy(KeyId=created["KeyId"])["Policy"] == policy


def test_there_is_one_policy(kms, key_id):
    answer = kms.list_key_policies(KeyId=key_id)
    assert (answer["PolicyNames"], answer["Truncated"]) == (["default"], False)
    assert "NextMarker" not in answer
    with refused("NotFoundException", "No such policy exists"):
        kms.get_key_policy(KeyId=key_id, PolicyName="other")
    with refused("UnsupportedOperationException"):
        kms.put_key_policy(KeyId=key_id, PolicyName="other", Policy=policy_allowing())


@pytest.mark.parametrize(
    "policy",
    [
        "not JSON",
        "{}",
        "[]",
        '"x"',
        document(),
        document(statement(Effect="Maybe")),
        document({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}),
        document({"Effect": "Allow", "Principal": {"AWS": ADMIN}, "Resource": "*"}),
        document(statement(Principal={"AWS": "not an ARN"})),
        document(statement(Condition={"NoSuchOperator": {"a": "b"}})),
        json.dumps({"Version": "2020-01-01", "Statement": [statement()]}),
        document(statement())[:-1],
    ],
)
def test_what_is_no_policy(kms, key_id, policy):
    before = kms.get_key_policy(KeyId=key_id)["Policy"]
    with refused("MalformedPolicyDocumentException"):
        kms.put_key_policy(KeyId=key_id, Policy=policy)
    with refused("MalformedPolicyDocumentException"):
        kms.create_key(Policy=policy)
    assert kms.get_key_policy(KeyId=key_id)["Policy"] == before


@pytest.mark.parametrize(
    ("condition_key", "start", "what"),
    [
        ("kms:EncryptionContext:team", "OverlyPermissiveCondition:EncryptionContext", "encryption context"),
        ("KMS:encryptioncontext:team", "OverlyPermissiveCondition:EncryptionContext", "encryption context"),
        ("aws:RequestTag/team", "OverlyPermissiveCondition", "tag"),
    ],
)
def test_for_all_values_is_not_for_single_values(kms, key_id, condition_key, start, what):
    text = (
        f"{start}: Using the ForAllValues set operator with a single-valued condition key matches requests without "
        f"the specified {what} or with an unspecified {what}. To fix, remove ForAllValues."
    )
    condition = lambda operator: policy_allowing(statement(Condition={operator: {condition_key: "blue"}}))
    with refused("MalformedPolicyDocumentException", text):
        kms.put_key_policy(KeyId=key_id, Policy=condition("ForAllValues:StringEquals"))
    with refused("MalformedPolicyDocumentException", text):
        kms.create_key(Policy=condition("ForAllValues:StringLike"))
    kms.put_key_policy(KeyId=key_id, Policy=condition("ForAnyValue:StringEquals"))


def test_a_statement_without_a_resource_has_no_effect(kms, key):
    without = {"Effect": "Deny", "Principal": {"AWS": ADMIN}, "Action": "kms:Encrypt"}
    kms.put_key_policy(KeyId=key["KeyId"], Policy=policy_allowing(without))
    kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")


def test_what_a_request_does_not_say_is_absent_in_conditions(kms, key_id):
    deny = lambda is_absent: policy_allowing(
        statement(
            Effect="Deny",
            Action="kms:PutKeyPolicy",
            Condition={"Null": {"kms:BypassPolicyLockoutSafetyCheck": str(is_absent).lower()}},
        )
    )
    other_id = new_key(kms)["KeyId"]
    kms.put_key_policy(KeyId=key_id, Policy=deny(is_absent=False), BypassPolicyLockoutSafetyCheck=True)
    with refused("AccessDeniedException"):
        kms.put_key_policy(KeyId=key_id, Policy=policy_allowing(), BypassPolicyLockoutSafetyCheck=False)
    kms.put_key_policy(KeyId=key_id, Policy=policy_allowing())
    kms.put_key_policy(KeyId=other_id, Policy=deny(is_absent=True), BypassPolicyLockoutSafetyCheck=True)
    with refused("AccessDeniedException"):
        kms.put_key_policy(KeyId=other_id, Policy=policy_allowing())
    kms.put_key_policy(KeyId=other_id, Policy=policy_allowing(), BypassPolicyLockoutSafetyCheck=False)


def test_a_policy_has_at_most_32_kilobytes(kms, key_id):
    fill = lambda length: json.dumps(
        {"Version": "2012-10-17", "Id": "x" * length, "Statement": [statement()]}
    )
    longest = fill(32768 - len(fill(0)))
    assert len(longest) == 32768
    kms.put_key_policy(KeyId=key_id, Policy=longest)
    with refused("LimitExceededException"):
        kms.put_key_policy(KeyId=key_id, Policy=fill(32769 - len(fill(0))))
    with refused("ValidationException", re.compile(r".+ at 'policy' .+ less than or equal to 131072")):
        kms.put_key_policy(KeyId=key_id, Policy="x" * 131073)
    with refused("ValidationException", re.compile(r".+ at 'policy' .+")):
        kms.put_key_policy(KeyId=key_id, Policy="")


LOCKED_OUT = "The new key policy will not allow you to update the key policy in the future."


def test_nobody_is_locked_out_by_mistake(kms, key_id):
    policy = document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/other"}))
    with refused("MalformedPolicyDocumentException", LOCKED_OUT):
        kms.put_key_policy(KeyId=key_id, Policy=policy)
    with refused("MalformedPolicyDocumentException", LOCKED_OUT):
        kms.create_key(Policy=policy)
    only_reading = document(statement(Action=["kms:Describe*", "kms:Get*"]))
    with refused("MalformedPolicyDocumentException", LOCKED_OUT):
        kms.put_key_policy(KeyId=key_id, Policy=only_reading)


def test_who_insists_is_locked_out(kms, key):
    policy = document(statement(Action=["kms:DescribeKey", "kms:ScheduleKeyDeletion"]))
    kms.put_key_policy(KeyId=key["KeyId"], Policy=policy, BypassPolicyLockoutSafetyCheck=True)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
    with refused("AccessDeniedException", not_authorized(ADMIN, "PutKeyPolicy", key["Arn"], "resource")):
        kms.put_key_policy(KeyId=key["KeyId"], Policy=policy_allowing())
    with refused("AccessDeniedException", not_authorized(ADMIN, "Encrypt", key["Arn"], "resource")):
        kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")


def test_a_deny_wins(kms, key):
    deny = statement(Effect="Deny", Action="kms:Encrypt")
    kms.put_key_policy(KeyId=key["KeyId"], Policy=policy_allowing(deny))
    text = (
        f"User: {ADMIN} is not authorized to perform: kms:Encrypt on resource: {key['Arn']} "
        "with an explicit deny in a resource-based policy"
    )
    with refused("AccessDeniedException", text):
        kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")


def test_conditions_on_the_context(kms, key):
    deny = statement(
        Effect="Deny",
        Action="kms:Encrypt",
        Condition={"StringNotEquals": {"kms:EncryptionContext:team": "blue"}},
    )
    kms.put_key_policy(KeyId=key["KeyId"], Policy=policy_allowing(deny))
    kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"team": "blue"})
    for context in ({"team": "red"}, {"TEAM": "blues"}, {}):
        with refused("AccessDeniedException"):
            kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=context)


def test_a_policy_of_a_key_that_is_not_there(kms):
    with refused("NotFoundException", f"Key '{arn('key/' + '0' * 8 + '-0000-4000-8000-' + '0' * 12)}' does not exist"):
        kms.get_key_policy(KeyId="00000000-0000-4000-8000-000000000000")
