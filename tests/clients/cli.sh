#!/usr/bin/env bash
# The AWS CLI over HTTPS: the life of a key as a person types it, errors with their texts and exit codes.
# Called by run.sh, which sets the environment.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
checks=0

fail() {
    printf 'cli: line %s: %s\n' "${BASH_LINENO[1]}" "$*" >&2
    exit 1
}

# get COMMAND... QUERY: one value of an answer.
get() {
    aws --output text "${@:1:$#-1}" --query "${*: -1}"
}

# is EXPECTED ACTUAL
is() {
    checks=$((checks + 1))
    [[ $2 == "$1" ]] || fail "expected «$1», got «$2»"
}

# What the CLI says for errors of the service.
exit_code=254
[[ $(aws --version) != aws-cli/1.* ]] || exit_code=255

# refused CODE OPERATION TEXT COMMAND...: the whole message on standard error.
refused() {
    local code=$1 operation=$2 text=$3 status=0 message
    shift 3
    message=$(aws "$@" 2>&1 >/dev/null) || status=$?
    is "$exit_code" "$status"
    # Newer versions put their own words before the message.
    message=${message#$'\n'}
    message=${message#aws: \[ERROR\]: }
    is "An error occurred ($code) when calling the $operation operation: $text" "$message"
}

arn=arn:aws:kms:$AWS_DEFAULT_REGION:$HOLDFAST_ACCOUNT_ID

# Who am I
is "$HOLDFAST_ACCOUNT_ID" "$(get sts get-caller-identity Account)"
is "arn:aws:iam::$HOLDFAST_ACCOUNT_ID:user/admin" "$(get sts get-caller-identity Arn)"

# A key with everything
cat >policy.json <<JSON
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::$HOLDFAST_ACCOUNT_ID:root"},
 "Action": "kms:*", "Resource": "*"}]}
JSON
key=$(get kms create-key --description 'from the shell' --policy file://policy.json \
    --tags TagKey=team,TagValue=blue TagKey=stage,TagValue=test KeyMetadata.KeyId)
is "$arn/$key" "$arn/$(get kms describe-key --key-id "$key" KeyMetadata.KeyId)"
is "$(printf 'from the shell\tEnabled\tSYMMETRIC_DEFAULT\tENCRYPT_DECRYPT\tTrue')" \
    "$(get kms describe-key --key-id "$arn:key/$key" 'KeyMetadata.[Description,KeyState,KeySpec,KeyUsage,Enabled]')"
is "$key" "$(get kms list-keys "Keys[?KeyId=='$key'].KeyId")"
is "$(<policy.json)" "$(get kms get-key-policy --key-id "$key" Policy)"
is default "$(get kms list-key-policies --key-id "$key" PolicyNames)"
aws kms put-key-policy --key-id "$key" --policy-name default --policy file://policy.json
aws kms update-key-description --key-id "$key" --description 'another text'
is 'another text' "$(get kms describe-key --key-id "$key" KeyMetadata.Description)"

# Tags
aws kms tag-resource --key-id "$key" --tags TagKey=stage,TagValue=production
aws kms untag-resource --key-id "$key" --tag-keys team
is "$(printf 'stage\tproduction')" "$(get kms list-resource-tags --key-id "$key" 'Tags[].[TagKey,TagValue]')"

# Aliases
aws kms create-alias --alias-name alias/shell --target-key-id "$key"
is "$arn:alias/shell" "$(get kms list-aliases --key-id "$key" 'Aliases[].AliasArn')"
other=$(get kms create-key KeyMetadata.KeyId)
aws kms create-alias --alias-name alias/shell-other --target-key-id "$other"
aws kms update-alias --alias-name alias/shell-other --target-key-id "$key"
is 2 "$(get kms list-aliases --key-id "$key" 'length(Aliases)')"
aws kms delete-alias --alias-name alias/shell-other

# Encrypt and decrypt, from file to file
head -c 4096 /dev/urandom >plain
get kms encrypt --key-id alias/shell --plaintext fileb://plain --encryption-context a=1,b=2 CiphertextBlob |
    base64 --decode >sealed
get kms decrypt --ciphertext-blob fileb://sealed --encryption-context b=2,a=1 Plaintext | base64 --decode >opened
cmp plain opened || fail 'the plaintext changed'
get kms re-encrypt --ciphertext-blob fileb://sealed --source-encryption-context a=1,b=2 --destination-key-id "$other" \
    CiphertextBlob | base64 --decode >moved
is "$arn:key/$other" "$(get kms decrypt --ciphertext-blob fileb://moved KeyId)"
is 32 "$(get kms generate-data-key --key-id "$key" --key-spec AES_256 Plaintext | base64 --decode | wc -c)"
get kms generate-data-key-without-plaintext --key-id "$key" --number-of-bytes 20 CiphertextBlob | base64 --decode >data-key
is 20 "$(get kms decrypt --ciphertext-blob fileb://data-key Plaintext | base64 --decode | wc -c)"
is 100 "$(get kms generate-random --number-of-bytes 100 Plaintext | base64 --decode | wc -c)"

# Mistakes: the texts that scripts look for
absent=00000000-0000-4000-8000-000000000000
refused NotFoundException DescribeKey "Key '$arn:key/$absent' does not exist" kms describe-key --key-id "$absent"
refused NotFoundException DescribeKey "Invalid keyId 'x'" kms describe-key --key-id x
refused NotFoundException DescribeKey "Alias $arn:alias/nobody is not found." kms describe-key --key-id alias/nobody
refused AlreadyExistsException CreateAlias "An alias with the name $arn:alias/shell already exists" \
    kms create-alias --alias-name alias/shell --target-key-id "$other"
refused InvalidCiphertextException Decrypt '' kms decrypt --ciphertext-blob fileb://sealed
refused ValidationException GenerateDataKey 'Please specify either number of bytes or key spec.' \
    kms generate-data-key --key-id "$key"
refused TagException TagResource 'Tags beginning with aws: are reserved' \
    kms tag-resource --key-id "$key" --tags TagKey=aws:a,TagValue=b
refused ValidationException ScheduleKeyDeletion 'PendingWindowInDays must be between 7 and 30 (inclusive).' \
    kms schedule-key-deletion --key-id "$key" --pending-window-in-days 6
refused NotFoundException DescribeKey "Invalid arn $AWS_DEFAULT_REGION" \
    --region eu-west-1 kms describe-key --key-id "$arn:key/$key"
refused DryRunOperationException Encrypt 'The request would have succeeded, but the DryRun option is set.' \
    kms encrypt --key-id "$key" --plaintext fileb://plain --dry-run

# Off and on
aws kms disable-key --key-id "$key"
refused DisabledException GenerateDataKey "$arn:key/$key is disabled." \
    kms generate-data-key --key-id "$key" --key-spec AES_256
aws kms enable-key --key-id "$key"

# Rotation
aws kms enable-key-rotation --key-id "$key" --rotation-period-in-days 90
is "$(printf 'True\t90')" \
    "$(get kms get-key-rotation-status --key-id "$key" '[KeyRotationEnabled,RotationPeriodInDays]')"
aws kms rotate-key-on-demand --key-id "$key" >/dev/null
is ON_DEMAND "$(get kms list-key-rotations --key-id "$key" 'Rotations[].RotationType')"
aws kms disable-key-rotation --key-id "$key"
is False "$(get kms get-key-rotation-status --key-id "$key" KeyRotationEnabled)"
get kms decrypt --ciphertext-blob fileb://sealed --encryption-context a=1,b=2 Plaintext | base64 --decode | cmp - plain

# A role, and a grant to it
read -r id secret token < <(get sts assume-role --role-arn "$HOLDFAST_TEST_ROLE_ARN" --role-session-name shell \
    'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]')
as_role() {
    AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$secret AWS_SESSION_TOKEN=$token "$@"
}
session=arn:aws:sts::$HOLDFAST_ACCOUNT_ID:assumed-role/application/shell
is "$session" "$(as_role get sts get-caller-identity Arn)"
as_role refused AccessDeniedException Encrypt "User: $session is not authorized to perform: kms:Encrypt on resource: \
$arn:key/$key because no identity-based policy allows the kms:Encrypt action" \
    kms encrypt --key-id "$key" --plaintext fileb://plain
grant=$(get kms create-grant --key-id "$key" --grantee-principal "$HOLDFAST_TEST_ROLE_ARN" --operations Encrypt \
    --name shell GrantId)
is "$arn:key/$key" "$(as_role get kms encrypt --key-id "$key" --plaintext fileb://plain KeyId)"
is "$(printf '%s\tshell' "$grant")" "$(get kms list-grants --key-id "$key" 'Grants[].[GrantId,Name]')"
aws kms revoke-grant --key-id "$key" --grant-id "$grant"
is 0 "$(get kms list-grants --key-id "$key" 'length(Grants)')"

# Pages
for n in 1 2 3 4 5; do
    aws kms create-alias --alias-name "alias/page-$n" --target-key-id "$other"
done
is 5 "$(get kms list-aliases --key-id "$other" --page-size 2 'Aliases[].AliasName' | wc -w)"
# The part of a page that was not shown is in the token.
aws kms list-aliases --key-id "$other" --max-items 2 >first.json
next=$(sed -n 's/.*"NextToken": "\([^"]*\)".*/\1/p' first.json)
[[ -n $next ]] || fail 'there is no NextToken'
is 3 "$(aws kms list-aliases --key-id "$other" --starting-token "$next" | grep -c '"AliasName"')"

# Other kinds of keys, with the OpenSSL command line on the other side
printf 'a message' >message
signing=$(get kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY KeyMetadata.KeyId)
get kms get-public-key --key-id "$signing" PublicKey | base64 --decode >public.der
get kms sign --key-id "$signing" --message fileb://message --signing-algorithm ECDSA_SHA_256 Signature | base64 --decode >signature
is 'Verified OK' "$(openssl dgst -sha256 -keyform DER -verify public.der -signature signature message)"
is True "$(get kms verify --key-id "$signing" --message fileb://message --signature fileb://signature \
    --signing-algorithm ECDSA_SHA_256 SignatureValid)"
printf 'another message' >other-message
refused KMSInvalidSignatureException Verify '' \
    kms verify --key-id "$signing" --message fileb://other-message --signature fileb://signature --signing-algorithm ECDSA_SHA_256
refused InvalidKeyUsageException Encrypt "$arn:key/$signing key usage is SIGN_VERIFY which is not valid for Encrypt." \
    kms encrypt --key-id "$signing" --plaintext fileb://message
rsa=$(get kms create-key --key-spec RSA_2048 --key-usage ENCRYPT_DECRYPT KeyMetadata.KeyId)
get kms get-public-key --key-id "$rsa" PublicKey | base64 --decode >public.der
openssl pkeyutl -encrypt -pubin -keyform DER -inkey public.der -in message -out sealed-message \
    -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
get kms decrypt --key-id "$rsa" --ciphertext-blob fileb://sealed-message --encryption-algorithm RSAES_OAEP_SHA_256 Plaintext |
    base64 --decode | cmp - message

# The example of docs/how-to/imported-key-material.md
imported=$(get kms create-key --origin EXTERNAL --key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC KeyMetadata.KeyId)
refused KMSInvalidStateException GenerateMac "$arn:key/$imported is pending import." \
    kms generate-mac --key-id "$imported" --mac-algorithm HMAC_SHA_256 --message fileb://message
read -r public token <<<"$(get kms get-parameters-for-import --key-id "$imported" --wrapping-algorithm RSAES_OAEP_SHA_256 \
    --wrapping-key-spec RSA_3072 '[PublicKey,ImportToken]')"
base64 --decode <<<"$public" >wrapping.der
base64 --decode <<<"$token" >import-token
openssl rand -out material 32
openssl pkeyutl -encrypt -pubin -keyform DER -inkey wrapping.der -in material -out wrapped \
    -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
aws kms import-key-material --key-id "$imported" --import-token fileb://import-token --encrypted-key-material fileb://wrapped \
    --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE >/dev/null
is "$(openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(od -An -tx1 material | tr -d ' \n')" -r message | cut -d ' ' -f 1)" \
    "$(get kms generate-mac --key-id "$imported" --mac-algorithm HMAC_SHA_256 --message fileb://message Mac |
        base64 --decode | od -An -tx1 | tr -d ' \n')"
aws kms delete-imported-key-material --key-id "$imported" >/dev/null
is PendingImport "$(get kms describe-key --key-id "$imported" KeyMetadata.KeyState)"

# A secret for two, and a key pair that leaves. This CLI does not know ML-KEM yet.
agreeing=$(get kms create-key --key-spec ECC_NIST_P384 --key-usage KEY_AGREEMENT KeyMetadata.KeyId)
get kms get-public-key --key-id "$agreeing" PublicKey | base64 --decode | openssl pkey -pubin -inform DER -out public.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out peer.pem
openssl pkey -in peer.pem -pubout -outform DER -out peer.der
is "$(openssl pkeyutl -derive -inkey peer.pem -peerkey public.pem | base64 --wrap 0)" \
    "$(get kms derive-shared-secret --key-id "$agreeing" --key-agreement-algorithm ECDH --public-key fileb://peer.der SharedSecret)"
get kms generate-data-key-pair --key-id "$key" --key-pair-spec ECC_NIST_P384 '[PrivateKeyPlaintext,PublicKey]' >pair
cut -f 1 pair | base64 --decode >private.der
is "$(cut -f 2 pair)" "$(openssl pkey -inform DER -in private.der -pubout -outform DER | base64 --wrap 0)"

# An external key store over the proxy beside it. Version 1 of the CLI fetches what looks like a URL, so the request is
# in a file; --cli-input-json is taken as it is.
state() {
    get kms describe-custom-key-stores --custom-key-store-id "$store" \
        "CustomKeyStores[].[ConnectionState,ConnectionErrorCode || '-']"
}
# settled COMMAND: the state after it.
settled() {
    aws kms "$1" --custom-key-store-id "$store"
    while [[ $(state) == *ING* ]]; do sleep 0.1; done
    state
}
cat >store.json <<JSON
{"CustomKeyStoreName": "shell", "CustomKeyStoreType": "EXTERNAL_KEY_STORE", "XksProxyConnectivity": "PUBLIC_ENDPOINT",
 "XksProxyUriEndpoint": "https://$XKS_PROXY_HOST", "XksProxyUriPath": "/$URI_PREFIX/kms/xks/v1",
 "XksProxyAuthenticationCredential": {"AccessKeyId": "$SIGV4_ACCESS_KEY_ID",
  "RawSecretAccessKey": "$SIGV4_SECRET_ACCESS_KEY"}}
JSON
store=$(get kms create-custom-key-store --cli-input-json file://store.json CustomKeyStoreId)
is "$(printf 'DISCONNECTED\t-')" "$(state)"
is "$(printf 'CONNECTED\t-')" "$(settled connect-custom-key-store)"
outside=$(get kms create-key --origin EXTERNAL_KEY_STORE --custom-key-store-id "$store" --xks-key-id "$KEY_ID" \
    KeyMetadata.KeyId)
is "$KEY_ID" "$(get kms describe-key --key-id "$outside" KeyMetadata.XksKeyConfiguration.Id)"
refused XksKeyAlreadyInUseException CreateKey \
    'The external key is already associated with another KMS key in this external key store.' \
    kms create-key --origin EXTERNAL_KEY_STORE --custom-key-store-id "$store" --xks-key-id "$KEY_ID"
get kms encrypt --key-id "$outside" --plaintext fileb://plain CiphertextBlob | base64 --decode >sealed-outside
get kms decrypt --ciphertext-blob fileb://sealed-outside Plaintext | base64 --decode | cmp - plain
is "$(printf 'DISCONNECTED\t-')" "$(settled disconnect-custom-key-store)"
is Unavailable "$(get kms describe-key --key-id "$outside" KeyMetadata.KeyState)"
refused KMSInvalidStateException Decrypt 'This KMS key is in a custom key store that is not connected to its external key '\
'store proxy. Connect the external key store and try the request again.' \
    kms decrypt --ciphertext-blob fileb://sealed-outside
aws kms update-custom-key-store --custom-key-store-id "$store" --new-custom-key-store-name 'another name'
is 'another name' "$(get kms describe-custom-key-stores --custom-key-store-id "$store" 'CustomKeyStores[].CustomKeyStoreName')"
aws kms schedule-key-deletion --key-id "$outside" --pending-window-in-days 7 >/dev/null
refused CustomKeyStoreHasCMKsException DeleteCustomKeyStore \
    'The custom key store contains KMS keys. Schedule their deletion, and delete it when they are gone.' \
    kms delete-custom-key-store --custom-key-store-id "$store"

# The end of a key: a week in a second
is PendingDeletion "$(get kms schedule-key-deletion --key-id "$key" --pending-window-in-days 7 KeyState)"
refused KMSInvalidStateException Encrypt "$arn:key/$key is pending deletion." \
    kms encrypt --key-id "$key" --plaintext fileb://plain
is "$arn:key/$key" "$(get kms cancel-key-deletion --key-id "$key" KeyId)"
is Disabled "$(get kms describe-key --key-id "$key" KeyMetadata.KeyState)"
aws kms schedule-key-deletion --key-id "$key" --pending-window-in-days 7 >/dev/null
curl --silent --show-error --fail --noproxy '*' --output /dev/null --request POST "$HOLDFAST_ADMIN_URL/dev/clock?advance=8d"
refused NotFoundException DescribeKey "Key '$arn:key/$key' does not exist" kms describe-key --key-id "$key"
refused NotFoundException DescribeKey "Alias $arn:alias/shell is not found." kms describe-key --key-id alias/shell
is '' "$(get kms list-keys "Keys[?KeyId=='$key'].KeyId")"
aws kms delete-custom-key-store --custom-key-store-id "$store"
is 0 "$(get kms describe-custom-key-stores 'length(CustomKeyStores)')"

printf 'cli: %s checks\n' "$checks"
