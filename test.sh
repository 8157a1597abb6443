#!/usr/bin/env bash
# Everything but real programs and what takes long (those are in test-programs.sh), on a fresh Debian or Ubuntu as root: installs what the
# tests need, builds with warnings as errors, and runs
#
#   the style checks, the .NET tests, half a minute of fuzzing, two minutes of soak, the Python client's tests (by itself and against
#   a live host), the packages from a project outside the solution, and the host on cgroup v2 in a software-emulated machine.
#
# Every step runs, also after one that failed. The last line is "N passed, N failed" (", N skipped"); each skipped and each
# failed test is named above it with the reason. The exit code is 1 where anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

[[ $# -eq 0 ]] || die "takes no arguments."
require_root

results=$PWD/TestResults
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

# suite NAME RESULTS COMMAND...: runs a step whose tests are in the file RESULTS, or which is one test itself ("-").
# A step that fails ends itself and not this script; what it started ends with it.
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

# Also where a step before the first suite fails, the last line says so.
summarized=
beside_pid=
clean_up() {
    if [[ -n $beside_pid ]]; then
        kill -- -"$beside_pid" 2>/dev/null || true
        wait "$beside_pid" || true
    fi
    rm -rf --one-file-system "$work" || true
}
trap 'clean_up; [[ -n $summarized ]] || say "0 passed, 1 failed"' EXIT

step "Looking for what is missing"
install_packages musl-tools libc6-dev gcc curl git iproute2 nftables iptables busybox-static mmdebstrap umoci skopeo zstd qemu-system-x86 xz-utils \
    unzip python3 python3-httpx python3-pytest python3-pip python3-setuptools python3-wheel mypy shellcheck
export PYTHONDONTWRITEBYTECODE=1
# Hosts that tests kill would leave the sockets of their runtime's diagnostics in /tmp.
export DOTNET_EnableDiagnostics=0
ensure_docker_registry
ensure_afl_fuzz
ensure_runsc
ensure_dotnet
layout=$(cache_folder)/python-image
scripts/python-image.sh "$layout"
export BOXER_TEST_IMAGE_LAYOUT=$layout
say "$(runsc --version | head -n 1), .NET SDK $(dotnet --version), image $layout"

build() { dotnet build Boxer.Core.sln -c Release --nologo -v quiet -clp:NoSummary; }

shell_scripts() {
    local files
    mapfile -t files < <(git ls-files '*.sh' .ci/run Boxer.Tests/Linux/vm/init)
    shellcheck -x "${files[@]}"
}

dotnet_tests() {
    timeout --foreground --kill-after=10 1200 dotnet Boxer.Tests/bin/Release/net10.0/Boxer.Tests.dll -noColor -trait- Script=test-programs.sh \
        -result-junit "$results/dotnet.xml"
}

# Tests that see only the public API of the packages.
public_api_tests() {
    timeout --foreground --kill-after=10 900 dotnet Boxer.Tests/PublicApi/bin/Release/net10.0/Boxer.PublicApi.Tests.dll -noColor \
        -result-junit "$results/public-api.xml"
}

python_client() {
    cd Boxer.Samples/python
    env -u BOXER_URL /usr/bin/python3 -m pytest -q -p no:cacheprovider --ignore tests/test_host.py --junitxml "$results/python.xml"
}

python_types() {
    cd Boxer.Samples/python
    /usr/bin/mypy --cache-dir "$work/mypy" boxer examples tests
}

# The package that pip installs: what is in it, and that it works without the checkout.
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
            die "the host did not start; its last words are above."
        fi
        sleep 0.1
    done
    cd Boxer.Samples/python
    BOXER_URL=http://127.0.0.1:$port BOXER_IMAGE=localhost/python:3 /usr/bin/python3 -m pytest -q -p no:cacheprovider \
        tests/test_host.py --junitxml "$results/python-live.xml"
}

packages() {
    nuget/pack.sh
    nuget/check.sh "$layout"
}

cgroup2_machine() { Boxer.Tests/Linux/vm/run.sh cgroup2 | tee "$results/cgroup2.tap"; }

# start_beside FUNCTION: starts suites beside those of this script, which wait more than they compute.
start_beside() {
    say "(The steps that run beside the next one are told of after it.)"
    set -m
    "$1" </dev/null >"$results/beside.log" 2>&1 &
    beside_pid=$!
    set +m
}

end_beside() {
    wait "$beside_pid" || printf 'steps that run beside others\t%s\t-\n' "$?" >>"$results/suites.tsv"
    beside_pid=
    cat "$results/beside.log"
}

# What has nothing to do with the sandboxes, links and rules of this machine: .NET tests compare them with what they were.
beside_dotnet() {
    renice -n 19 "$BASHPID" >/dev/null
    suite "style of C#" - dotnet format Boxer.Core.sln --no-restore --verify-no-changes
    suite "shell scripts" - shell_scripts
    suite "types of the Python client" - python_types
    suite "Python client" "$results/python.xml" python_client
    suite "Python package" - python_package
    suite "fuzzing of layers" - Boxer.Tests/Fuzz/run.sh 30
    suite "host on cgroup v2" "$results/cgroup2.tap" cgroup2_machine
}

# The soak looks at its own instances, and is to stand others beside them.
beside_soak() {
    suite "Python client with a live host" "$results/python-live.xml" python_client_live
    suite "packages" - packages
}

suite "build" - build
start_beside beside_dotnet
suite ".NET" "$results/dotnet.xml" dotnet_tests
suite "public API" "$results/public-api.xml" public_api_tests
end_beside
start_beside beside_soak
suite "soak" - env BOXER_SOAK_BUILT=1 ./soak.sh 2
end_beside

step "Results"
summarized=1
/usr/bin/python3 scripts/summarize-tests.py "$results"
