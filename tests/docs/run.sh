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

# But those of runbooks/, which are added by themselves.
every_page_is_in_the_summary() {
    local page missing=()
    while read -r page; do
        grep --quiet --fixed-strings "]($page)" "$root/docs/SUMMARY.md" ||
            missing+=("- [$(sed -n '1s/^# //p' "$root/docs/$page")]($page)")
    done < <(cd "$root/docs" && find . -name '*.md' ! -name SUMMARY.md ! -path './runbooks/*' -printf '%P\n' | sort)
    ((${#missing[@]} == 0)) || fail "add to docs/SUMMARY.md: $(printf '\n%s' "${missing[@]}")"
}

book() {
    command -v python3 >/dev/null || install_packages python3 'links of the book'
    mkdir -p "$cache"
    prepare_mdbook
    every_page_is_in_the_summary
    "$cache/mdbook/bin/mdbook" build --dest-dir "$cache/book" "$root/docs"
    python3 "$here/links.py" "$cache/book"
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
