#!/usr/bin/env bash
# Builds the image that the tests of real programs run in, from this machine's own release of Debian or Ubuntu, as an OCI layout:
#
#   scripts/programs-image.sh OUT_DIR
#
# OUT_DIR/index.json then lists one image, tagged "latest", of one layer: the packages below, this machine's .NET runtime, and
# scripts/limits as /opt/limits/limits.dll. Does nothing where OUT_DIR already has what this script builds.
# Run as root; needs mmdebstrap, umoci, the release's Python and the .NET SDK.
set -euo pipefail

scripts=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/install.sh
. "$scripts/install.sh"
# shellcheck source=scripts/image.sh
. "$scripts/image.sh"

python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
packages=(
    cargo chromium coreutils findutils g++ gcc git golang-go libc6-dev "libpython$python-testsuite" libreoffice-writer-nogui make nginx-light nodejs npm
    openjdk-17-jdk-headless postgresql procps python-is-python3 python3 python3-numpy python3-pytest redis-server rustc tar
)

[[ $# -eq 1 ]] || die "usage: $0 OUT_DIR"
require_root
out=$(realpath -m "$1")
for tool in mmdebstrap umoci python3 dotnet; do
    command -v "$tool" >/dev/null || die "$tool is missing; install it and run this again."
done
dotnet_root=$(dirname "$(readlink -f "$(command -v dotnet)")")
runtime=$(cd "$scripts" && dotnet --list-runtimes | sed -n 's/^Microsoft.NETCore.App \(10\.[^ ]*\).*/\1/p' | sort -V | tail -n 1)
[[ -d $dotnet_root/shared/Microsoft.NETCore.App/$runtime && -n $runtime ]] || die "dotnet has no runtime 10 in $dotnet_root."
codename=$(release_codename)
# The recipe identifies the inputs of the build. A layout with another recipe is built again.
recipe="$codename $runtime $(cat "${BASH_SOURCE[0]}" "$scripts/image.sh" "$scripts"/limits/*.cs* | sha256sum | cut -c 1-16)"
if [[ -f $out/index.json && $(cat "$out/boxer-recipe" 2>/dev/null) == "$recipe" ]]; then
    exit 0
fi
refresh_package_lists

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
release_sources "$work/sources.list"
apt_transport "$work/apt.conf"

say "Building an image of programs from $codename packages; this takes some minutes."
mkdir -p "$work/files/usr/share/dotnet/shared/Microsoft.NETCore.App" "$work/files/usr/bin" "$work/files/opt"
cp -r "$dotnet_root/shared/Microsoft.NETCore.App/$runtime" "$work/files/usr/share/dotnet/shared/Microsoft.NETCore.App/"
cp -r "$dotnet_root/dotnet" "$dotnet_root/host" "$work/files/usr/share/dotnet/"
ln -s ../share/dotnet/dotnet "$work/files/usr/bin/dotnet"
(cd "$scripts" && quietly dotnet publish limits/limits.csproj -c Release --nologo -v quiet --artifacts-path "$work/artifacts" -o "$work/files/opt/limits") ||
    die "scripts/limits could not be built; the reason is above."

SOURCE_DATE_EPOCH=$(source_date)
export SOURCE_DATE_EPOCH
# Java's packages link their manuals from a directory that has to be there. The layer has neither what a container mounts nor what apt keeps.
# shellcheck disable=SC2016 # mmdebstrap expands it
quietly mmdebstrap --mode=root --variant=minbase --format=null --skip=check/signed-by \
    --include="$(IFS=,; printf '%s' "${packages[*]}")" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/lib/jvm/*/jmods/*' --dpkgopt='path-exclude=/usr/share/go-*/test/*' \
    --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' --dpkgopt='path-exclude=/usr/lib/libreoffice/share/gallery/*' \
    --dpkgopt='path-exclude=/usr/lib/libreoffice/share/template/*' --dpkgopt='path-exclude=/usr/bin/*-lto-dump-*' \
    --dpkgopt=force-unsafe-io \
    --aptopt="$work/apt.conf" \
    --essential-hook='mkdir -p "$1/usr/share/man/man1"' \
    --customize-hook="cp -r --no-preserve=ownership '$work/files/.' \"\$1/\"" \
    --customize-hook="tar --one-file-system --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' \
        --exclude='./tmp/*' --exclude='./run/*' --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' \
        --exclude='./var/lib/postgresql/*' \
        --exclude='./etc/apt/apt.conf.d/99mmdebstrap' --exclude='./etc/resolv.conf' --exclude='./etc/hostname' \
        --sort=name --mtime=@$SOURCE_DATE_EPOCH --clamp-mtime -C \"\$1\" -cf '$work/programs.tar' ." \
    "" /dev/null - <"$work/sources.list" ||
    die "mmdebstrap could not build the image; the reason is above."

image=$work/layout:latest
umoci init --layout "$work/layout"
umoci new --image "$image"
umoci raw add-layer --image "$image" "$work/programs.tar"
finish_image "$work/layout" "$recipe" "$out"
