#!/usr/bin/env bash
# Breaks HSMs under load and judges what clients notice of it: hangs, kills, crashes, corrupt answers, floods.
# HOLDFAST_BINARY names a daemon that is built already.
# Usage: tests/chaos/run.sh [--short] [option…] [scenario…]
#   --short    four seconds each, with a build for development: what CI runs
#   else       60 seconds each, with a release build, both engines one after the other, and bounds as they stand
#   options    of `chaos run`: --isolation thread|process, --seconds, --rate, --kms-rate, --retries
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/chaos/build.sh
. "$here/build.sh"

if [[ ${1:-} == --short ]]; then
    shift
    build dev
    exec "$programs/chaos" run --seconds 4 --retries 2 "${common[@]}" "$@"
fi
build release
if [[ " $* " == *' --isolation '* ]]; then
    exec "$programs/chaos" run --strict "${common[@]}" "$@"
fi
failed=0
for engine in process thread; do
    "$programs/chaos" run --strict --isolation "$engine" "${common[@]}" "$@" || failed=1
done
exit "$failed"
