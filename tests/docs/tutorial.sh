#!/usr/bin/env bash
# Does docs/tutorial.md as it stands there, in a home folder of its own, on ports that nobody has.
# HOLDFAST_BINARY names a daemon that is built already.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
# shellcheck source=deploy/requirements.sh
. "$root/deploy/requirements.sh"
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
target=${CARGO_TARGET_DIR:-$root/target}

missing=()
has_softhsm || missing+=('softhsm2' 'the tokens of the tutorial')
command -v curl >/dev/null || missing+=('curl' 'a client of the tutorial')
command -v openssl >/dev/null || missing+=('openssl' 'makes its certificates')
command -v prometheus >/dev/null || missing+=('prometheus' 'watches its daemon')
command -v python3 >/dev/null || missing+=('python3 python3-venv' 'types its commands')
install_packages "${missing[@]}"

if [[ -n ${HOLDFAST_BINARY:-} ]]; then
    binary=$(realpath -- "$HOLDFAST_BINARY")
else
    cargo build --locked --manifest-path "$root/Cargo.toml" --package holdfast --bin holdfast
    binary=$target/debug/holdfast
fi

# That of tests/clients if it is there already; Debian's needs a hundred packages.
aws=$target/clients/python/bin/aws
if [[ ! -x $aws ]] && ! aws=$(command -v aws); then
    python3 -m venv "$target/docs/aws"
    "$target/docs/aws/bin/pip" install --quiet --disable-pip-version-check awscli
    aws=$target/docs/aws/bin/aws
fi

free_port() {
    local port
    while true; do
        port=$((10000 + RANDOM % 20000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin" "$folder/home"
ln -s "$binary" "$folder/bin/holdfast"
ln -s "$aws" "$folder/bin/aws"
ports=()
for port in 8440 8442 8444 9095; do
    ports+=(--port "$port=$(free_port)")
done
cd "$root"
env --ignore-environment HOME="$folder/home" PATH="$folder/bin:/usr/local/bin:/usr/bin:/bin" LANG=C.UTF-8 \
    TUTORIAL_SHOW="${TUTORIAL_SHOW:-}" python3 "$here/tutorial.py" docs/tutorial.md --skip packages --skip build "${ports[@]}"
