"""Grants: what they allow, to whom, until when."""

import re

import pytest
from conftest import ABSENT, ACCOUNT, ROLE_ARN, arn, assume, new_key, refused

SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/application/tester"
GRANT_ID = re.compile(r"[0-9a-f]{64}")


def grant(kms, key_id, *operations, **more):
    more.setdefault("GranteePrincipal", ROLE_ARN)
    answer = kms.create_grant(KeyId=key_id, Operations=list(operations), **more)
    assert set(answer) - {"ResponseMetadata"} == {"GrantId", "GrantToken"}
    assert GRANT_ID.fullmatch(answer["GrantId"]) and answer["GrantToken"]
    return answer


def grants_of(kms, key_id, **more):
    return kms.list_grants(KeyId=key_id, **more)["Grants"]


def test_a_role_may_do_what_it_is_granted_and_no_more(kms, kms_role, key):
    key_id = key["KeyId"]
    text = (
        f"User: {SESSION_ARN} is not authorized to perform: kms:Encrypt on resource: {key['Arn']} "
        "because no identity-based policy allows the kms:Encrypt action"
    )
    with refused("AccessDeniedException", text):
        kms_role.encrypt(KeyId=key_id, Plaintext=b"x")
    made = grant(kms, key_id, "Encrypt", "DescribeKey")
    blob = kms_role.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert kms_role.describe_key(KeyId=key_id)["KeyMetadata"] == key
    with refused("AccessDeniedException"):
        kms_role.decrypt(CiphertextBlob=blob, KeyId=key_id)
    with refused("AccessDeniedException"):
        kms_role.decrypt(CiphertextBlob=blob)
    assert set(kms.revoke_grant(KeyId=key_id, GrantId=made["GrantId"])) == {"ResponseMetadata"}
    with refused("AccessDeniedException"):
        kms_role.encrypt(KeyId=key_id, Plaintext=b"x")


def test_what_a_list_says_of_a_grant(kms, key):
    made = grant(
        kms,
        key["KeyId"],
        "Encrypt",
        "Decrypt",
        Name="my-grant",
        RetiringPrincipal=ROLE_ARN,
        Constraints={"EncryptionContextSubset": {"a": "b"}},
    )
    [entry] = grants_of(kms, key["KeyId"])
    assert entry.pop("CreationDate") >= key["CreationDate"]
    assert sorted(entry.pop("Operations")) == ["Decrypt", "Encrypt"]
    assert entry == {
        "Constraints": {"EncryptionContextSubset": {"a": "b"}},
        "GrantId": made["GrantId"],
        "GranteePrincipal": ROLE_ARN,
        "IssuingAccount": f"arn:aws:iam::{ACCOUNT}:root",
        "KeyId": key["Arn"],
        "Name": "my-grant",
        "RetiringPrincipal": ROLE_ARN,
    }


def test_members_that_a_grant_does_not_have(kms, key_id):
    grant(kms, key_id, "Encrypt")
    [entry] = grants_of(kms, key_id)
    assert entry["Name"] == ""
    assert not {"Constraints", "RetiringPrincipal"} & set(entry)


def test_the_same_grant_of_the_same_name_is_made_once(kms, key_id):
    first = grant(kms, key_id, "Encrypt", Name="one")
    assert grant(kms, key_id, "Encrypt", Name="one")["GrantId"] == first["GrantId"]
    assert len(grants_of(kms, key_id)) == 1
    others = [
        grant(kms, key_id, "Decrypt", Name="one"),
        grant(kms, key_id, "Encrypt", Name="two"),
        grant(kms, key_id, "Encrypt"),
        grant(kms, key_id, "Encrypt"),
        grant(kms, new_key(kms)["KeyId"], "Encrypt", Name="one"),
    ]
    assert len({made["GrantId"] for made in [first, *others]}) == 6


def test_a_context_constrains_a_grant(kms, kms_role, key_id):
    use = lambda context: kms_role.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context)
    subset = grant(kms, key_id, "Encrypt", Constraints={"EncryptionContextSubset": {"a": "b"}})
    for context in ({"a": "b"}, {"a": "b", "c": "d"}):
        use(context)
    for context in ({}, {"a": "c"}, {"A": "b"}, {"b": "a"}):
        with refused("AccessDeniedException"):
            use(context)
    kms.revoke_grant(KeyId=key_id, GrantId=subset["GrantId"])
    grant(kms, key_id, "Encrypt", Constraints={"EncryptionContextEquals": {"a": "b"}})
    use({"a": "b"})
    for context in ({}, {"a": "b", "c": "d"}):
        with refused("AccessDeniedException"):
            use(context)


def test_a_grant_token_is_taken_where_grants_count(kms, kms_role, key_id):
    token = grant(kms, key_id, "Encrypt", "Decrypt", "GenerateDataKey")["GrantToken"]
    blob = kms_role.encrypt(KeyId=key_id, Plaintext=b"x", GrantTokens=[token])["CiphertextBlob"]
    assert kms_role.decrypt(CiphertextBlob=blob, GrantTokens=[token])["Plaintext"] == b"x"
    kms_role.generate_data_key(KeyId=key_id, KeySpec="AES_256", GrantTokens=[token])


def test_what_is_no_grant_token(kms, key_id):
    with refused("InvalidGrantTokenException"):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", GrantTokens=["garbage"])
    with refused("InvalidGrantTokenException"):
        kms.retire_grant(GrantToken="garbage")
    with refused("ValidationException"):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", GrantTokens=["x"] * 11)


def test_a_retiring_principal_retires(kms, kms_role, key):
    made = grant(kms, key["KeyId"], "Encrypt", RetiringPrincipal=ROLE_ARN)
    answer = kms_role.retire_grant(KeyId=key["Arn"], GrantId=made["GrantId"])
    assert set(answer) == {"ResponseMetadata"}
    assert grants_of(kms, key["KeyId"]) == []
    with refused("AccessDeniedException"):
        kms_role.encrypt(KeyId=key["KeyId"], Plaintext=b"x")


def test_a_grantee_retires_if_it_may(kms, kms_role, key):
    may_not = grant(kms, key["KeyId"], "Encrypt")
    with refused("AccessDeniedException"):
        kms_role.retire_grant(KeyId=key["Arn"], GrantId=may_not["GrantId"])
    may = grant(kms, key["KeyId"], "Encrypt", "RetireGrant")
    kms_role.retire_grant(GrantToken=may["GrantToken"])
    assert [entry["GrantId"] for entry in grants_of(kms, key["KeyId"])] == [may_not["GrantId"]]


def test_how_a_grant_to_retire_is_named(kms, key):
    made = grant(kms, key["KeyId"], "Encrypt")
    for request in (
        {},
        {"KeyId": key["Arn"]},
        {"GrantId": made["GrantId"]},
        {"KeyId": key["Arn"], "GrantId": made["GrantId"], "GrantToken": made["GrantToken"]},
    ):
        with refused("ValidationException"):
            kms.retire_grant(**request)
    with refused("InvalidArnException"):
        kms.retire_grant(KeyId=key["KeyId"], GrantId=made["GrantId"])
    kms.retire_grant(KeyId=key["Arn"], GrantId=made["GrantId"])


def test_a_grant_that_is_not_there(kms, key):
    absent = "0" * 64
    with refused("NotFoundException", f"Grant ID {absent} not found"):
        kms.revoke_grant(KeyId=key["KeyId"], GrantId=absent)
    with refused("NotFoundException", f"Grant ID {absent} not found"):
        kms.retire_grant(KeyId=key["Arn"], GrantId=absent)
    made = grant(kms, key["KeyId"], "Encrypt")
    other = new_key(kms)["KeyId"]
    with refused("NotFoundException", f"Grant ID {made['GrantId']} not found"):
        kms.revoke_grant(KeyId=other, GrantId=made["GrantId"])
    assert len(grants_of(kms, key["KeyId"])) == 1


@pytest.mark.parametrize("key_id", [ABSENT, "x"])
def test_grants_of_a_key_that_is_not_there(kms, key_id):
    for use in (
        lambda: kms.list_grants(KeyId=key_id),
        lambda: kms.create_grant(KeyId=key_id, GranteePrincipal=ROLE_ARN, Operations=["Encrypt"]),
        lambda: kms.revoke_grant(KeyId=key_id, GrantId="0" * 64),
    ):
        with refused("NotFoundException"):
            use()


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"Operations": ["Encrypt"]}, "ValidationException"),
        ({"GranteePrincipal": ROLE_ARN}, "ValidationException"),
        ({"GranteePrincipal": ROLE_ARN, "Operations": []}, "ValidationException"),
        ({"GranteePrincipal": ROLE_ARN, "Operations": ["Delete"]}, "ValidationException"),
        ({"GranteePrincipal": ROLE_ARN, "Operations": ["Sign"]}, "ValidationException"),
        ({"GranteePrincipal": ROLE_ARN, "Operations": ["Encrypt"], "Name": "a b"}, "ValidationException"),
        ({"GranteePrincipal": "nobody", "Operations": ["Encrypt"]}, "InvalidArnException"),
        ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:group/all", "Operations": ["Encrypt"]}, "InvalidArnException"),
        ({"GranteePrincipal": "arn:aws:s3:::bucket", "Operations": ["Encrypt"]}, "InvalidArnException"),
        (
            {
                "GranteePrincipal": ROLE_ARN,
                "Operations": ["Encrypt"],
                "Constraints": {"EncryptionContextSubset": {str(index): "x" for index in range(9)}},
            },
            "ValidationException",
        ),
        (
            {
                "GranteePrincipal": ROLE_ARN,
                "Operations": ["Encrypt"],
                "Constraints": {"EncryptionContextEquals": {"a": "x" * 385}},
            },
            "ValidationException",
        ),
        (
            {"GranteePrincipal": ROLE_ARN, "RetiringPrincipal": "nobody", "Operations": ["Encrypt"]},
            "InvalidArnException",
        ),
    ],
)
def test_a_grant_that_cannot_be(kms, key_id, request_, code):
    with refused(code):
        kms.create_grant(KeyId=key_id, **request_)
    assert grants_of(kms, key_id) == []


@pytest.mark.parametrize(
    "principal",
    [
        f"arn:aws:iam::{ACCOUNT}:root",
        f"arn:aws:iam::{ACCOUNT}:user/path/somebody",
        f"arn:aws:iam::{ACCOUNT}:role/application",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/application/session",
        f"arn:aws:sts::{ACCOUNT}:federated-user/somebody",
    ],
)
def test_whom_a_grant_can_be_for(kms, key_id, principal):
    constraints = {"EncryptionContextEquals": {f"{index}": "x" * 384 for index in range(8)}}
    grant(kms, key_id, "Encrypt", GranteePrincipal=principal, RetiringPrincipal=principal, Constraints=constraints)
    [entry] = grants_of(kms, key_id)
    assert (entry["GranteePrincipal"], entry["RetiringPrincipal"]) == (principal, principal)
    assert entry["Constraints"] == constraints


def test_a_grantee_hands_on_no_more_than_it_has(kms, kms_role, key_id):
    grant(kms, key_id, "Encrypt", "CreateGrant", Constraints={"EncryptionContextSubset": {"a": "b"}})
    other = f"arn:aws:iam::{ACCOUNT}:user/other"
    constraints = {"EncryptionContextSubset": {"a": "b", "c": "d"}}
    grant(kms_role, key_id, "Encrypt", GranteePrincipal=other, Constraints=constraints)
    for operations, constraints in (
        (["Decrypt"], {"EncryptionContextSubset": {"a": "b"}}),
        (["Encrypt", "Decrypt"], {"EncryptionContextSubset": {"a": "b"}}),
        (["Encrypt"], {"EncryptionContextSubset": {"c": "d"}}),
        (["Encrypt"], {}),
    ):
        with refused("AccessDeniedException"):
            kms_role.create_grant(
                KeyId=key_id, GranteePrincipal=other, Operations=operations, Constraints=constraints
            )


def test_grants_are_found_by_id_and_grantee(kms, key_id):
    one = grant(kms, key_id, "Encrypt")["GrantId"]
    other = grant(kms, key_id, "Encrypt", GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:user/other")["GrantId"]
    ids = lambda **more: [entry["GrantId"] for entry in grants_of(kms, key_id, **more)]
    assert sorted(ids()) == sorted([one, other])
    assert ids(GrantId=one) == [one]
    assert ids(GranteePrincipal=ROLE_ARN) == [one]
    assert ids(GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:user/nobody") == []


def test_what_a_principal_may_retire(kms, key):
    retiring = f"arn:aws:iam::{ACCOUNT}:user/retiring-{key['KeyId']}"
    keys = [key["KeyId"], new_key(kms)["KeyId"]]
    made = [grant(kms, key_id, "Encrypt", RetiringPrincipal=retiring)["GrantId"] for key_id in keys]
    grant(kms, keys[0], "Encrypt")
    found = kms.list_retirable_grants(RetiringPrincipal=retiring)
    assert sorted(entry["GrantId"] for entry in found["Grants"]) == sorted(made)
    assert found["Truncated"] is False
    first = kms.list_retirable_grants(RetiringPrincipal=retiring, Limit=1)
    second = kms.list_retirable_grants(RetiringPrincipal=retiring, Limit=1, Marker=first["NextMarker"])
    assert (first["Truncated"], second["Truncated"]) == (True, False)
    assert sorted(page["Grants"][0]["GrantId"] for page in (first, second)) == sorted(made)
    assert kms.list_retirable_grants(RetiringPrincipal=f"{retiring}x")["Grants"] == []


def test_grants_end_with_the_session_policy(kms, key_id):
    """A session policy takes away what a grant to the role gives."""
    grant(kms, key_id, "Encrypt", "Decrypt")
    policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*"}}'
    narrow = assume(ROLE_ARN, Policy=policy)
    blob = narrow.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    with refused("AccessDeniedException"):
        narrow.decrypt(CiphertextBlob=blob)


def test_a_key_with_grants_keeps_them_while_disabled(kms, kms_role, key_id):
    grant(kms, key_id, "Encrypt")
    kms.disable_key(KeyId=key_id)
    with refused("DisabledException", f"{arn(f'key/{key_id}')} is disabled."):
        kms_role.encrypt(KeyId=key_id, Plaintext=b"x")
    kms.enable_key(KeyId=key_id)
    kms_role.encrypt(KeyId=key_id, Plaintext=b"x")
