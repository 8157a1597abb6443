#!/usr/bin/env bash
# From a fresh Debian or Ubuntu to the output of a Python program in a gVisor sandbox:
#
#   ./quickstart.sh            installs what is missing, builds, gets an image, runs print(42)
#   ./quickstart.sh --local    the same without asking any registry for an image
#
# Run as root, from a checkout. A second run takes seconds. RUNSC=path names a runsc that is not on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

case "$*" in
    "") local_only= ;;
    --local) local_only=1 ;;
    *) die "unknown arguments '$*'; usage: ./quickstart.sh [--local]" ;;
esac
[[ -f Boxer.Core.sln ]] || die "this is not a checkout of Boxer: Boxer.Core.sln is missing beside this script."
require_root

public_image=python:3.12-slim
local_image=localhost/python:3
console=Boxer.Samples/EmbeddedConsole/bin/Release/net10.0/EmbeddedConsole.dll
host=Boxer.Samples/Boxer.HttpHost/bin/Release/net10.0/Boxer.HttpHost.dll
config=artifacts/quickstart.json
remembered=artifacts/quickstart.image
work=$(mktemp -d)
trap 'stop_registry; rm -rf --one-file-system "$work"' EXIT

path_before=$PATH
step "Looking for what is missing"
install_packages musl-tools curl iproute2 nftables python3 python3-httpx
ensure_runsc
ensure_dotnet
say "$(runsc --version | head -n 1), .NET SDK $(dotnet --version)"

step "Building"
say "This takes a minute or two the first time."
for project in Boxer.Samples/EmbeddedConsole Boxer.Samples/Boxer.HttpHost; do
    quietly dotnet build "$project" -c Release --nologo -v quiet || die "the build failed; the reason is above."
done
say "$console"
say "$host"

# run_program IMAGE [--mirror REGISTRY=URL]
run_program() {
    local wanted=$1
    shift
    dotnet "$console" "$@" "$wanted" python3 -c 'print(42)' >"$work/stdout" 2>"$work/stderr"
}

if [[ -n ${RUNSC:-} ]]; then
    export Boxer__RunscPath=$RUNSC
fi

export Boxer__PullTimeout=00:02:00

step "Running print(42) in gVisor"
mkdir -p artifacts
image=
if [[ -f $remembered && (-z $local_only || $(cat "$remembered") == "$local_image") ]] && run_program "$(cat "$remembered")"; then
    image=$(cat "$remembered")
    say "The image is $image, kept from the last time."
fi
if [[ -z $image && -z $local_only ]]; then
    say "Pulling $public_image from its registry; a machine that cannot reach it builds an image in two minutes at most."
    if run_program "$public_image"; then
        image=$public_image
        say "The image is $image, from its registry."
    else
        say "That did not work: $(tail -n 1 "$work/stderr")"
    fi
fi
if [[ -z $image ]]; then
    install_packages mmdebstrap umoci skopeo
    ensure_docker_registry
    layout=$(cache_folder)/python-image
    scripts/python-image.sh "$layout"
    start_registry "$work/registry" "$layout" python:3
    if ! run_program "$local_image" --mirror "localhost=$registry_url"; then
        cat "$work/stderr" >&2
        die "the program did not run in a sandbox; the reason is above."
    fi
    stop_registry
    image=$local_image
    say "The image is $image, built here from this machine's own Debian or Ubuntu packages and pulled from a registry on loopback."
fi
printf '%s\n' "$image" >"$remembered"
say ""
sed 's/^/    /' "$work/stdout"
[[ $(cat "$work/stdout") == 42 ]] || die "the program did not print 42."

{
    printf '{\n'
    [[ -z ${RUNSC:-} ]] || printf '  "runsc_path": "%s",\n' "$RUNSC"
    printf '  "listen_addr": "127.0.0.1:8080"\n}\n'
} >"$config"

# Debian's own, which has httpx, even where another python3 comes first on PATH.
python=python3
[[ $(command -v python3) == /usr/bin/python3 ]] || python=/usr/bin/python3
cat <<TEXT

==> Next
The image is kept in ~/.boxer; none of these needs to pull it again.
$(if [[ $PATH != "$path_before" ]]; then
    printf '\nFirst, as dotnet or runsc is not on PATH:\n\nexport PATH=%q' "$PATH"
    [[ -z ${DOTNET_ROOT:-} ]] || printf ' DOTNET_ROOT=%q' "$DOTNET_ROOT"
    printf '\n'
fi)
1. Over HTTP. Start the host, and ask it from another terminal:

dotnet $host --config $config

curl -s http://127.0.0.1:8080/run -H 'Content-Type: application/json' \\
    -d '{"image": "$image", "cmd": ["python3", "-c", "print(6 * 7)"]}'

2. From Python, with the same host running:

PYTHONPATH=Boxer.Samples/python $python <<'PYTHON'
from boxer import BoxerClient
with BoxerClient("http://127.0.0.1:8080") as boxer:
    print(boxer.run(image="$image", cmd=["python3", "-c", "print(6 * 7)"]).stdout)
PYTHON

3. From C#, without a host:

cat >artifacts/hello.cs <<'CSHARP'
#:project ../Boxer.Hosting/Boxer.Hosting.csproj
#:package Microsoft.Extensions.DependencyInjection
using Boxer;
using Microsoft.Extensions.DependencyInjection;

var services = new ServiceCollection();
services.AddBoxer(options => options.DefaultLimits.MemoryBytes = 512 * ByteSize.MiB);
await using var provider = services.BuildServiceProvider();
var runner = provider.GetRequiredService<ISandboxRunner>();
var result = await runner.RunAsync(new SandboxRequest("$image", "python3", "-c", "print(6 * 7)"));
Console.Write(result.StandardOutput);
CSHARP
dotnet run -c Release artifacts/hello.cs
TEXT
