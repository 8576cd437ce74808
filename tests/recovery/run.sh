#!/usr/bin/env bash
# The disaster drill: on an installation that it makes and destroys, and beside one that goes on running.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/requirements.sh
. deploy/requirements.sh

missing=()
has_softhsm || missing+=('softhsm2' 'the token of the drill')
command -v curl >/dev/null || missing+=('curl' 'the client of the drill')
install_packages "${missing[@]}"

target=${CARGO_TARGET_DIR:-target}
cargo build --locked --bin holdfast
program=$target/debug/holdfast

deploy/drill.sh --program "$program" --port-base 9210

folder=$(mktemp -d)
daemon=
end() {
    if [[ -n $daemon ]]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap end EXIT
"$program" provision --dir "$folder/running" --port-base 9220 >/dev/null
"$program" serve --config "$folder/running/holdfast.toml" >"$folder/log" 2>&1 &
daemon=$!
tries=0
until curl --silent --fail --noproxy '*' --output /dev/null http://localhost:9224/readyz; do
    ((++tries < 300))
    sleep 0.1
done
deploy/drill.sh --program "$program" --installation "$folder/running" --port-base 9210
# It goes on.
curl --silent --fail --noproxy '*' --output /dev/null http://localhost:9224/readyz

# A drill that cannot succeed says so.
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
daemon=
if deploy/drill.sh --program "$program" --installation "$folder/running" --port-base 9210 2>/dev/null; then
    echo 'a drill on an installation that is down has passed' >&2
    exit 1
fi
