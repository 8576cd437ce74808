#!/usr/bin/env bash
# Everything that must be right before a change is done: formatting, lints, all tests, scripts, licences.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/requirements.sh
. deploy/requirements.sh

step() {
    printf '\n== %s\n' "$*"
}

step 'what the tests need'
missing=()
command -v softhsm2-util >/dev/null || missing+=('softhsm2' 'the token of the integration tests')
command -v certutil >/dev/null || missing+=('libnss3 libnss3-tools' 'another token of the integration tests')
command -v pkcsslotd >/dev/null || missing+=('opencryptoki' 'a token that must be refused')
command -v curl >/dev/null || missing+=('curl' 'the client of the quick start')
command -v openssl >/dev/null || missing+=('openssl' 'looks at certificates with other eyes')
command -v shellcheck >/dev/null || missing+=('shellcheck' 'lints the scripts')
has_c_compiler || missing+=('gcc libc6-dev' 'a C compiler, for the cryptography library behind TLS')
install_packages "${missing[@]}"
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
rustc --version

step 'formatting'
cargo fmt --all --check

step 'scripts'
shellcheck --external-sources deploy/*.sh deploy/ci/*.sh deploy/debian/*.sh deploy/debian/{postinst,prerm,postrm} \
    tests/*.sh tests/clients/*.sh tests/differential/*.sh tests/docs/*.sh tests/fuzz/*.sh tests/kryoptic/*.sh \
    tests/packaging/*.sh tests/prometheus/*.sh tests/recovery/*.sh tests/tokens/*.sh .ci/run

step 'lints'
cargo clippy --workspace --all-targets --locked -- -D warnings

step 'a token of PKCS #11 3.2 for the tests'
tests/kryoptic/build.sh
export HOLDFAST_KRYOPTIC_REQUIRED=1 HOLDFAST_TOKENS_REQUIRED=1

step 'tests'
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-fail-fast
else
    cargo test --workspace --lib --bins --tests --locked --no-fail-fast
fi

step 'documentation tests'
cargo test --workspace --doc --locked

if cargo deny --version >/dev/null 2>&1; then
    step 'licences and sources of dependencies'
    cargo deny --locked check bans licenses sources
fi

step 'HSMs that fail under load'
before=$SECONDS
tests/chaos/run.sh --short
tests/soak/run.sh --minutes 1 --rate 200 --kms-rate 40
printf 'Chaos and soak took %s s.\n' "$((SECONDS - before))"

step 'a disaster, and recovery'
before=$SECONDS
tests/recovery/run.sh
printf 'The drills took %s s.\n' "$((SECONDS - before))"

step 'clients of the KMS API'
before=$SECONDS
tests/clients/run.sh
printf 'The clients took %s s.\n' "$((SECONDS - before))"

step 'package, unit, manifests, recipe for pipelines'
before=$SECONDS
tests/packaging/run.sh
printf 'Packaging took %s s.\n' "$((SECONDS - before))"

step 'decisions of another evaluator of policies'
before=$SECONDS
tests/differential/run.sh
printf 'The comparison took %s s.\n' "$((SECONDS - before))"

step 'the book, its links, and the tutorial'
before=$SECONDS
tests/docs/run.sh
printf 'The documentation took %s s.\n' "$((SECONDS - before))"

step 'alerts'
before=$SECONDS
tests/prometheus/run.sh
printf 'The alerts took %s s.\n' "$((SECONDS - before))"

step 'all is right'
