#!/usr/bin/env bash
# Builds a Python image from this machine's own release of Debian or Ubuntu, as an OCI layout:
#
#   scripts/python-image.sh OUT_DIR
#
# OUT_DIR/index.json then lists one image, tagged "latest", of two layers: the essential packages, and Python with pip and apt. As in
# python:3.12-slim, pip installs without being asked whether it may (no EXTERNALLY-MANAGED, PEP 668).
# Does nothing where OUT_DIR already has what this script builds. Run as root; needs mmdebstrap and umoci.
set -euo pipefail

scripts=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/install.sh
. "$scripts/install.sh"
# shellcheck source=scripts/image.sh
. "$scripts/image.sh"

[[ $# -eq 1 ]] || die "usage: $0 OUT_DIR"
require_root
out=$(realpath -m "$1")
codename=$(release_codename)
# The recipe identifies the inputs of the build. A layout with another recipe is built again.
recipe="$codename $(cat "${BASH_SOURCE[0]}" "$scripts/image.sh" | sha256sum | cut -c 1-16)"
if [[ -f $out/index.json && $(cat "$out/boxer-recipe" 2>/dev/null) == "$recipe" ]]; then
    exit 0
fi
for tool in mmdebstrap umoci; do
    command -v "$tool" >/dev/null || die "$tool is missing; install it (apt-get install $tool) and run this again."
done
refresh_package_lists

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

release_sources "$work/sources.list"
apt_transport "$work/apt.conf"

say "Building a Python image from $codename packages; this takes about a minute."
SOURCE_DATE_EPOCH=$(source_date)
export SOURCE_DATE_EPOCH
# shellcheck disable=SC2016 # mmdebstrap expands it
quietly mmdebstrap --mode=root --variant=minbase --format=tar --skip=check/signed-by \
    --include=python3,python3-pip,python-is-python3 \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt="$work/apt.conf" \
    --essential-hook="tar --one-file-system --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' \
        --exclude='./tmp/*' --exclude='./run/*' --exclude='./etc/apt/apt.conf.d/99mmdebstrap' --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
        --sort=name --mtime=@$SOURCE_DATE_EPOCH --clamp-mtime -C \"\$1\" -cf '$work/base.tar' ." \
    --customize-hook="rm \"\$1/etc/apt/apt.conf.d/99mmdebstrap\" \"\$1/etc/resolv.conf\" \"\$1/etc/hostname\"" \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
    "" "$work/python.tar" - <"$work/sources.list" ||
    die "mmdebstrap could not build the image; the reason is above."

image=$work/layout:latest
bundle=$work/bundle
umoci init --layout "$work/layout"
umoci new --image "$image"
umoci unpack --image "$image" "$bundle"
tar --numeric-owner -C "$bundle/rootfs" -xpf "$work/base.tar"
umoci repack --refresh-bundle --image "$image" "$bundle"
rm -rf "$bundle/rootfs"
mkdir "$bundle/rootfs"
tar --numeric-owner -C "$bundle/rootfs" -xpf "$work/python.tar"
umoci repack --image "$image" "$bundle"
finish_image "$work/layout" "$recipe" "$out"
