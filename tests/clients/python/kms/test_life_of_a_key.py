"""A key from its creation to its end, with everything in between."""

from conftest import advance, new_key, refused, unique


def test_a_key_from_its_creation_to_its_end(kms):
    created = new_key(kms, Description="a life", Tags=[{"TagKey": "stage", "TagValue": "test"}])
    key_id, alias = created["KeyId"], unique()
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    context = {"order": "17"}
    old = kms.encrypt(KeyId=alias, Plaintext=b"first", EncryptionContext=context)["CiphertextBlob"]

    kms.rotate_key_on_demand(KeyId=key_id)
    new = kms.encrypt(KeyId=alias, Plaintext=b"second", EncryptionContext=context)["CiphertextBlob"]
    answers = [kms.decrypt(CiphertextBlob=blob, EncryptionContext=context) for blob in (old, new)]
    assert [answer["Plaintext"] for answer in answers] == [b"first", b"second"]
    assert answers[0]["KeyMaterialId"] == created["CurrentKeyMaterialId"] != answers[1]["KeyMaterialId"]

    again = kms.re_encrypt(
        CiphertextBlob=old, SourceEncryptionContext=context, DestinationKeyId=key_id
    )["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=again)["KeyMaterialId"] == answers[1]["KeyMaterialId"]

    kms.disable_key(KeyId=key_id)
    with refused("DisabledException", f"{created['Arn']} is disabled."):
        kms.decrypt(CiphertextBlob=again)
    kms.enable_key(KeyId=key_id)
    assert kms.decrypt(CiphertextBlob=again)["Plaintext"] == b"first"

    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    with refused("KMSInvalidStateException", f"{created['Arn']} is pending deletion."):
        kms.decrypt(CiphertextBlob=again)
    kms.cancel_key_deletion(KeyId=key_id)
    kms.enable_key(KeyId=key_id)
    assert kms.decrypt(CiphertextBlob=again)["Plaintext"] == b"first"

    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    advance("8d")
    with refused("NotFoundException", f"Key '{created['Arn']}' does not exist"):
        kms.describe_key(KeyId=key_id)
    with refused("AccessDeniedException"):
        kms.decrypt(CiphertextBlob=again)
    aliases = kms.get_paginator("list_aliases").paginate().build_full_result()["Aliases"]
    assert alias not in [entry["AliasName"] for entry in aliases]
    with refused("NotFoundException", f"Alias {created['Arn'].split(':key/')[0]}:{alias} is not found."):
        kms.encrypt(KeyId=alias, Plaintext=b"x")
