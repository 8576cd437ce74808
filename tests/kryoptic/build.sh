#!/usr/bin/env bash
# Builds kryoptic, the token of PKCS #11 3.2 that tests/suite/kryoptic.rs runs on, into target/kryoptic. Once: some minutes.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/requirements.sh
. deploy/requirements.sh

module=target/kryoptic/release/libkryoptic_pkcs11.so
if [[ -f $module && $module -nt tests/kryoptic/Cargo.lock ]]; then
    exit
fi
missing=()
compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || missing+=('libclang-dev' 'reads the headers of PKCS #11 and OpenSSL')
has_c_compiler || missing+=('gcc libc6-dev' 'a C compiler, for OpenSSL')
command -v perl >/dev/null || missing+=('perl' 'configures OpenSSL')
command -v make >/dev/null || missing+=('make' 'builds OpenSSL')
install_packages "${missing[@]}"
cargo build --manifest-path tests/kryoptic/Cargo.toml --target-dir target/kryoptic --release --locked --package kryoptic
touch "$module"
