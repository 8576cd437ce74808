#!/usr/bin/env bash
# The package on a machine of its own: systemd as process 1, over this machine's files, whose changes are kept in memory and
# thrown away. What happens there is in machine_trial.py.
# Usage: tests/packaging/machine.sh PACKAGE PYTHON
#   PACKAGE  what deploy/debian/build.sh made
#   PYTHON   the folder of a Python environment with boto3
# Exit status 77: such a machine cannot be had here; why is said.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
package=$(realpath -- "$1")
python=$(realpath -- "$2")
# It takes half a minute at the time of writing.
seconds_max=240

skip() {
    printf 'SKIPPED: %s\n' "$*"
    exit 77
}

((EUID == 0)) || skip 'only root can start a machine'
command -v systemd-nspawn >/dev/null || skip 'there is no systemd-nspawn'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{root,shared}
cp "$package" "$work/shared/holdfast.deb"
cp "$here/machine_trial.py" "$work/shared/"
cat >"$work/trial.service" <<UNIT
[Unit]
Description=Holdfast is installed and served
Requires=basic.target dbus.socket
After=basic.target dbus.socket
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
ExecStart=$python/bin/python -I /shared/machine_trial.py /shared
StandardOutput=file:/shared/said
StandardError=inherit
UNIT

# The mount is in a name space that ends with the machine. No network but its own loopback device.
run_machine() {
    # shellcheck disable=SC2016
    timeout --signal=KILL "$seconds_max" unshare --mount --propagation=private bash -c '
        mount --bind / "$1/root"
        exec systemd-nspawn --quiet --directory="$1/root" --volatile=overlay --boot --machine="$(basename "$1")" \
            --register=no --keep-unit --private-network --console=pipe \
            --bind="$1/shared:/shared" --bind-ro="$2" --bind-ro="$1/trial.service:/etc/systemd/system/trial.service" \
            -- systemd.unit=trial.service systemd.mask=tmp.mount' _ "$work" "$python" \
        >"$work/console" 2>&1 </dev/null
}

run_machine || true
if [[ ! -e $work/shared/said ]]; then
    tail -n 20 "$work/console"
    skip 'systemd does not start as process 1 here'
fi
cat "$work/shared/said"
[[ -e $work/shared/right ]] || exit 1
