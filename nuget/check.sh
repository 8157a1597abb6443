#!/usr/bin/env bash
# Proves the packages: restores the projects in nuget/consumer from artifacts/nuget, outside the solution, and runs them with a
# Python image from a registry on loopback. One of them is compiled ahead of time and reads its options from JSON:
#
#   nuget/check.sh IMAGE_LAYOUT     an OCI layout made by scripts/python-image.sh
#
# Run as root, after nuget/pack.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

[[ $# -eq 1 ]] || die "usage: $0 IMAGE_LAYOUT"
layout=$(realpath -e "$1") || die "there is no image layout at $1; make one with scripts/python-image.sh."
[[ -n $(find artifacts/nuget -name 'Boxer.Hosting.*.nupkg' 2>/dev/null) ]] || die "there are no packages; run nuget/pack.sh first."
require_root
install_packages skopeo gcc zlib1g-dev
ensure_docker_registry
ensure_runsc
ensure_dotnet

work=$(mktemp -d)
trap 'stop_registry; rm -rf --one-file-system "$work"' EXIT
# A packages folder of its own, so that the packages just made are used and not what an earlier restore kept, here or for a project
# elsewhere; all others come from where this machine has them, and what it does not have (the compiler) is kept.
restored=$(cache_folder)/consumer-packages
rm -rf "$restored"/boxer.*
others=$(dotnet nuget locals global-packages --list | sed 's/^global-packages: //')
mkdir "$work/others"
find "$others" -mindepth 1 -maxdepth 1 ! -name 'boxer.*' -exec ln -s -t "$work/others" {} +
version=$(dotnet msbuild Boxer.Hosting -getProperty:Version)
cp -r nuget/consumer "$work/consumer"
mkdir "$work/consumer/packages"
cp artifacts/nuget/*.nupkg "$work/consumer/packages"
restore=(-p:BoxerVersion="$version" -p:RestorePackagesPath="$restored" -p:RestoreFallbackFolders="$work/others")
build_consumer() {
    (
        cd "$work/consumer"
        dotnet build Consumer.csproj -c Release -v quiet --nologo -clp:NoSummary -p:RunAnalyzers=true "${restore[@]}" "$@"
    )
}
# For another platform the same program does not build: CA1416 names each call that needs Linux.
if build_consumer -p:RuntimeIdentifier=win-x64 -p:UseAppHost=false >"$work/windows.log"; then
    die "a consumer for Windows was built without a warning."
fi
grep -q 'CA1416.*AddBoxer' "$work/windows.log" || die "a consumer for Windows did not get CA1416: $(tail -n 5 "$work/windows.log")"
build_consumer
for name in boxer.core boxer.network boxer.hosting boxer.testing; do
    [[ -d $restored/$name/$version ]] || die "$name was not restored from artifacts/nuget."
done

start_registry "$work/registry" "$layout" python:3
said=$(dotnet "$work/consumer/bin/Release/net10.0/Consumer.dll" "$work/home" "$registry_url" \
    localhost/python:3 python3 -c 'print(6 * 7)')
[[ $said == 42 ]] || die "the consumer of the packages printed '$said' instead of 42."
faked=$(dotnet "$work/consumer/bin/Release/net10.0/Consumer.dll" --fake)
[[ $faked == faked ]] || die "the consumer of the packages printed '$faked' instead of 'faked'."
say "A project that knows only the packages of version $version ran Python: it printed $said."

(
    cd "$work/consumer/aot"
    dotnet publish -c Release -v quiet --nologo -clp:NoSummary --ucr -o "$work/aot" "${restore[@]}"
)
[[ ! -e $work/aot/Boxer.Hosting.dll ]] || die "the program that is compiled ahead of time has assemblies beside it."
cat >"$work/appsettings.json" <<JSON
{
  "Boxer": {
    "Home": "$work/home",
    "DefaultLimits": { "WallClock": "00:01:00" },
    "PullPolicy": "missing",
    "Pool": { "Images": [{ "Image": "localhost/python:3", "Count": 1, "WarmUp": ["python3", "-c", "pass"] }] },
    "Registries": [{ "Name": "localhost", "Mirrors": ["$registry_url"] }, { "Name": "127.0.0.1:5000", "Insecure": true }]
  }
}
JSON
said=$("$work/aot/AotConsumer" "$work/appsettings.json" localhost/python:3 python3 -c 'print(6 * 7)')
expected=$'localhost/python:3 1 python3 -c pass\nlocalhost 1 False\n127.0.0.1:5000 0 True\n00:01:00 Missing\n42\n42\nlocalhost/python:3'
[[ $said == "$expected" ]] || die "the program that is compiled ahead of time printed '$said'."
say "A program compiled ahead of time read its options from JSON and ran Python in two runners."
