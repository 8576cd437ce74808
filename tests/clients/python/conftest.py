"""What every test has: clients of two accounts and Regions, keys, and a way to say what must be refused."""

import json
import os
import re
import urllib.request
import uuid
from contextlib import contextmanager

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = os.environ["AWS_DEFAULT_REGION"]
OTHER_REGION = "eu-central-1"
ACCOUNT = os.environ["HOLDFAST_ACCOUNT_ID"]
ACCOUNT2 = os.environ["HOLDFAST_ACCOUNT2_ID"]
ROLE_ARN = os.environ["HOLDFAST_TEST_ROLE_ARN"]
AUDITOR_ARN = os.environ["HOLDFAST_AUDITOR_ROLE_ARN"]
ABSENT = "00000000-0000-4000-8000-000000000000"

# Mistakes must reach the server, and its first answer counts.
STRICT = Config(parameter_validation=False, retries={"total_max_attempts": 1})


def arn(resource, account=ACCOUNT, region=REGION):
    return f"arn:aws:kms:{region}:{account}:{resource}"


def connect(service="kms", **options):
    options.setdefault("config", STRICT)
    return boto3.client(service, **options)


def assume(role_arn, session_name="tester", **more):
    given = connect("sts").assume_role(RoleArn=role_arn, RoleSessionName=session_name, **more)["Credentials"]
    return connect(
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def advance(by):
    """Moves the time of the KMS."""
    request = urllib.request.Request(f"{os.environ['HOLDFAST_ADMIN_URL']}/dev/clock?advance={by}", method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        assert response.status == 200


def unique(prefix="alias/test"):
    return f"{prefix}-{uuid.uuid4().hex}"


def new_key(client, **request):
    return client.create_key(**request)["KeyMetadata"]


def policy_allowing(*statements):
    root = {
        "Sid": "root",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [root, *statements]})


@contextmanager
def refused(code, text=None):
    """The block must end in this error; `text` is the whole message, or a pattern that the whole message has."""
    with pytest.raises(ClientError) as caught:
        yield
    answer = caught.value.response
    error = answer["Error"]
    assert error["Code"] == code, error
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.1"
    message = error.get("Message", "")
    if isinstance(text, re.Pattern):
        assert text.fullmatch(message), message
    elif text is not None:
        assert message == text


def not_authorized(principal, action, resource, why="identity"):
    rest = f"because no {why}-based policy allows the kms:{action} action"
    return f"User: {principal} is not authorized to perform: kms:{action} on resource: {resource} {rest}"


@pytest.fixture(scope="session")
def kms():
    return connect()


@pytest.fixture(scope="session")
def kms_elsewhere():
    return connect(region_name=OTHER_REGION)


@pytest.fixture(scope="session")
def kms_account2():
    return connect(
        aws_access_key_id=os.environ["HOLDFAST_ACCOUNT2_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["HOLDFAST_ACCOUNT2_SECRET_ACCESS_KEY"],
    )


@pytest.fixture(scope="module")
def kms_role():
    """May do nothing but what a key policy or a grant allows."""
    return assume(ROLE_ARN)


@pytest.fixture(scope="module")
def kms_auditor():
    """May describe, list and get everything."""
    return assume(AUDITOR_ARN)


@pytest.fixture
def key(kms):
    return new_key(kms)


@pytest.fixture
def key_id(key):
    return key["KeyId"]
