#!/bin/sh
# Fuzzes each target for some seconds, on stable Rust; fails if one finds something.
# Usage: tests/fuzz/run.sh [seconds] [target…]      needs a C++ compiler and `cargo install cargo-fuzz`
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- attestation_document audit_line authorization authorization_header base64 config kms_body kms_ciphertext policy \
    sigv4_query uri_path xks_body
# The same versions of everything as the daemon.
cp ../../Cargo.lock Cargo.lock
for target in "$@"; do
    mkdir -p "corpus/$target"
    cargo fuzz run --sanitizer none --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=5 -rss_limit_mb=1024 -dict="dictionaries/$target" -print_final_stats=1 -verbosity=0
done
