#!/usr/bin/env bash
# Benchmarks on this machine, as root: installs what is missing, builds, serves the local Python image from a registry on loopback, prints a
# report and writes it to a file. Timings are meaningful only on an idle machine.
#
#   ./bench.sh [--only PARTS] [ROUNDS [REPORT]]
#       Ratios of cases that run interleaved, by default 20 rounds; the registry also has the image with a small layer more, and as one layer.
#       PARTS are some of runs,sessions,network,callers,http,pool,crowd,images. REPORT is by default bench-report.txt in the working directory.
#
#   ./bench.sh --against COMMIT [--old-config JSON] [--new-config JSON] [--only ROWS] [PAIRS [REPORT]]
#       Compares this checkout as it is with COMMIT: builds both, runs the HTTP hosts of both and measures old and new in pairs, by default 60 a
#       row (at most 12 for pulls). Prints for each row the medians, and the median of the ratios new / old with a 95 % interval. Exit code 1
#       where a row is SLOWER: its whole interval is above 1.05. The JSON objects have keys that only one of the hosts is configured with, such
#       as --new-config '{"cpu_overcommit": 1}'; the host of that side must know them. ROWS are some
#       of warm,network,cold,crowd,pull,output. REPORT is by default bench-comparison.txt in the working directory.
set -euo pipefail
call_directory=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

against=
old_config={}
new_config={}
only=
while [[ ${1:-} == --* ]]; do
    [[ $# -ge 2 ]] || die "$1 needs a value; the first lines of $0 say which."
    case $1 in
        --against) against=$2 ;;
        --old-config) old_config=$2 ;;
        --new-config) new_config=$2 ;;
        --only) only=$2 ;;
        *) die "there is no option $1; the first lines of $0 say which there are." ;;
    esac
    shift 2
done
if [[ -n $against ]]; then
    count=${1:-60}
    [[ $# -le 2 && $count =~ ^[1-9][0-9]{0,3}$ && $count -ge 6 && $count -le 1000 ]] || die "takes at most the number of pairs, 6 to 1000, and the file of the report."
    commit=$(git rev-parse --verify --quiet --end-of-options "$against^{commit}") || die "$against is not a commit of this repository."
    only_names=warm,network,cold,crowd,pull,output
    report=$(cd "$call_directory" && realpath -m -- "${2:-bench-comparison.txt}")
else
    count=${1:-20}
    [[ $old_config$new_config == "{}{}" ]] || die "--old-config and --new-config are only for --against COMMIT."
    [[ $# -le 2 && $count =~ ^[1-9][0-9]*$ ]] || die "takes at most the number of rounds and the file of the report."
    only_names=runs,sessions,network,callers,http,pool,crowd,images
    report=$(cd "$call_directory" && realpath -m -- "${2:-bench-report.txt}")
fi
[[ -z $only || $only =~ ^(${only_names//,/|})(,(${only_names//,/|}))*$ ]] || die "--only takes some of $only_names."
require_root
work=$(mktemp -d)
measuring=
# The benchmark stops its hosts itself if it is given the time.
clean_up() {
    if [[ -n $measuring ]]; then
        kill "$measuring" 2>/dev/null || true
        wait "$measuring" || true
    fi
    stop_registry
    [[ ! -d $work/old ]] || git worktree remove --force "$work/old" || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# measure ARGUMENTS: runs the benchmarks so that signals come to this script, and from it to them.
measure() {
    local status=0
    mkdir "$work/measured"
    TMPDIR=$work/measured dotnet Boxer.Benchmarks/bin/Release/net10.0/Boxer.Benchmarks.dll "$@" &
    measuring=$!
    wait "$measuring" || status=$?
    measuring=
    say "The report is in $report."
    return "$status"
}

install_packages musl-tools libc6-dev gcc curl git iproute2 nftables mmdebstrap umoci skopeo isal xz-utils
ensure_docker_registry
ensure_runsc
ensure_dotnet
layout=$(cache_folder)/python-image
scripts/python-image.sh "$layout"
quietly dotnet build Boxer.Benchmarks -c Release --nologo -v quiet -clp:NoSummary
start_registry "$work/registry" "$layout" python:3

if [[ -n $against ]]; then
    host=Boxer.Samples/Boxer.HttpHost
    built=$host/bin/Release/net10.0/Boxer.HttpHost.dll
    say "Building $against."
    quietly git worktree add --detach "$work/old" "$commit"
    (cd "$work/old" && quietly dotnet build "$host" -c Release --nologo -v quiet -clp:NoSummary)
    quietly dotnet build "$host" -c Release --nologo -v quiet -clp:NoSummary
    trap - ERR
    measure --against localhost/python:3 "localhost=$registry_url" "$report" "$count" \
        "$(git describe --always --abbrev=12 "$commit")" "$work/old/$built" "$old_config" \
        "$(git describe --always --dirty --abbrev=12)" "$PWD/$built" "$new_config" ${only:+"$only"}
    exit
fi

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
measure localhost/python:3 "localhost=$registry_url" "$report" "$count" ${only:+"$only"}
