#!/usr/bin/env bash
# Runs real programs in real sandboxes, the judge, and long tests, on Debian or Ubuntu as root: installs what the tests need, builds with
# warnings as errors, builds the images, and runs the .NET tests with [LongTests], and the host on cgroup v2 in an emulated machine.
# CONTRIBUTING.md lists them.
#
# The last line is "N passed, N failed" (", N skipped"). Above it, each skipped and each failed test is named with the reason. The exit
# code is 1 if anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh

[[ $# -eq 0 ]] || die "takes no arguments."
require_root

results=$PWD/TestResults/programs
rm -rf "$results"
mkdir -p "$results"
# The last line says so also if a step before the tests fails.
summarized=
trap '[[ -n $summarized ]] || say "0 passed, 1 failed"' EXIT

step "Looking for what is missing"
install_packages musl-tools libc6-dev gcc iproute2 nftables busybox-static mmdebstrap umoci skopeo qemu-system-x86 xz-utils python3
# Debian has a separate package npm; elsewhere it is a part of nodejs.
command -v npm >/dev/null || install_packages nodejs npm
export DOTNET_EnableDiagnostics=0
ensure_docker_registry
ensure_runsc
ensure_dotnet
python_layout=$(cache_folder)/python-image
programs_layout=$(cache_folder)/programs-image
scripts/python-image.sh "$python_layout"
scripts/programs-image.sh "$programs_layout"

step "Building the tests"
quietly dotnet build Boxer.Tests -c Release --nologo -v quiet -clp:NoSummary

# The output is in a file, where a test that hangs is named each 5 minutes.
programs() {
    local status=0
    BOXER_TEST_IMAGE_LAYOUT=$python_layout BOXER_TEST_PROGRAMS_LAYOUT=$programs_layout timeout --foreground --kill-after=10 1800 \
        dotnet Boxer.Tests/bin/Release/net10.0/Boxer.Tests.dll -noColor -parallelMode none -trait Script=test-programs.sh \
        -longRunning 300 -result-junit "$results/programs.xml" >"$results/programs.txt" 2>&1 || status=$?
    tail -n 1 "$results/programs.txt"
    return "$status"
}

cgroup2_machine() { Boxer.Tests/Linux/vm/run.sh cgroup2 | tee "$results/cgroup2.tap"; }

# suite NAME RESULTS COMMAND: runs a step whose tests are in the file RESULTS.
suite() {
    local began=$SECONDS status=0
    step "$1"
    "$3" || status=$?
    printf '%s\t%s\t%s\n' "$1" "$status" "$2" >>"$results/suites.tsv"
    say "($1: $((SECONDS - began)) s)"
}

suite "programs" "$results/programs.xml" programs
suite "host on cgroup v2" "$results/cgroup2.tap" cgroup2_machine

step "Results"
summarized=1
/usr/bin/python3 scripts/summarize-tests.py "$results"
