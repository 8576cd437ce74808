#!/usr/bin/env bash
# Compares the decisions of `holdfast policy simulate` with those of another evaluator of IAM policies, which is
# installed from its registry and never part of this repository. HOLDFAST_BINARY names a program that is built already.
# Usage: tests/differential/run.sh [--cases N] [--seed N] [--shrink N]
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
# shellcheck source=deploy/requirements.sh
. "$root/deploy/requirements.sh"
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
cache=${CARGO_TARGET_DIR:-$root/target}/differential
mkdir -p "$cache"

command -v npm >/dev/null || install_packages 'nodejs npm' 'the other evaluator of policies'
if ! cat "$here"/package.json "$here"/package-lock.json | cmp --silent - "$cache/stamp"; then
    rm -rf "$cache/node_modules"
    cp "$here/package.json" "$here/package-lock.json" "$cache/"
    npm ci --prefix "$cache" --no-audit --no-fund --loglevel error
    cat "$here"/package.json "$here"/package-lock.json >"$cache/stamp"
fi
cp "$here"/*.mjs "$cache/"

binary=${HOLDFAST_BINARY:-}
if [[ -z $binary ]]; then
    cargo build --locked --manifest-path "$root/Cargo.toml" --package holdfast --bin holdfast
    binary=${CARGO_TARGET_DIR:-$root/target}/debug/holdfast
fi
binary=$(realpath -- "$binary")
node "$cache/documents.mjs" "$binary"
node "$cache/differential.mjs" "$binary" "$@"
