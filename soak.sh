#!/usr/bin/env bash
# Runs the HTTP host under a random mix of client requests, kills it and starts further hosts beside it, and checks every answer
# and the machine afterwards:
#
#   ./soak.sh MINUTES [SEED]        as root
#
# The last line is a summary: "soak: N runs in M min, seed S: ok=…, …, wrong=0, left=0". The exit code is 1 after a wrong answer
# or if anything is left on the machine. The same seed repeats the same requests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

[[ $# -ge 1 && $# -le 2 && $1 =~ ^[0-9]+(\.[0-9]+)?$ && ${2:-1} =~ ^[0-9]+$ ]] || die "usage: $0 MINUTES [SEED]"
seed=${2:-$((RANDOM * 32768 + RANDOM))}
require_root
install_packages iproute2 nftables mmdebstrap umoci skopeo python3
ensure_docker_registry
ensure_runsc
ensure_dotnet
layout=$(cache_folder)/python-image
scripts/python-image.sh "$layout"
host=Boxer.Samples/Boxer.HttpHost/bin/Release/net10.0/Boxer.HttpHost.dll
# test.sh has built the host already.
[[ -f $host && -n ${BOXER_SOAK_BUILT:-} ]] || quietly dotnet build Boxer.Samples/Boxer.HttpHost -c Release --nologo -v quiet

# Hosts that are killed would leave the sockets of their runtime's diagnostics in /tmp.
export DOTNET_EnableDiagnostics=0
work=$(mktemp -d)
failed=1
finish() {
    stop_registry
    # Print the logs of the hosts after a failure.
    if [[ $failed -ne 0 ]]; then
        tail -n 40 "$work"/*.log 2>/dev/null || true
    fi
    rm -rf --one-file-system "$work"
}
trap finish EXIT
start_registry "$work/registry" "$layout" library/python:3.12-slim
# shellcheck disable=SC2154 # set by start_registry
/usr/bin/python3 Boxer.Tests/Soak/soak.py "$1" "$seed" "$work" "$host" "$registry_url"
failed=0
