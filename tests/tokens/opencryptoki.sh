#!/usr/bin/env bash
# Runs openCryptoki's pkcsslotd with its soft token alone, in the foreground, until it is killed. As root. The configuration
# of the machine stays as it is, but in a container that may not mount anything.
set -euo pipefail
configuration=$1
installed=/etc/opencryptoki/opencryptoki.conf
printf 'version opencryptoki-3.1\nslot 0\n{\nstdll = libpkcs11_sw.so\n}\n' >"$configuration"
if unshare --mount --propagation private true 2>/dev/null; then
    # shellcheck disable=SC2016 # the inner shell expands it
    exec unshare --mount --propagation private sh -c \
        'mount --bind "$0" "$1" && exec pkcsslotd -f' "$configuration" "$installed"
fi
cp "$configuration" "$installed"
exec pkcsslotd -f
