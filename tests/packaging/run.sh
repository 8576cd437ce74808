#!/usr/bin/env bash
# Everything in deploy/ that installs Holdfast, as far as it can be tried without changing this machine: the package is
# built, installed, upgraded, removed and purged in a folder, and on a machine that systemd runs, where it serves; the unit
# is judged by systemd; manifests by their schemas; the recipe for pipelines runs. HOLDFAST_BINARY names a program that is built already; default: target/debug/holdfast.
# What was tried by hand besides: docs/how-to/install.md.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
deploy=$root/deploy
# shellcheck source=deploy/requirements.sh
. "$deploy/requirements.sh"
target=${CARGO_TARGET_DIR:-$root/target}
cache=$target/packaging
# 14 at the time of writing, of 100: the lower, the less a daemon that was taken over can do.
exposure_max=15
life_seconds_max=30

say() {
    printf -- '-- %s\n' "$*"
}

fail() {
    printf 'packaging: %s\n' "$*" >&2
    exit 1
}

missing=()
command -v dpkg-shlibdeps >/dev/null || missing+=('dpkg-dev' 'finds what the package depends on')
command -v strip >/dev/null || missing+=('binutils' 'makes the package small')
command -v systemd-analyze >/dev/null || missing+=('systemd' 'judges the unit')
command -v systemd-nspawn >/dev/null || missing+=('systemd-container' 'a machine on which systemd is process 1')
command -v softhsm2-util >/dev/null || missing+=('softhsm2' 'the token of the recipe for pipelines')
command -v curl >/dev/null || missing+=('curl' 'asks the daemon')
command -v ps >/dev/null || missing+=('procps' 'finds the daemon')
command -v python3 >/dev/null || missing+=('python3 python3-venv' 'schemas, boto3')
install_packages "${missing[@]}"

binary=$(realpath -- "${HOLDFAST_BINARY:-$target/debug/holdfast}")
[[ -x $binary ]] || fail "there is no $binary: cargo build, or HOLDFAST_BINARY"

prepare_python() {
    cmp --silent "$here/requirements.txt" "$cache/python/stamp" && return
    rm -rf "$cache/python"
    mkdir -p "$cache"
    if ! python3 -m venv "$cache/python"; then
        rm -rf "$cache/python"
        install_packages python3-venv 'keeps the Python packages apart from the system'
        python3 -m venv "$cache/python"
    fi
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$cache/python/stamp"
}

work=$(mktemp -d)
export HOLDFAST_BINARY=$binary HOLDFAST_DIR=$work/ci
started=false
clean_up() {
    if $started; then
        "$deploy/ci/holdfast.sh" stop || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT

judge_unit() {
    local unit=$work/unit/holdfast.service
    mkdir -p "$work/unit/holdfast.service.d"
    # The program is somewhere else here, and the manual page nowhere.
    sed -e "s,/usr/bin/holdfast,$binary," -e '/^Documentation=/d' "$deploy/systemd/holdfast.service" >"$unit"
    verify "$unit"
    systemd-analyze security --offline=yes --no-pager --threshold="$((exposure_max))" "$unit" | tail -n 1
    for example in "$deploy"/systemd/examples/*.conf; do
        cp "$example" "$unit.d/"
        verify "$unit"
        rm "$unit.d/$(basename "$example")"
    done
    systemd-sysusers --dry-run "$deploy/systemd/holdfast.sysusers.conf"
}

# What is only said is a mistake too.
verify() {
    local said
    said=$(systemd-analyze verify "$1" 2>&1) || fail "the unit: $said"
    [[ -z $said ]] || fail "the unit: $said"
}

build_package() {
    export DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1
    deb=$("$deploy/debian/build.sh" --binary "$binary" --out "$work/first")
    cmp "$deb" "$("$deploy/debian/build.sh" --binary "$binary" --out "$work/second")" ||
        fail 'the same files make another package'
    dpkg-deb --extract "$deb" "$work/content"
    local shipped=$work/content/etc/holdfast/holdfast.toml
    ! grep -E '^[a-z]+_listen' "$shipped" || fail 'the package opens ports that ask nobody who is there'
    sed -E 's/^# ((probe|metrics)_listen = )/\1/' "$shipped" | cmp - "$deploy/config/holdfast.toml"
    bash -n "$work/content/usr/share/bash-completion/completions/holdfast"
    for file in usr/share/man/man1/holdfast-serve.1.gz usr/share/zsh/vendor-completions/_holdfast \
        usr/share/fish/vendor_completions.d/holdfast.fish usr/share/doc/holdfast/copyright \
        usr/lib/sysusers.d/holdfast.conf usr/lib/tmpfiles.d/holdfast.conf lib/systemd/system/holdfast.service; do
        [[ -s $work/content/$file ]] || fail "the package lacks $file"
        [[ $(stat --format %a "$work/content/$file") == 644 ]] || fail "mode of $file"
    done
    if command -v lintian >/dev/null && [[ -n ${HOLDFAST_LINTIAN:-} ]]; then
        lintian --fail-on error,warning "$deb"
    fi
}

# dpkg in a folder of its own, whose scripts do what they do there.
in_folder() {
    DPKG_FRONTEND_NOLOCKED='' dpkg --root="$work/machine" --force-script-chrootless --force-depends \
        --log="$work/dpkg.log" "$@"
}

life_of_package() {
    local machine=$work/machine said
    mkdir -p "$machine"/{etc,var/lib/dpkg/{info,updates,triggers},usr}
    touch "$machine/var/lib/dpkg/status" "$machine/etc/passwd" "$machine/etc/group"
    in_folder --install "$deb" >"$work/said" 2>&1 || fail "install: $(cat "$work/said")"
    grep -q '^holdfast:' "$machine/etc/passwd" || fail 'there is no user'
    [[ $(stat --format %a "$machine/var/lib/holdfast") == 700 ]] || fail 'mode of /var/lib/holdfast'
    [[ $(stat --format '%a %u' "$machine/etc/holdfast") == '750 0' ]] || fail 'mode of /etc/holdfast'
    [[ $(stat --format %g "$machine/etc/holdfast") == "$(sed -n 's/^holdfast:[^:]*:\([0-9]*\):.*/\1/p' "$machine/etc/group")" ]] ||
        fail 'group of /etc/holdfast'
    [[ -z $(find "$machine/etc/systemd" -name 'holdfast*' 2>/dev/null) ]] || fail 'it is enabled before it is configured'

    echo keys >"$machine/var/lib/holdfast/kms.db"
    echo pin >"$machine/etc/holdfast/pin"
    echo '# changed here' >>"$machine/etc/holdfast/holdfast.toml"
    dpkg-deb --raw-extract "$deb" "$work/next"
    sed -i 's/^Version: .*/Version: 999/' "$work/next/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$work/next" "$work/next.deb" >/dev/null
    in_folder --install "$work/next.deb" >"$work/said" 2>&1 || fail "upgrade: $(cat "$work/said")"
    grep -q 'changed here' "$machine/etc/holdfast/holdfast.toml" || fail 'an upgrade changed the configuration'

    in_folder --remove holdfast >"$work/said" 2>&1 || fail "remove: $(cat "$work/said")"
    [[ ! -e $machine/usr/bin/holdfast && -e $machine/etc/holdfast/holdfast.toml ]] || fail 'remove'
    said=$(in_folder --purge holdfast 2>&1) || fail "purge: $said"
    [[ ! -e $machine/etc/holdfast/holdfast.toml ]] || fail 'purge leaves the configuration'
    [[ $(cat "$machine/var/lib/holdfast/kms.db" "$machine/etc/holdfast/pin") == $'keys\npin' ]] || fail 'purge deletes keys'
    [[ $said == *'/var/lib/holdfast is kept'* ]] || fail 'purge does not say what it keeps'
}

check_schemas() {
    local check=("$cache/python/bin/check-jsonschema" --quiet)
    "${check[@]}" --builtin-schema vendor.compose-spec "$deploy/container/compose.yaml"
    "${check[@]}" --builtin-schema vendor.github-workflows "$deploy/ci/github-actions.yml"
    "${check[@]}" --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci "$deploy/ci/gitlab-ci.yml"
}

# Five ports in a row, below those that the system gives to clients.
free_ports() {
    local base offset
    while true; do
        base=$((10000 + RANDOM % 20000))
        for offset in 0 1 2 3 4; do
            if (exec 3<>"/dev/tcp/127.0.0.1/$((base + offset))") 2>/dev/null; then
                continue 2
            fi
        done
        echo "$base"
        return
    done
}

run_recipe() {
    local before=$SECONDS recipe=$deploy/ci/holdfast.sh names
    HOLDFAST_PORT_BASE=$(free_ports)
    export HOLDFAST_PORT_BASE
    "$recipe" start
    started=true
    (
        while read -r name; do
            unset "$name"
        done < <(compgen -e | grep -E '^AWS_')
        eval "$("$recipe" env)"
        export NO_PROXY='*' AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
        "$cache/python/bin/python" "$deploy/ci/key_life.py"
    )
    GITHUB_ENV=$work/github "$recipe" env --github >"$work/masks"
    names=$(sed -n 's/^export \([A-Z0-9_]*\)=.*/\1/p' "$HOLDFAST_DIR/site/env" | sort)
    [[ $(cut -d= -f1 "$work/github" | sort) == "$names" ]] || fail 'GitHub Actions does not get every variable'
    [[ $(sed -n 's/^::add-mask::\(.\)/\1/p' "$work/masks" | sort) == "$(sed -n -E 's/^[A-Z0-9_]*(SECRET_ACCESS_KEY|PASSWORD)=//p' "$work/github" | sort)" ]] ||
        fail 'GitHub Actions would show secrets'
    ! grep -v '^::add-mask::.' "$work/masks" || fail 'more is said than masks'
    "$recipe" reset
    [[ -n $("$recipe" log) ]] || fail 'there is no log'
    "$recipe" stop
    started=false
    ((SECONDS - before <= life_seconds_max)) || fail "the life of a key took $((SECONDS - before)) s"
}

prepare_python
say 'the unit'
judge_unit
say 'the package'
build_package
if ((EUID == 0)); then
    life_of_package
else
    echo 'SKIPPED: only root can install a package, even in a folder'
fi
say 'a machine that systemd runs'
result=0
"$here/machine.sh" "$deb" "$cache/python" || result=$?
((result == 0 || result == 77)) || fail 'the package on a machine that systemd runs'
say 'schemas'
check_schemas
say 'files'
"$binary" provision --dir "$work/provisioned" >/dev/null
HOLDFAST_PROVISIONED=$work/provisioned "$cache/python/bin/python" -m pytest --quiet --tb=short -p no:cacheprovider "$here"
say 'the recipe for pipelines'
run_recipe
say "packaging is well: $SECONDS s"
