#!/usr/bin/env bash
# Builds the book of docs/, and fails for a page that is not in it, a dead link or a dead anchor; then does the tutorial.
# Usage: tests/docs/run.sh [book|tutorial]...      HOLDFAST_BINARY names a daemon that is built already.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
# shellcheck source=deploy/requirements.sh
. "$root/deploy/requirements.sh"
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
cache=${CARGO_TARGET_DIR:-$root/target}/docs
mdbook_version=0.5.4
linkchecker_version=10.6.0

fail() {
    printf 'docs: %s\n' "$*" >&2
    exit 1
}

# Without debug information, search and server: none is needed, and each takes long to build.
prepare_mdbook() {
    [[ -x $cache/mdbook/bin/mdbook && $("$cache/mdbook/bin/mdbook" --version) == *"v$mdbook_version" ]] && return
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$cache/mdbook-build cargo install mdbook --version "$mdbook_version" \
        --locked --no-default-features --debug --force --root "$cache/mdbook"
    rm -rf "$cache/mdbook-build"
}

prepare_linkchecker() {
    [[ -f $cache/python/stamp && $(<"$cache/python/stamp") == "$linkchecker_version" ]] && return
    rm -rf "$cache/python"
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv 'keeps linkchecker apart from the system'
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check "linkchecker==$linkchecker_version"
    echo "$linkchecker_version" >"$cache/python/stamp"
}

every_page_is_in_the_summary() {
    local page missing=()
    while read -r page; do
        grep --quiet --fixed-strings "]($page)" "$root/docs/SUMMARY.md" || missing+=("$page")
    done < <(cd "$root/docs" && find . -name '*.md' ! -name SUMMARY.md -printf '%P\n' | sort)
    ((${#missing[@]} == 0)) || fail "not in docs/SUMMARY.md: ${missing[*]}"
}

# links_are_alive BOOK. Links to other machines are looked at for their form only. A dead anchor is a warning, which ends
# the check too. What root starts gives its rights up, and may not read the folder of the build then.
links_are_alive() {
    local settings=$cache/linkchecker.ini report=$cache/links.txt copy status=0
    copy=$(mktemp -d)
    cp -r "$1/." "$copy"
    chmod -R a+rX "$copy"
    printf '[AnchorCheck]\n' >"$settings"
    (cd "$copy" && "$cache/python/bin/linkchecker" --config "$settings" --no-status index.html) >"$report" 2>&1 || status=$?
    rm -rf "$copy"
    if ((status != 0)); then
        cat "$report" >&2
        fail 'links of the book are dead'
    fi
    grep 'links in' "$report"
}

book() {
    command -v python3 >/dev/null || install_packages 'python3 python3-venv' 'links of the book'
    mkdir -p "$cache"
    prepare_mdbook
    prepare_linkchecker
    every_page_is_in_the_summary
    "$cache/mdbook/bin/mdbook" build --dest-dir "$cache/book" "$root/docs"
    links_are_alive "$cache/book"
    (cd "$root" && python3 tests/docs/repository_links.py check ./*.md tests/*.md)
}

suites=("$@")
((${#suites[@]} > 0)) || suites=(book tutorial)
for suite in "${suites[@]}"; do
    before=$SECONDS
    case $suite in
        book) book ;;
        tutorial) "$here/tutorial.sh" ;;
        *) fail "unknown suite $suite" ;;
    esac
    printf -- '-- %s: %s s\n' "$suite" "$((SECONDS - before))"
done
