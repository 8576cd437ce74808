"""Sessions with a second factor: AssumeRole and GetSessionToken with a one-time password."""

import hashlib
import hmac
import time

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, connect

SECRET = b"12345678901234567890"
SERIAL = f"arn:aws:iam::{ACCOUNT}:mfa/operator"
GUARDED = f"arn:aws:iam::{ACCOUNT}:role/guarded"
OPERATOR = {
    "aws_access_key_id": "AKIAOPERATOROPERATOR",
    "aws_secret_access_key": "operator-secret-operator-secret",
    "aws_session_token": None,
}


def code(steps=0):
    """The one-time password that so many steps from now has (RFC 6238)."""
    step = int(time.time()) // 30 + steps
    digest = hmac.new(SECRET, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = digest[19] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def session_of(credentials, service="kms"):
    return connect(
        service,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


def test_a_second_factor_opens_what_wants_one():
    sts = connect("sts", **OPERATOR)
    with pytest.raises(ClientError, match="is not authorized to perform: sts:AssumeRole"):
        sts.assume_role(RoleArn=GUARDED, RoleSessionName="tester")
    now, following = code(), code(1)
    made = sts.get_session_token(SerialNumber=SERIAL, TokenCode=now)["Credentials"]
    with pytest.raises(ClientError, match="invalid MFA one time pass code"):
        sts.get_session_token(SerialNumber=SERIAL, TokenCode=now)
    assert session_of(made, "sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/operator"
    assert session_of(made).list_keys(Limit=1)["ResponseMetadata"]["HTTPStatusCode"] == 200
    chained = session_of(made, "sts").assume_role(RoleArn=GUARDED, RoleSessionName="tester")["Credentials"]
    given = sts.assume_role(RoleArn=GUARDED, RoleSessionName="tester", SerialNumber=SERIAL, TokenCode=following)
    for credentials in (chained, given["Credentials"]):
        arn = session_of(credentials, "sts").get_caller_identity()["Arn"]
        assert arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/guarded/tester"
    with pytest.raises(ClientError, match="Cannot call GetSessionToken with session credentials"):
        session_of(made, "sts").get_session_token()
