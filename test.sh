#!/usr/bin/env bash
# Runs the tests:
#
#   ./test.sh --quick    the fast loop: build, fast style checks, unit tests. Needs no root, starts no sandbox, installs nothing.
#   ./test.sh NAME       build, then the .NET tests whose class and method contain NAME: PoolTests, or PoolTests.Limits_are. Tests
#                        of sandboxes need root, and the image that a run of all tests builds.
#   ./test.sh            all but real programs and long tests (those are in test-programs.sh), on Debian or Ubuntu as root: installs
#                        what the tests need, builds with warnings as errors, and runs the style checks, the .NET tests, half a minute
#                        of fuzzing, two minutes of soak, the Python client's tests (alone and against a live host), and the packages
#                        from a project outside the solution.
#
# Every step runs, also after a failed one. Steps that run side by side print when all of them have ended. The last line is
# "N passed, N failed" (", N skipped"). Above it, each skipped and each failed test is named with the reason. Logs and results are kept
# in TestResults. The exit code is 1 if anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

case $#-${1:-} in
    0-) mode=all ;;
    1---quick) mode=quick ;;
    1-[A-Za-z]*) mode=named ;;
    *) die "usage: $0 [--quick | NAME]" ;;
esac
[[ $mode != all ]] || require_root

results=$PWD/TestResults
[[ $mode == all ]] || results+=/$mode
rm -rf "$results"
mkdir -p "$results"
work=$(mktemp -d)

host_pid=
stop_host() {
    if [[ -n $host_pid ]]; then
        kill "$host_pid" 2>/dev/null || true
        wait "$host_pid" 2>/dev/null || true
        host_pid=
    fi
}

# suite NAME RESULTS COMMAND...: runs a step whose tests are in the file RESULTS, or that is one test itself ("-").
# A step that fails ends itself and not this script. The processes that it started end with it.
suite() {
    local name=$1 file=$2 status began=$SECONDS
    shift 2
    step "$name"
    set +e
    trap - ERR
    (
        set -e
        report_faults
        trap 'stop_host; stop_registry' EXIT
        "$@"
    )
    status=$?
    report_faults
    set -e
    printf '%s\t%s\t%s\n' "$name" "$status" "$file" >>"$results/suites.tsv"
    say "($name: $((SECONDS - began)) s)"
    return 0
}

# side_by_side WORKERS JOB...: runs the suites of each function JOB, so many jobs at once, and prints their output in this order when all
# have ended. The longest jobs come first, so that none is left alone at the end.
worker_pids=()
side_by_side() {
    local count=$1 job pid
    shift
    mkdir "$work/taken"
    set -m
    for ((; count > 0; count--)); do
        take_jobs "$@" </dev/null &
        worker_pids+=("$!")
    done
    set +m
    for pid in "${worker_pids[@]}"; do
        wait "$pid" || printf 'jobs side by side\t%s\t-\n' "$?" >>"$results/suites.tsv"
    done
    worker_pids=()
    for job in "$@"; do
        cat "$results/$job.log"
    done
}

take_jobs() {
    local job began
    for job in "$@"; do
        # Only one worker can make the directory.
        if mkdir "$work/taken/$job" 2>/dev/null; then
            began=$SECONDS
            say "Started $job."
            "$job" >"$results/$job.log" 2>&1
            say "Ended $job after $((SECONDS - began)) s; its output comes below."
        fi
    done
}

# The last line says so also if a step before the first suite fails.
summarized=
clean_up() {
    local pid
    for pid in "${worker_pids[@]}"; do
        kill -- -"$pid" 2>/dev/null || true
        wait "$pid" || true
    done
    stop_compiler
    rm -rf --one-file-system "$work" || true
}
trap 'clean_up; [[ -n $summarized ]] || say "0 passed, 1 failed"' EXIT

summarize() {
    step "Results"
    summarized=1
    /usr/bin/python3 scripts/summarize-tests.py "$results"
}

# All builds of a run of all tests share one compiler process, which is this script's own.
[[ $mode != all ]] || export UseSharedCompilation=true SharedCompilationId=boxer-tests-$$
stop_compiler() {
    local file
    [[ $mode == all ]] || return 0
    # The brackets keep grep from finding its own process.
    grep -slxz -e "-[p]ipename:$SharedCompilationId" /proc/[0-9]*/cmdline | while read -r file; do
        kill "${file//[!0-9]/}" 2>/dev/null || true
    done || true
    rm -f "${TMPDIR:-/tmp}/$SharedCompilationId"
}

build() { dotnet build Boxer.Core.sln -c Release --nologo -v quiet -clp:NoSummary; }

whitespace() { dotnet format whitespace . --folder --verify-no-changes --exclude '**/obj/**' '**/bin/**' artifacts TestResults; }

shell_scripts() {
    local files
    mapfile -t files < <(git ls-files '*.sh' .ci/run Boxer.Tests/Linux/vm/init)
    shellcheck -x "${files[@]}"
}

# tests DLL NAME ARGUMENT...: runs the tests of an assembly that the arguments select. The just-in-time compiler does less for them.
# The output is in a file, where a test that hangs is named each 2 minutes.
tests() {
    local dll=$1 name=$2 status=0
    shift 2
    timeout --foreground --kill-after=10 1200 "${isolated[@]}" env DOTNET_TieredPGO=0 DOTNET_EnableWriteXorExecute=0 dotnet "$dll" -noColor -noLogo -printMaxStringLength 1000 "$@" \
        -longRunning 120 -result-junit "$results/$name.xml" >"$results/$name.txt" 2>&1 || status=$?
    tail -n 1 "$results/$name.txt"
    return "$status"
}
isolated=()
boxer_tests=Boxer.Tests/bin/Release/net10.0/Boxer.Tests.dll
public_tests=Boxer.Tests/PublicApi/bin/Release/net10.0/Boxer.PublicApi.Tests.dll

python_client() {
    cd Boxer.Samples/python
    env -u BOXER_URL /usr/bin/python3 -m pytest -q -p no:cacheprovider --ignore tests/test_host.py --ignore tests/test_host_sessions.py --junitxml "$results/python.xml"
}

python_types() {
    cd Boxer.Samples/python
    /usr/bin/mypy --cache-dir "$(cache_folder)/mypy" boxer examples tests
}

export PYTHONDONTWRITEBYTECODE=1
# Hosts that tests kill would leave the sockets of their runtime's diagnostics in /tmp.
export DOTNET_EnableDiagnostics=0

# The fast loop. Checks whose program is not installed are left out, with a word.
has() {
    command -v "$1" >/dev/null || { say "($1 is not installed: its check is left out.)"; return 1; }
}

quick_style() {
    suite "whitespace" - whitespace
    if has shellcheck; then suite "shell scripts" - shell_scripts; fi
    if has mypy; then suite "types of the Python client" - python_types; fi
}

# The tests whose names contain the argument, in both assemblies. As root, sandboxes have a network and instances of their own.
named_tests() {
    local name found=
    layout=$(cache_folder)/python-image
    if [[ $(id -u) -eq 0 ]]; then
        isolated=(scripts/isolate.sh)
        ensure_docker_registry
        if [[ -f $layout/index.json ]]; then export BOXER_TEST_IMAGE_LAYOUT=$layout; fi
        if [[ -f ${layout%/*}/programs-image/index.json ]]; then export BOXER_TEST_PROGRAMS_LAYOUT=${layout%/*}/programs-image; fi
    fi
    for name in boxer_tests public_tests; do
        if [[ $(dotnet "${!name}" -noLogo -list methods -method "*$1*") == *"$1"* ]]; then
            found=1
            suite "$name" "$results/$name.xml" tests "${!name}" "$name" -method "*$1*"
        fi
    done
    [[ -n $found ]] || die "no test has $1 in its name."
}

quick_tests() {
    suite "unit tests" "$results/unit.xml" tests "$boxer_tests" unit -trait- Needs=sandboxes -trait- Pace=slow -trait- Script=test-programs.sh
    suite "public API" "$results/public-api.xml" tests "$public_tests" public-api -trait- Needs=sandboxes
}

if [[ $mode != all ]]; then
    dotnet --version >/dev/null 2>&1 || die "needs the .NET 10 SDK on PATH (https://dotnet.microsoft.com/download/dotnet/10.0)."
    suite "build" - build
    if [[ $mode == quick ]]; then
        unset BOXER_TEST_IMAGE_LAYOUT BOXER_TEST_PROGRAMS_LAYOUT
        side_by_side 2 quick_tests quick_style
    else
        named_tests "$1"
    fi
    summarize
    exit
fi

step "Looking for what is missing"
install_packages musl-tools libc6-dev gcc curl jq git iproute2 nftables iptables busybox-static mmdebstrap umoci skopeo zstd xz-utils \
    unzip util-linux python3 python3-httpx python3-pytest python3-pip python3-setuptools python3-wheel mypy shellcheck
ensure_docker_registry
ensure_afl_fuzz
ensure_runsc
ensure_dotnet
layout=$(cache_folder)/python-image
scripts/python-image.sh "$layout"
export BOXER_TEST_IMAGE_LAYOUT=$layout
say "$(runsc --version | head -n 1), .NET SDK $(dotnet --version), image $layout"

# The package that pip installs: its files, and that it works without the checkout.
python_package() {
    cp -r Boxer.Samples/python "$work/package"
    /usr/bin/python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$work/wheel" "$work/package"
    unzip -q "$work"/wheel/boxer-*.whl -d "$work/installed"
    [[ -f $work/installed/boxer/py.typed ]] || die "the package lacks py.typed."
    (cd "$work/installed" && PYTHONPATH=$work/installed /usr/bin/python3 -c 'import boxer; boxer.BoxerClient("http://127.0.0.1:9").close()')
}

# The client and its examples against a host of their own, with the local image from a registry on loopback.
python_client_live() {
    local home=$work/home port attempt
    start_registry "$work/registry" "$layout" python:3
    port=$(free_port)
    cat >"$work/host.json" <<JSON
{
  "home": "$home",
  "listen_addr": "127.0.0.1:$port",
  "runsc_path": "$(command -v runsc)",
  "registry_mirrors": { "localhost": ["$registry_url"] }
}
JSON
    dotnet Boxer.Samples/Boxer.HttpHost/bin/Release/net10.0/Boxer.HttpHost.dll --config "$work/host.json" >"$results/host.log" 2>&1 &
    host_pid=$!
    for attempt in {1..300}; do
        if curl -sf "http://127.0.0.1:$port/healthz" >/dev/null; then
            break
        fi
        if ! kill -0 "$host_pid" 2>/dev/null || [[ $attempt -eq 300 ]]; then
            tail -n 20 "$results/host.log"
            die "the host did not start; its last output is above."
        fi
        sleep 0.1
    done
    cd Boxer.Samples/python
    BOXER_URL=http://127.0.0.1:$port BOXER_IMAGE=localhost/python:3 /usr/bin/python3 -m pytest -q -p no:cacheprovider \
        tests/test_host.py tests/test_host_sessions.py --junitxml "$results/python-live.xml"
}

packages() {
    nuget/pack.sh
    nuget/check.sh "$layout"
}

# Tests of sandboxes compare their whole machine before and after, one after the other. Each process of tests has a network, a process
# table and instances of its own, so that several run side by side.
isolated=(scripts/isolate.sh)

sandboxes_in_folders() {
    suite "sandboxes, folders below Linux" "$results/sandboxes-folders.xml" tests "$boxer_tests" sandboxes-folders \
        -trait Needs=sandboxes -trait- Script=test-programs.sh -namespace 'Boxer.Tests.Linux.*'
}

sandboxes() {
    suite "sandboxes" "$results/sandboxes.xml" tests "$boxer_tests" sandboxes \
        -trait Needs=sandboxes -trait- Script=test-programs.sh -namespace- 'Boxer.Tests.Linux.*'
}

unit_tests() {
    suite "unit tests" "$results/unit.xml" tests "$boxer_tests" unit -trait- Needs=sandboxes -trait- Script=test-programs.sh
}

public_api() { suite "public API" "$results/public-api.xml" tests "$public_tests" public-api; }

# The soak starts and kills hosts of its own, and looks at their instances alone.
soak() { suite "soak" - env BOXER_SOAK_BUILT=1 ./soak.sh 2; }

# Both build Boxer.Core, so they run one after the other.
package_consumers() {
    suite "packages" - packages
    suite "fuzzing of layers" - Boxer.Tests/Fuzz/run.sh 30
}

live_client() { suite "Python client with a live host" "$results/python-live.xml" python_client_live; }

# The build checks the rest of the style of C#.
style() {
    suite "whitespace" - whitespace
    suite "shell scripts" - shell_scripts
    suite "types of the Python client" - python_types
    suite "Python client" "$results/python.xml" python_client
    suite "Python package" - python_package
}

suite "build" - build
side_by_side 3 sandboxes_in_folders sandboxes unit_tests soak style public_api package_consumers live_client
summarize
