# shellcheck shell=bash
# What Holdfast needs of a machine, found or installed; sourced by the scripts that need it.

has_softhsm() {
    local module
    for module in "${SOFTHSM2_MODULE:-}" /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
        /usr/lib64/{softhsm,pkcs11}/libsofthsm2.so /usr/local/lib{,64}/softhsm/libsofthsm2.so \
        /opt/{homebrew,local}/lib/softhsm/libsofthsm2.so; do
        [[ -f $module ]] && return
    done
    return 1
}

# A compiler without the headers or the linker is none.
has_c_compiler() {
    local program result=0
    command -v cc >/dev/null || return
    program=$(mktemp)
    echo 'int main(void) { return 0; }' | cc -x c -include stdlib.h -o "$program" - 2>/dev/null || result=1
    rm -f "$program"
    return "$result"
}

# install_packages [PACKAGES WHY]...: with apt-get as root; otherwise prints the command and ends the script.
install_packages() {
    local packages=() names install
    (($# > 0)) || return 0
    echo 'Missing on this machine:'
    while (($# >= 2)); do
        read -ra names <<<"$1"
        packages+=("${names[@]}")
        printf '  %s: %s\n' "$1" "$2"
        shift 2
    done
    if ! command -v apt-get >/dev/null; then
        echo 'There is no apt-get here: install them, by the names of your system, and try again.' >&2
        exit 1
    fi
    install=(apt-get install --yes --no-install-recommends "${packages[@]}")
    if ((EUID != 0)); then
        printf 'Installing needs root. Run this and try again:\n\n  sudo %s\n\n' "${install[*]}" >&2
        exit 1
    fi
    echo "Running: ${install[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive "${install[@]}"
}
