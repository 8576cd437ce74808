#!/usr/bin/env bash
# A disaster drill: backs an installation up, loses it, restores it to another folder with the same token, and proves
# that what was encrypted before can be decrypted.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: deploy/drill.sh [--installation DIR] [--program FILE] [--port-base N] [--seconds-max N]

  --installation DIR  the folder of a quick start whose daemon runs: it goes on, and its backup is brought to life
                      beside it. Three keys are made there, and scheduled for deletion at the end, also of a drill that
                      fails. Without it, an installation is made, killed and destroyed.
  --program FILE      the program (default: target/release/holdfast, else the one of PATH)
  --port-base N       the first of five ports that are free (default: 9210)
  --seconds-max N     longest time from the loss to the first request that succeeds (default: 60)

Ends with 0 if every step succeeded. The last line says how long recovery took.
TEXT
}

fail() {
    echo "drill: FAILED: $*" >&2
    if [[ -n ${log:-} && -f $log ]]; then
        tail -n 5 "$log" >&2
    fi
    exit 1
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
installation=
program=$root/target/release/holdfast
[[ -x $program ]] || program=$(command -v holdfast || echo "$program")
port_base=9210
seconds_max=60
while (($# > 0)); do
    case $1 in
        --installation | --program | --port-base | --seconds-max)
            (($# >= 2)) || fail "$1 needs a value"
            case $1 in
                --installation) installation=$(cd -- "$2" && pwd) ;;
                --program) program=$2 ;;
                --port-base) port_base=$2 ;;
                --seconds-max) seconds_max=$2 ;;
            esac
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            usage >&2
            fail "unknown option $1"
            ;;
    esac
done
[[ $port_base =~ ^[1-9][0-9]{0,4}$ ]] || fail '--port-base is a number'
[[ $seconds_max =~ ^[1-9][0-9]{0,4}$ ]] || fail '--seconds-max is a number'
[[ -x $program ]] || fail "there is no program $program: build it, or name it with --program"
command -v curl >/dev/null || fail 'curl is missing'

umask 077
work=$(mktemp -d)
daemon=
# Keys that were made in an installation that goes on.
guests=()
end() {
    if ((${#guests[@]} > 0)); then
        kms_url=$HOLDFAST_KMS_HTTP
        for key in "${guests[@]}"; do
            answer=$(kms ScheduleKeyDeletion "{\"KeyId\":\"$key\",\"PendingWindowInDays\":7}" || true)
            [[ $answer == *DeletionDate* ]] || echo "drill: key $key stays: schedule it for deletion" >&2
        done
    fi
    if [[ -n $daemon ]]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap end EXIT

step() {
    printf 'drill: %s\n' "$*"
}

# The configuration of the installation that is in use now, and where it answers.
config=
kms_url=
admin_url=
log=

serve() {
    log=$work/$1.log
    "$program" serve --config "$config" >"$log" 2>&1 &
    daemon=$!
    local tries=0
    until curl --silent --fail --noproxy '*' --output /dev/null "$admin_url/readyz"; do
        kill -0 "$daemon" 2>/dev/null || fail 'the daemon ended'
        ((++tries < 300)) || fail 'the daemon does not become ready'
        sleep 0.1
    done
}

# kms OPERATION JSON: the secret goes in through a file descriptor, so that no process list shows it.
kms() {
    curl --silent --show-error --noproxy '*' --aws-sigv4 "aws:amz:$AWS_DEFAULT_REGION:kms" \
        --config <(printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY") \
        --header 'Content-Type: application/x-amz-json-1.1' --header "X-Amz-Target: TrentService.$1" \
        --data "$2" "$kms_url/"
}

# member NAME JSON: a text of an answer.
member() {
    local text
    text=$(sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$2")
    [[ -n $text ]] || fail "no $1 in the answer: $2"
    printf '%s' "$text"
}

new_key() {
    member KeyId "$(kms CreateKey "$1")"
}

# is_guest KEY: it does not stay in an installation that goes on. The copy of it is thrown away with all that is in it.
is_guest() {
    if [[ -n $installation ]]; then
        guests+=("$1")
    fi
}

read_env() {
    # shellcheck disable=SC1091
    . "$1/env"
    kms_url=$HOLDFAST_KMS_HTTP
    admin_url=$HOLDFAST_ADMIN_URL
}

if [[ -n $installation ]]; then
    step "using the installation in $installation"
    before=$installation
    config=$before/holdfast.toml
    read_env "$before"
    curl --silent --fail --noproxy '*' --output /dev/null "$admin_url/readyz" || fail 'its daemon is not ready'
else
    step 'making an installation'
    before=$work/before
    "$program" provision --dir "$before" --port-base "$port_base" >"$work/provision.log"
    config=$before/holdfast.toml
    read_env "$before"
    serve before
fi

step 'encrypting with keys of several kinds'
plaintext=$(printf 'what must not be lost' | base64)
symmetric=$(new_key '{"Description":"disaster drill"}')
is_guest "$symmetric"
old=$(member CiphertextBlob "$(kms Encrypt "{\"KeyId\":\"$symmetric\",\"Plaintext\":\"$plaintext\"}")")
kms RotateKeyOnDemand "{\"KeyId\":\"$symmetric\"}" >/dev/null
new=$(member CiphertextBlob "$(kms Encrypt "{\"KeyId\":\"$symmetric\",\"Plaintext\":\"$plaintext\"}")")
mac_key=$(new_key '{"KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}')
is_guest "$mac_key"
mac=$(member Mac "$(kms GenerateMac "{\"KeyId\":\"$mac_key\",\"Message\":\"$plaintext\",\"MacAlgorithm\":\"HMAC_SHA_256\"}")")
signer=$(new_key '{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}')
is_guest "$signer"

step 'backing up'
"$program" backup --config "$config" "$work/kms.db"
# What else an installation is: see docs/how-to/recover.md.
mkdir "$work/files"
(cd "$before" && find . -maxdepth 1 -mindepth 1 ! -name state ! -name tokens -exec cp -r {} "$work/files/" \;)
if [[ -f $before/state/blocked.json ]]; then
    cp "$before/state/blocked.json" "$work/"
fi

after=$work/after
lost=$(date +%s%N)
if [[ -z $installation ]]; then
    step 'losing it: the daemon is killed, the folder of its state is gone'
    kill -KILL "$daemon"
    wait "$daemon" 2>/dev/null || true
    daemon=
    rm -rf "$before/state"
fi

step 'restoring to another folder, with the same token'
cp -r "$work/files" "$after"
config=$after/holdfast.toml
if [[ -n $installation ]]; then
    first=${kms_url##*:}
    first=$((first - 3))
    for offset in 0 1 2 3 4; do
        sed -i "s/\"127.0.0.1:$((first + offset))\"/\"127.0.0.1:$((port_base + offset))\"/" "$config"
    done
    kms_url=http://localhost:$((port_base + 3))
    admin_url=http://localhost:$((port_base + 4))
fi
"$program" restore --config "$config" "$work/kms.db"
if [[ -f $work/blocked.json ]]; then
    cp "$work/blocked.json" "$after/state/"
fi
serve after

step 'proving it'
for blob in "$old" "$new"; do
    answer=$(kms Decrypt "{\"CiphertextBlob\":\"$blob\"}")
    [[ $(member Plaintext "$answer") == "$plaintext" ]] || fail "a ciphertext of before: $answer"
done
recovered=$(date +%s%N)
verified=$(kms VerifyMac "{\"KeyId\":\"$mac_key\",\"Message\":\"$plaintext\",\"MacAlgorithm\":\"HMAC_SHA_256\",\"Mac\":\"$mac\"}")
[[ $verified == *'"MacValid":true'* ]] || fail "a MAC of before: $verified"
signed=$(kms Sign "{\"KeyId\":\"$signer\",\"Message\":\"$plaintext\",\"SigningAlgorithm\":\"ECDSA_SHA_256\"}")
signature=$(member Signature "$signed")
checked=$(kms Verify "{\"KeyId\":\"$signer\",\"Message\":\"$plaintext\",\"SigningAlgorithm\":\"ECDSA_SHA_256\",\"Signature\":\"$signature\"}")
[[ $checked == *'"SignatureValid":true'* ]] || fail "a key pair of before: $checked"

milliseconds=$(((recovered - lost) / 1000000))
((milliseconds <= seconds_max * 1000)) || fail "recovery took $milliseconds ms, more than $seconds_max s"
printf 'drill: passed; recovery took %d.%03d s\n' "$((milliseconds / 1000))" "$((milliseconds % 1000))"
