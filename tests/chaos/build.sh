# shellcheck shell=bash
# What both scripts need: the daemon, the load program, the module that injects faults. Sourced.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"

# build dev|release: sets `programs`, where they are, and `common`, the options that name them.
build() {
    local target=${CARGO_TARGET_DIR:-$root/target} packages=(--package chaos --package pkcs11-shim)
    [[ -n ${HOLDFAST_BINARY:-} ]] || packages+=(--package holdfast)
    cargo build --locked --manifest-path "$root/Cargo.toml" --profile "$1" "${packages[@]}"
    programs=$target/$1
    [[ $1 != dev ]] || programs=$target/debug
    # shellcheck disable=SC2034 # whoever sources this uses it
    common=(--holdfast "${HOLDFAST_BINARY:-$programs/holdfast}" --shim "$programs/libpkcs11_shim.so")
}
