#!/usr/bin/env bash
# Benchmarks on this machine, as root: installs what is missing, builds, serves the local Python image from a registry on loopback, with a
# small layer more and as one layer too, prints a report with ratios of cases that run interleaved, and writes it to a file, by default
# bench-report.txt in the working directory. Timings are only worth something on a machine that does nothing else.
#
#   ./bench.sh [ROUNDS [REPORT]]
set -euo pipefail
report=$(realpath -m -- "${2:-bench-report.txt}")
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

[[ $# -le 2 && ${1:-1} =~ ^[1-9][0-9]*$ ]] || die "takes at most the number of rounds and the file of the report."
require_root
work=$(mktemp -d)
trap 'stop_registry; rm -rf --one-file-system "$work"' EXIT

install_packages musl-tools libc6-dev gcc curl iproute2 nftables mmdebstrap umoci skopeo isal xz-utils
ensure_docker_registry
ensure_runsc
ensure_dotnet
layout=$(cache_folder)/python-image
scripts/python-image.sh "$layout"
quietly dotnet build Boxer.Benchmarks -c Release --nologo -v quiet -clp:NoSummary
start_registry "$work/registry" "$layout" python:3

# push_variant TAG: pushes what "$work/variant" has.
push_variant() {
    quietly skopeo copy --quiet --dest-tls-verify=false "oci:$work/variant:latest" "docker://${registry_url#http://}/python:$1"
}

cp -r "$layout" "$work/variant"
printf 'more\n' >"$work/more"
quietly umoci insert --image "$work/variant:latest" "$work/more" /more
push_variant 3-more
rm -r "$work/variant"
quietly umoci raw unpack --image "$layout:latest" "$work/root"
umoci init --layout "$work/variant"
umoci new --image "$work/variant:latest"
quietly umoci insert --image "$work/variant:latest" "$work/root" /
push_variant 3-flat
rm -r "$work/variant" "$work/root"
mkdir "$work/measured"
TMPDIR=$work/measured dotnet Boxer.Benchmarks/bin/Release/net10.0/Boxer.Benchmarks.dll localhost/python:3 "localhost=$registry_url" "$report" ${1:+"$1"}
say "The report is in $report."
