#!/usr/bin/env bash
# Runs openCryptoki's pkcsslotd with its soft token alone, in the foreground, until it is killed. As root; the
# configuration of the machine stays as it is.
set -euo pipefail
configuration=$1
printf 'version opencryptoki-3.1\nslot 0\n{\nstdll = libpkcs11_sw.so\n}\n' >"$configuration"
# shellcheck disable=SC2016 # the inner shell expands it
exec unshare --mount --propagation private sh -c \
    'mount --bind "$0" /etc/opencryptoki/opencryptoki.conf && exec pkcsslotd -f' "$configuration"
