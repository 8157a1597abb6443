#!/usr/bin/env bash
# Runs the reference host in small emulated machines, one after the other. Run as root on Debian or Ubuntu; missing packages are
# installed. Boxer.Tests/Linux/vm/run.sh describes each scenario; without arguments, all of them run.
#
#   ./test-hosts.sh [SCENARIO...]
#
# BOXER_NEWER_RUNSC=path names the runsc of the scenario newer-runsc. The last line is "N passed, N failed" (", N skipped"); each
# skipped and each failed test is named above it with the reason. The exit code is 1 if anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh

all=(cgroup2 unprivileged bare small newer-runsc)
scenarios=("${@:-${all[@]}}")
for scenario in "${scenarios[@]}"; do
    [[ " ${all[*]} " == *" $scenario "* ]] || die "there is no scenario $scenario; there are: ${all[*]}."
done
require_root

results=$PWD/TestResults/hosts
rm -rf "$results"
mkdir -p "$results"

step "Looking for what is missing"
install_packages busybox-static umoci skopeo qemu-system-x86 xz-utils gcc libc6-dev musl-tools python3
ensure_docker_registry
ensure_runsc
ensure_dotnet

step "Building the host"
quietly dotnet build Boxer.Samples/Boxer.HttpHost -c Release --nologo -v quiet -clp:NoSummary

for scenario in "${scenarios[@]}"; do
    step "$scenario"
    began=$SECONDS status=0
    Boxer.Tests/Linux/vm/run.sh "$scenario" | tee "$results/$scenario.tap" || status=$?
    printf '%s\t%s\t%s\n' "$scenario" "$status" "$results/$scenario.tap" >>"$results/suites.tsv"
    say "($scenario: $((SECONDS - began)) s)"
done

step "Results"
/usr/bin/python3 scripts/summarize-tests.py "$results"
