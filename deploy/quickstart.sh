#!/usr/bin/env bash
# Builds Holdfast, provisions a folder and runs the daemon in the foreground until Ctrl-C.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: deploy/quickstart.sh [--dir DIR] [--port-base N] [--account-id ID] [--provision-only]

  --dir DIR         the folder for token, keys, certificates and configuration (default: ./.holdfast)
  --port-base N     the first of five ports: XKS proxy, with mTLS, KMS API twice, admin (default: 8440)
  --account-id ID   the AWS account of the caller in DIR/env (default: 123456789012)
  --provision-only  do not run the daemon

A second run keeps everything in the folder.
TEXT
}

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

usage_error() {
    usage >&2
    echo "quickstart: $*" >&2
    exit 2
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/requirements.sh
. "$root/deploy/requirements.sh"

dir=$PWD/.holdfast
port_base=8440
account_id=123456789012
provision_only=false

while (($# > 0)); do
    case $1 in
        --dir | --port-base | --account-id)
            (($# >= 2)) || usage_error "$1 needs a value"
            case $1 in
                --dir) dir=$2 ;;
                --port-base) port_base=$2 ;;
                --account-id) account_id=$2 ;;
            esac
            shift 2
            ;;
        --provision-only)
            provision_only=true
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) usage_error "unknown option $1" ;;
    esac
done
[[ $dir == /* ]] || dir=$PWD/$dir
if ! [[ $port_base =~ ^[1-9][0-9]{0,4}$ ]] || ((port_base > 65531)); then
    usage_error '--port-base is a number of 1 to 65531'
fi
[[ $account_id =~ ^[0-9]{12}$ ]] || usage_error '--account-id is twelve digits'

refuse_ports_in_use() {
    local offset port
    for offset in 0 1 2 3 4; do
        port=$((port_base + offset))
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            fail "port $port is in use; stop what listens there, or move all five ports with --port-base"
        fi
    done
}

# Runs beside the daemon, whose process has the id $1, until there is something to say.
announce_when_ready() {
    local daemon=$1 env_file
    env_file=$(printf '%q' "$dir/env")
    # shellcheck disable=SC1091
    . "$dir/env"
    until curl --silent --fail --noproxy localhost --output /dev/null "$HOLDFAST_ADMIN_URL/readyz"; do
        kill -0 "$daemon" 2>/dev/null || return 0
        sleep 0.2
    done
    cat <<TEXT

Holdfast is ready.
  XKS proxy            https://$XKS_PROXY_HOST/$URI_PREFIX/kms/xks/v1
  XKS proxy with mTLS  https://$XKS_PROXY_HOST_MTLS/$URI_PREFIX/kms/xks/v1
  KMS API and STS      $AWS_ENDPOINT_URL_KMS and $HOLDFAST_KMS_HTTP
  metrics              $HOLDFAST_ADMIN_URL/metrics
  for your shell       . $env_file

Make a key with the AWS CLI, or any AWS SDK: . $env_file; aws kms create-key

Encrypt with the key "$KEY_ID" of the XKS proxy, from any shell:

(. $env_file && curl --silent --show-error --noproxy localhost --cacert "\$HOLDFAST_CA" --aws-sigv4 "aws:amz:\$REGION:kms-xks-proxy" --user "\$SIGV4_ACCESS_KEY_ID:\$SIGV4_SECRET_ACCESS_KEY" --header 'Content-Type: application/json' --data '{"requestMetadata":{"awsPrincipalArn":"arn:aws:iam::$account_id:user/me","kmsKeyArn":"arn:aws:kms:us-east-1:$account_id:key/quickstart","kmsOperation":"Encrypt","kmsRequestId":"quickstart-1"},"plaintext":"SGVsbG8sIEhTTSE=","encryptionAlgorithm":"AES_GCM"}' "https://\$XKS_PROXY_HOST/\$URI_PREFIX/kms/xks/v1/keys/\$KEY_ID/encrypt"; echo)

TEXT
}

export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
command -v cargo >/dev/null || fail 'Rust is missing; https://rustup.rs installs it'

missing=()
has_softhsm || missing+=('softhsm2' 'a PKCS#11 token in software, which stands in for your HSM')
has_c_compiler || missing+=('gcc libc6-dev' 'a C compiler, for the cryptography library behind TLS')
command -v curl >/dev/null || missing+=('curl' 'sends the first request')
install_packages "${missing[@]}"

$provision_only || refuse_ports_in_use

target=${CARGO_TARGET_DIR:-$root/target}
cargo build --release --locked --manifest-path "$root/Cargo.toml" --package holdfast --bin holdfast --target-dir "$target"
holdfast=$target/release/holdfast

"$holdfast" provision --dir "$dir" --port-base "$port_base" --account-id "$account_id"
if $provision_only; then
    exit 0
fi

# Not a child of the daemon, which takes the place of this shell and would never wait for it.
(announce_when_ready $$ &)
exec "$holdfast" serve --config "$dir/holdfast.toml"
