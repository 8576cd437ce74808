#!/usr/bin/env bash
# Makes holdfast_VERSION_ARCHITECTURE.deb of a program that is built already, and prints its path.
# Usage: deploy/debian/build.sh [--binary FILE] [--out DIR]
# DPKG_DEB_COMPRESSOR_TYPE and DPKG_DEB_COMPRESSOR_LEVEL make it quicker and bigger, for tests.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
deploy=$(dirname -- "$here")
root=$(dirname -- "$deploy")

binary=${CARGO_TARGET_DIR:-$root/target}/release/holdfast
out=$PWD
usage() {
    sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
}
while (($# > 0)); do
    case $1 in
        --binary) binary=${2:?} && shift 2 ;;
        --out) out=${2:?} && shift 2 ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
done
[[ -x $binary ]] || {
    echo "build.sh: $binary is no program: cargo build --release, or --binary FILE" >&2
    exit 1
}
binary=$(realpath -- "$binary")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$work/holdfast

# file MODE FROM TO: as it is installed.
file() {
    install -D -m "$1" "$2" "$package/$3"
}

version=$(dpkg-parsechangelog --file "$here/changelog" --show-field Version)
date=$(dpkg-parsechangelog --file "$here/changelog" --show-field Timestamp)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$date}
if [[ $("$binary" --version) != "holdfast ${version%-*}" ]]; then
    echo "build.sh: the changelog says ${version%-*}, the program $("$binary" --version)" >&2
    exit 1
fi
architecture=$(dpkg --print-architecture)

file 755 "$binary" usr/bin/holdfast
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$package/usr/bin/holdfast"
# A machine has neighbours: ports that ask nobody who is there are opened by who wants them.
sed -E 's/^((probe|metrics)_listen = )/# \1/' "$deploy/config/holdfast.toml" >"$work/holdfast.toml"
file 644 "$work/holdfast.toml" etc/holdfast/holdfast.toml
file 644 "$deploy/config/softhsm2.conf" etc/holdfast/softhsm2.conf
file 644 "$deploy/systemd/holdfast.service" lib/systemd/system/holdfast.service
file 644 "$deploy/systemd/holdfast.sysusers.conf" usr/lib/sysusers.d/holdfast.conf
file 644 "$deploy/systemd/holdfast.tmpfiles.conf" usr/lib/tmpfiles.d/holdfast.conf
file 644 "$here/copyright" usr/share/doc/holdfast/copyright
file 644 "$here/changelog" usr/share/doc/holdfast/changelog.Debian
file 644 "$root/CHANGELOG.md" usr/share/doc/holdfast/changelog
gzip --best --no-name "$package"/usr/share/doc/holdfast/changelog*
for example in "$deploy"/systemd/examples/*.conf; do
    file 644 "$example" "usr/share/doc/holdfast/examples/$(basename "$example")"
done
file 644 "$here/lintian-overrides" usr/share/lintian/overrides/holdfast

# What the program says of itself. Gzip without time stamps, for the same package from the same files.
mkdir "$work/completions"
for shell in bash zsh fish; do
    "$binary" completion "$shell" >"$work/completions/$shell"
done
file 644 "$work/completions/bash" usr/share/bash-completion/completions/holdfast
file 644 "$work/completions/zsh" usr/share/zsh/vendor-completions/_holdfast
file 644 "$work/completions/fish" usr/share/fish/vendor_completions.d/holdfast.fish
"$binary" man "$work/man1" >/dev/null
gzip --best --no-name "$work"/man1/*
for page in "$work"/man1/*; do
    file 644 "$page" "usr/share/man/man1/$(basename "$page")"
done

# Rules and dashboards, for the Prometheus and Grafana that are there already.
for folder in prometheus grafana; do
    [[ -d $deploy/$folder ]] || continue
    while IFS= read -r -d '' path; do
        file 644 "$deploy/$folder/$path" "usr/share/holdfast/$folder/$path"
    done < <(cd "$deploy/$folder" && find . -type f \( -name '*.yml' -o -name '*.yaml' -o -name '*.json' \) -not -path '*/tests/*' -printf '%P\0')
done

# What it is linked with, as names of packages.
mkdir "$work/debian"
printf 'Source: holdfast\n\nPackage: holdfast\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info -e"$package/usr/bin/holdfast" 2>/dev/null)
depends=${depends#shlibs:Depends=}
size=$(du --summarize --apparent-size --block-size=1024 "$package" | cut -f1)

mkdir "$package/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SHLIBDEPS@/$depends/" \
    -e "s/@INSTALLED_SIZE@/$size/" "$here/control.in" >"$package/DEBIAN/control"
install -m 644 "$here/conffiles" "$package/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$package/DEBIAN/"
(cd "$package" && find . -type f -not -path './DEBIAN/*' -not -path './etc/*' -printf '%P\0' |
    sort --zero-terminated | xargs --null md5sum) >"$package/DEBIAN/md5sums"
find "$package" -type d -exec chmod 755 {} +

mkdir -p "$out"
deb=$out/holdfast_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$package" "$deb" >/dev/null
echo "$deb"
