// The life of a key, driven by the AWS SDK for JavaScript over HTTPS.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import * as kmsClient from "@aws-sdk/client-kms";
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const region = process.env.AWS_DEFAULT_REGION;
const account = process.env.HOLDFAST_ACCOUNT_ID;
const role = process.env.HOLDFAST_TEST_ROLE_ARN;
const bytes = (text) => new TextEncoder().encode(text);

// call("Encrypt", {…}) instead of a command each.
const caller = (options = {}) => {
  const client = new kmsClient.KMSClient({ region, ...options });
  return (name, input = {}) => client.send(new kmsClient[`${name}Command`](input));
};
const call = caller();
const newKey = async (input = {}) => (await call("CreateKey", input)).KeyMetadata;

test("a key lives", async () => {
  const key = await newKey({ Description: "from JavaScript" });
  const KeyId = key.KeyId;
  const AliasName = `alias/javascript-${randomUUID()}`;
  await call("CreateAlias", { AliasName, TargetKeyId: KeyId });
  const EncryptionContext = { purpose: "test" };
  const { CiphertextBlob } = await call("Encrypt", {
    KeyId: AliasName,
    Plaintext: bytes("over the wire"),
    EncryptionContext,
  });
  const decrypt = (more = {}) => call("Decrypt", { CiphertextBlob, EncryptionContext, ...more });
  const decrypted = await decrypt();
  assert.equal(new TextDecoder().decode(decrypted.Plaintext), "over the wire");
  assert.equal(decrypted.KeyId, key.Arn);

  const dataKey = await call("GenerateDataKey", { KeyId, KeySpec: "AES_256" });
  const opened = await call("Decrypt", { CiphertextBlob: dataKey.CiphertextBlob });
  assert.deepEqual(opened.Plaintext, dataKey.Plaintext);

  await call("EnableKeyRotation", { KeyId, RotationPeriodInDays: 180 });
  const rotation = await call("GetKeyRotationStatus", { KeyId });
  assert.equal(rotation.RotationPeriodInDays, 180);
  assert.ok(rotation.NextRotationDate instanceof Date);
  await call("RotateKeyOnDemand", { KeyId });
  await decrypt();

  await call("DisableKey", { KeyId });
  await assert.rejects(decrypt(), { name: "DisabledException", message: `${key.Arn} is disabled.` });
  await call("EnableKey", { KeyId });
  const { KeyState, DeletionDate } = await call("ScheduleKeyDeletion", { KeyId, PendingWindowInDays: 7 });
  assert.equal(KeyState, "PendingDeletion");
  assert.ok(DeletionDate > key.CreationDate);
  await assert.rejects(decrypt(), { name: "KMSInvalidStateException" });
  await call("CancelKeyDeletion", { KeyId });
  await call("EnableKey", { KeyId });
  await decrypt();
  await call("DeleteAlias", { AliasName });
});

test("mistakes have their names and texts", async () => {
  const { KeyId } = await newKey();
  const absent = "00000000-0000-4000-8000-000000000000";
  const arn = `arn:aws:kms:${region}:${account}:key/${absent}`;
  await assert.rejects(call("DescribeKey", { KeyId: absent }), {
    name: "NotFoundException",
    message: `Key '${arn}' does not exist`,
  });
  await assert.rejects(call("DescribeKey", { KeyId: "x" }), { message: "Invalid keyId 'x'" });
  await assert.rejects(call("Decrypt", { CiphertextBlob: bytes("garbage") }), (error) => {
    assert.ok(error instanceof kmsClient.InvalidCiphertextException);
    assert.equal(error.$metadata.httpStatusCode, 400);
    assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/);
    return true;
  });
  await assert.rejects(call("GenerateRandom", { NumberOfBytes: 1025 }), {
    name: "ValidationException",
    message:
      "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: " +
      "Member must have value less than or equal to 1024",
  });
  await assert.rejects(call("Encrypt", { KeyId, Plaintext: new Uint8Array(4097) }), { name: "ValidationException" });
  await assert.rejects(call("TagResource", { KeyId, Tags: [{ TagKey: "aws:a", TagValue: "" }] }), {
    name: "TagException",
  });
});

test("lists are read page by page", async () => {
  const { KeyId } = await newKey();
  const names = [];
  for (let index = 0; index < 5; index += 1) {
    names.push(`alias/javascript-${randomUUID()}`);
    await call("CreateAlias", { AliasName: names.at(-1), TargetKeyId: KeyId });
  }
  const client = new kmsClient.KMSClient({ region });
  const found = [];
  for await (const page of kmsClient.paginateListAliases({ client, pageSize: 2 }, { KeyId })) {
    assert.ok(page.Aliases.length <= 2);
    found.push(...page.Aliases.map((alias) => alias.AliasName));
  }
  assert.deepEqual(found.sort(), names.sort());
});

test("a role has what a grant gives", async () => {
  const sts = new STSClient({ region });
  assert.equal((await sts.send(new GetCallerIdentityCommand({}))).Account, account);
  const { Credentials } = await sts.send(new AssumeRoleCommand({ RoleArn: role, RoleSessionName: "javascript" }));
  assert.ok(Credentials.Expiration > new Date());
  const asRole = caller({
    credentials: {
      accessKeyId: Credentials.AccessKeyId,
      secretAccessKey: Credentials.SecretAccessKey,
      sessionToken: Credentials.SessionToken,
    },
  });
  const { KeyId } = await newKey();
  const encrypt = () => asRole("Encrypt", { KeyId, Plaintext: bytes("x") });
  await assert.rejects(encrypt(), { name: "AccessDeniedException" });
  const { GrantId } = await call("CreateGrant", { KeyId, GranteePrincipal: role, Operations: ["Encrypt"] });
  await encrypt();
  await call("RevokeGrant", { KeyId, GrantId });
  await assert.rejects(encrypt(), { name: "AccessDeniedException" });
});
