#!/usr/bin/env bash
# Load and trouble for a long time: memory, threads and file descriptors must stay what they are.
# HOLDFAST_BINARY names a daemon that is built already.
# Usage: tests/soak/run.sh [--minutes 60|2] [option…]
#   up to five minutes    with a build for development, which CI has already
#   options               of `chaos soak`: --isolation thread|process, --rate, --kms-rate
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../chaos" && pwd)
# shellcheck source=tests/chaos/build.sh
. "$here/build.sh"

minutes=60
if [[ ${1:-} == --minutes ]]; then
    minutes=$2
    shift 2
fi
if ((minutes > 5)); then build release; else build dev; fi
exec "$programs/chaos" soak --minutes "$minutes" "${common[@]}" "$@"
