#!/usr/bin/env bash
# Rules, dashboards and metrics judged by promtool, and real faults injected into daemons that a real Prometheus watches.
# HOLDFAST_BINARY names a daemon that is built already; the shim is built beside it.
# Usage: tests/prometheus/run.sh [--rules-only]
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
# shellcheck source=deploy/requirements.sh
. "$root/deploy/requirements.sh"
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" PYTHONDONTWRITEBYTECODE=1
port_base=${HOLDFAST_PORT_BASE:-19100}

missing=()
command -v prometheus >/dev/null || missing+=('prometheus' 'watches the daemons, and promtool judges the rules')
command -v python3 >/dev/null || missing+=('python3' 'injects the faults')
command -v openssl >/dev/null || missing+=('openssl' 'makes certificates that expire soon')
has_softhsm || missing+=('softhsm2' 'the token of the daemons')
install_packages "${missing[@]}"

cd "$root/deploy/prometheus"
promtool check config prometheus.yml >/dev/null
promtool check rules rules/*.yml >/dev/null
printf "%s\0" tests/*.test.yml | xargs -0 -n 1 -P 2 promtool test rules
python3 "$root/deploy/grafana/dashboards.py" --check
if [[ ${1:-} == --rules-only ]]; then
    exit 0
fi

target=${CARGO_TARGET_DIR:-$root/target}
programs=$(mktemp -d)
work=$(mktemp -d)
trap 'rm -rf "$programs" "$work"' EXIT
if [[ -z ${HOLDFAST_BINARY:-} ]]; then
    cargo build --locked --quiet --manifest-path "$root/Cargo.toml" --package holdfast --bin holdfast
    HOLDFAST_BINARY=$target/debug/holdfast
fi
cargo build --locked --quiet --manifest-path "$root/Cargo.toml" --package pkcs11-shim
ln -s "$(realpath "$HOLDFAST_BINARY")" "$programs/holdfast"
ln -s "$target/debug/libpkcs11_shim.so" "$programs/libpkcs11_shim.so"
# Alerts within seconds are judged on a machine that may be busy: what fails is tried once more, and said.
if ! timeout 300 python3 "$here/live.py" "$programs" "$work" "$port_base"; then
    echo 'prometheus: tried once more' >&2
    rm -rf "$work"
    mkdir "$work"
    timeout 300 python3 "$here/live.py" "$programs" "$work" "$port_base"
fi
