#!/usr/bin/env bash
# Holdfast over SoftHSM for the tests of a pipeline: needs no AWS account, no root and nothing but this file, curl and
# one of: a program (HOLDFAST_BINARY, or `holdfast` in PATH, as the Debian package has it) with SoftHSM on the machine; an
# image with SoftHSM in it (HOLDFAST_IMAGE, run by docker or podman). bash is the only shell it asks for.
#
# Usage: holdfast.sh start             a token, keys, certificates, a daemon; returns when it serves
#        holdfast.sh env               what the AWS CLI and SDKs need, as lines of shell: eval "$(holdfast.sh env)"
#        holdfast.sh env --github      the same for the steps that follow, in GitHub Actions
#        holdfast.sh advance DURATION  the KMS's clock goes forward: 90s, 15m, 36h, 8d; returns when all that is due is done
#        holdfast.sh now               the KMS's clock, in seconds since 1970
#        holdfast.sh reset             no keys, aliases, grants and key stores any more
#        holdfast.sh log               what the daemon said
#        holdfast.sh stop              ends the daemon; the folder stays, for the artifacts of the job
# HOLDFAST_DIR (default: holdfast-ci in the folder for temporary files) and HOLDFAST_PORT_BASE (default: 8440; five
# ports from it) tell two of them apart that run on one machine.
set -euo pipefail

dir=${HOLDFAST_DIR:-${RUNNER_TEMP:-${TMPDIR:-/tmp}}/holdfast-ci}
port_base=${HOLDFAST_PORT_BASE:-8440}
image=${HOLDFAST_IMAGE:-}
patience_seconds=60
# What `holdfast provision` makes; beside it are logs and the daemon's process id.
site=$dir/site
admin=http://127.0.0.1:$((port_base + 4))

fail() {
    printf 'holdfast.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '/^# Usage/,/^# ports/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

# Proxies of a company are not for the loopback address.
ask() {
    curl --silent --show-error --noproxy '*' --max-time 120 "$@"
}

is_ready() {
    ask --fail --output /dev/null "$admin/readyz" 2>/dev/null
}

program() {
    local program=${HOLDFAST_BINARY:-holdfast}
    program=$(command -v -- "$program") || fail 'no program holdfast in PATH: set HOLDFAST_BINARY or HOLDFAST_IMAGE'
    realpath -- "$program"
}

# One that works: a docker without its daemon is on many machines that have podman.
engine() {
    local engine
    for engine in docker podman; do
        if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then
            command -v "$engine"
            return
        fi
    done
    fail 'HOLDFAST_IMAGE needs docker or podman, and neither works here'
}

container() {
    printf 'holdfast-ci-%s' "$port_base"
}

# The daemon listens on loopback addresses alone, and the folder is ours: hence the host's network and our user.
in_container() {
    local engine name=() options=(--rm --network host --volume "$dir:$dir" --read-only --tmpfs /tmp)
    engine=$(engine)
    if [[ $1 == --detach ]]; then
        shift
        name=(--detach --name "$(container)")
        options=("${options[@]:1}")
    fi
    if [[ $engine == *podman ]] && ((EUID != 0)); then
        options+=(--userns keep-id)
    fi
    "$engine" run "${name[@]}" "${options[@]}" --user "$(id -u):$(id -g)" "$image" "$@"
}

daemon_pid() {
    local pid
    pid=$(cat "$dir/daemon.pid" 2>/dev/null) || return 1
    # A number may belong to another process by now.
    [[ $(ps -o args= -p "$pid" 2>/dev/null) == *"serve --config $site/holdfast.toml"* ]] || return 1
    echo "$pid"
}

start() {
    local config=$site/holdfast.toml deadline
    ! is_ready || fail "something answers at $admin already: stop it, or set HOLDFAST_PORT_BASE"
    mkdir -p "$dir"
    chmod 700 "$dir"
    if [[ -n $image ]]; then
        in_container provision --dir "$site" --port-base "$port_base" >"$dir/provision.log"
        in_container --detach serve --config "$config" >/dev/null
    else
        local holdfast
        holdfast=$(program)
        "$holdfast" provision --dir "$site" --port-base "$port_base" >"$dir/provision.log"
        # In a session of its own, and with no file of ours open: the step of a pipeline ends when all its files close.
        setsid "$holdfast" serve --config "$config" >"$dir/daemon.log" 2>&1 </dev/null &
        echo $! >"$dir/daemon.pid"
    fi
    deadline=$((SECONDS + patience_seconds))
    until is_ready; do
        if [[ -z $image ]] && ! daemon_pid >/dev/null && ! is_ready; then
            tail -n 20 "$dir/daemon.log" >&2
            fail 'the daemon ended'
        fi
        if ((SECONDS >= deadline)); then
            log | tail -n 20 >&2
            ask "$admin/readyz" >&2 || true
            fail "the daemon is not ready after $patience_seconds seconds"
        fi
        sleep 0.1
    done
    printf 'Holdfast serves: KMS API at https://localhost:%s, XKS proxy at https://localhost:%s\n' \
        "$((port_base + 2))" "$port_base"
}

environment() {
    [[ -f $site/env ]] || fail "there is no $site/env: start first"
    case ${1:-} in
        '') cat "$site/env" ;;
        --github)
            [[ -n ${GITHUB_ENV:-} ]] || fail 'GITHUB_ENV is not set: this is no step of GitHub Actions'
            (
                # shellcheck disable=SC1091
                . "$site/env"
                # Said before they are exported: from then on the log has stars for them.
                sed -n 's/^export \([A-Za-z0-9_]*\(SECRET\|PASSWORD\)[A-Za-z0-9_]*\)=.*/\1/p' "$site/env" | while read -r name; do
                    printf '::add-mask::%s\n' "${!name}"
                done
                sed -n 's/^export \([A-Za-z0-9_]*\)=.*/\1/p' "$site/env" | while read -r name; do
                    printf '%s=%s\n' "$name" "${!name}"
                done >>"$GITHUB_ENV"
            )
            ;;
        *) usage >&2 && exit 2 ;;
    esac
}

advance() {
    [[ ${1:-} =~ ^[0-9]+[smhd]$ ]] || fail 'advance takes a number with s, m, h or d behind it, such as 8d'
    ask --fail-with-body --request POST "$admin/dev/clock?advance=$1"
}

log() {
    if [[ -n $image ]]; then
        "$(engine)" logs "$(container)" 2>&1
    else
        cat "$dir/daemon.log"
    fi
}

stop() {
    local pid deadline=$((SECONDS + patience_seconds))
    if [[ -n $image ]]; then
        "$(engine)" logs "$(container)" >"$dir/daemon.log" 2>&1 || true
        "$(engine)" stop -t 30 "$(container)" >/dev/null
        "$(engine)" rm "$(container)" >/dev/null
        return
    fi
    pid=$(daemon_pid) || fail "no daemon of $dir runs"
    # Not SIGKILL: SoftHSM rewrites its files at a login.
    kill -TERM "$pid"
    while daemon_pid >/dev/null; do
        ((SECONDS < deadline)) || fail "process $pid does not end"
        sleep 0.1
    done
    rm -f "$dir/daemon.pid"
}

case ${1:-} in
    start) start ;;
    env) environment "${@:2}" ;;
    advance) advance "${2:-}" ;;
    now) ask --fail "$admin/dev/clock" ;;
    reset) ask --fail-with-body --request POST "$admin/dev/reset" ;;
    log) log ;;
    stop) stop ;;
    -h | --help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
