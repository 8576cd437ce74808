#!/usr/bin/env bash
# Tests with the clients that people use, against a daemon of its own: AWS CLI, boto3, AWS Encryption SDK, SDKs for
# JavaScript and Rust. HOLDFAST_BINARY names a daemon that is built already.
# Usage: tests/clients/run.sh [suite…]      suites: cli boto3 kinds-of-keys encryption-sdk javascript rust
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
# shellcheck source=deploy/requirements.sh
. "$root/deploy/requirements.sh"
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
cache=${CARGO_TARGET_DIR:-$root/target}/clients
mkdir -p "$cache"

say() {
    printf -- '-- %s\n' "$*"
}

# same_as_last_time STAMP FILE...: whether what is in the cache was made from these files.
same_as_last_time() {
    local stamp=$1
    shift
    [[ -f $stamp ]] && cat "$@" | cmp --silent - "$stamp"
}

prepare_python() {
    local requirements=$here/python/requirements.txt
    same_as_last_time "$cache/python/stamp" "$requirements" && return
    command -v python3 >/dev/null || install_packages 'python3 python3-venv' 'boto3, AWS CLI, AWS Encryption SDK'
    rm -rf "$cache/python"
    if ! python3 -m venv "$cache/python"; then
        rm -rf "$cache/python"
        install_packages python3-venv 'keeps the Python clients apart from the system'
        python3 -m venv "$cache/python"
    fi
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$cache/python/stamp"
}

# Fails if there is no Node.js here and none can be installed.
has_javascript() {
    command -v npm >/dev/null && return
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        return 1
    fi
    (install_packages 'nodejs npm' 'the AWS SDK for JavaScript')
}

prepare_javascript() {
    local from=("$here/javascript/package.json" "$here/javascript/package-lock.json")
    if ! same_as_last_time "$cache/javascript/stamp" "${from[@]}"; then
        rm -rf "$cache/javascript"
        mkdir -p "$cache/javascript"
        cp "${from[@]}" "$cache/javascript/"
        npm ci --prefix "$cache/javascript" --no-audit --no-fund --loglevel error
        cat "${from[@]}" >"$cache/javascript/stamp"
    fi
    cp "$here"/javascript/*.test.mjs "$cache/javascript/"
}

build_daemon() {
    if [[ -n ${HOLDFAST_BINARY:-} ]]; then
        binary=$(realpath -- "$HOLDFAST_BINARY")
        return
    fi
    cargo build --locked --manifest-path "$root/Cargo.toml" --package holdfast --bin holdfast
    binary=${CARGO_TARGET_DIR:-$root/target}/debug/holdfast
}

# Five in a row, below those that the system gives to clients.
free_ports() {
    local base offset
    while true; do
        base=$((10000 + RANDOM % 20000))
        for offset in 0 1 2 3 4; do
            if (exec 3<>"/dev/tcp/127.0.0.1/$((base + offset))") 2>/dev/null; then
                continue 2
            fi
        done
        echo "$base"
        return
    done
}

daemon=
folder=$(mktemp -d)
stop() {
    if [[ -n $daemon ]]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap stop EXIT

# A role that may do nothing by itself, and a role and a user that may do little: what policies and grants are for.
declare_identities() {
    cat >>"$folder/accounts.toml" <<TOML

[[role]]
account = "123456789012"
name = "application"
trust_policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"sts:AssumeRole"}}'

[[role]]
account = "123456789012"
name = "auditor"
trust_policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/admin"},"Action":"sts:AssumeRole"}}'
[role.policies]
look = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["kms:Describe*","kms:List*","kms:Get*"],"Resource":"*"}}'

[[role]]
account = "123456789012"
name = "guarded"
managed_policies = ["AWSKeyManagementServicePowerUser"]
trust_policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/operator"},"Action":"sts:AssumeRole","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}}'

[[user]]
account = "123456789012"
name = "operator"
mfa_secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
managed_policies = ["AWSKeyManagementServicePowerUser"]
access_key = [{ access_key_id = "AKIAOPERATOROPERATOR", secret_access_key = "operator-secret-operator-secret" }]
TOML
}

start_daemon() {
    local tries
    "$binary" provision --dir "$folder" --port-base "$(free_ports)" --account-id 123456789012
    declare_identities
    "$binary" serve --config "$folder/holdfast.toml" >"$folder/log" 2>&1 &
    daemon=$!
    set -a
    # shellcheck disable=SC1091
    . "$folder/env"
    set +a
    for tries in {1..300}; do
        if curl --silent --fail --noproxy '*' --output /dev/null "$HOLDFAST_ADMIN_URL/readyz"; then
            return
        fi
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 40 "$folder/log" >&2
    echo "clients: the daemon is not ready ($tries)" >&2
    exit 1
}

# What is in the shell of whoever runs this must not reach the clients.
forget_settings() {
    local name
    while read -r name; do
        unset "$name"
    done < <(compgen -e | grep -E '^AWS_')
    export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
    export AWS_PAGER='' AWS_MAX_ATTEMPTS=3 NO_PROXY='*' no_proxy='*'
    export PYTHONDONTWRITEBYTECODE=1
}

run_pytest() {
    "$cache/python/bin/python" -m pytest --quiet --tb=short -p no:cacheprovider --rootdir "$here/python" "$@"
}

# Called in a subshell of its own.
run_suite() {
    case $1 in
        cli) PATH="$cache/python/bin:$PATH" "$here/cli.sh" ;;
        boto3) run_pytest "$here/python/kms" ;;
        kinds-of-keys) run_pytest "$here/python/kinds_of_keys" ;;
        encryption-sdk) run_pytest "$here/python/encryption_sdk" ;;
        javascript)
            if has_javascript; then
                prepare_javascript
                cd "$cache/javascript"
                node --test --test-reporter=spec
            else
                echo 'SKIPPED: no Node.js on this machine, and it cannot be installed'
            fi
            ;;
        rust)
            CARGO_TARGET_DIR=$cache/rust cargo run --quiet --manifest-path "$here/rust/Cargo.toml"
            ;;
        *)
            echo "clients: unknown suite $1" >&2
            return 1
            ;;
    esac
}

suites=("$@")
((${#suites[@]} > 0)) || suites=(cli boto3 kinds-of-keys encryption-sdk javascript rust)
forget_settings
prepare_python
build_daemon
start_daemon
export HOLDFAST_KEY_STATES=$root/tests/golden/key_states.txt
export HOLDFAST_TEST_ROLE_ARN=arn:aws:iam::$HOLDFAST_ACCOUNT_ID:role/application
export HOLDFAST_TEST_BINARY=$binary HOLDFAST_TEST_FOLDER=$folder
export HOLDFAST_AUDITOR_ROLE_ARN=arn:aws:iam::$HOLDFAST_ACCOUNT_ID:role/auditor
failed=()
for suite in "${suites[@]}"; do
    say "$suite"
    before=$SECONDS
    # Not a condition: there, nothing in the function would end it.
    set +e
    (
        set -e
        run_suite "$suite"
    )
    status=$?
    set -e
    ((status == 0)) || failed+=("$suite")
    say "$suite: $((SECONDS - before)) s"
    if ! kill -0 "$daemon" 2>/dev/null; then
        failed+=('the daemon ended')
        break
    fi
done
if ((${#failed[@]} > 0)); then
    # Lines about refused requests are what the suites are for.
    grep -E '"level":"(ERROR|WARN)"| (ERROR|WARN) ' "$folder/log" | tail -n 20 >&2 || true
    printf 'clients: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
say 'all clients are well'
