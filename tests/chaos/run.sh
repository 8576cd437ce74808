#!/usr/bin/env bash
# Breaks HSMs under load and judges what clients notice of it: hangs, kills, crashes, corrupt answers, floods.
# HOLDFAST_BINARY names a daemon that is built already.
# Usage: tests/chaos/run.sh [--short] [option…] [scenario…]
#   --short    five seconds each, with a build for development: what CI runs
#   else       60 seconds each, with a release build, and bounds as they stand
#   options    of `chaos run`: --isolation thread|process, --seconds, --rate, --kms-rate, --retries
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/chaos/build.sh
. "$here/build.sh"

if [[ ${1:-} == --short ]]; then
    shift
    build dev
    exec "$programs/chaos" run --seconds 5 --retries 2 "${common[@]}" "$@"
fi
build release
exec "$programs/chaos" run --strict "${common[@]}" "$@"
