#!/usr/bin/env bash
# Proves the packages: restores the project in nuget/consumer from artifacts/nuget, outside the solution, and runs it with a
# Python image from a registry on loopback:
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
install_packages skopeo
ensure_docker_registry
ensure_runsc
ensure_dotnet

work=$(mktemp -d)
trap 'stop_registry; rm -rf --one-file-system "$work"' EXIT
# A packages folder of its own, so that the packages just made are used and not what an earlier restore kept, here or for a project
# elsewhere; all others come from where this machine has them.
others=$(dotnet nuget locals global-packages --list | sed 's/^global-packages: //')
mkdir "$work/others"
find "$others" -mindepth 1 -maxdepth 1 ! -name 'boxer.*' -exec ln -s -t "$work/others" {} +
version=$(dotnet msbuild Boxer.Hosting -getProperty:Version)
cp -r nuget/consumer "$work/consumer"
mkdir "$work/consumer/packages"
cp artifacts/nuget/*.nupkg "$work/consumer/packages"
build_consumer() {
    (
        cd "$work/consumer"
        dotnet build -c Release -v quiet --nologo -clp:NoSummary -p:RunAnalyzers=true -p:BoxerVersion="$version" \
            -p:RestorePackagesPath="$work/restored" -p:RestoreFallbackFolders="$work/others" "$@"
    )
}
# For another platform the same program does not build: CA1416 names each call that needs Linux.
if build_consumer -p:RuntimeIdentifier=win-x64 -p:UseAppHost=false >"$work/windows.log"; then
    die "a consumer for Windows was built without a warning."
fi
grep -q 'CA1416.*AddBoxer' "$work/windows.log" || die "a consumer for Windows did not get CA1416: $(tail -n 5 "$work/windows.log")"
build_consumer
for name in boxer.core boxer.network boxer.hosting boxer.testing; do
    [[ -d $work/restored/$name/$version ]] || die "$name was not restored from artifacts/nuget."
done

start_registry "$work/registry" "$layout" python:3
said=$(dotnet "$work/consumer/bin/Release/net10.0/Consumer.dll" "$work/home" "$registry_url" \
    localhost/python:3 python3 -c 'print(6 * 7)')
[[ $said == 42 ]] || die "the consumer of the packages printed '$said' instead of 42."
faked=$(dotnet "$work/consumer/bin/Release/net10.0/Consumer.dll" --fake)
[[ $faked == faked ]] || die "the consumer of the packages printed '$faked' instead of 'faked'."
say "A project that knows only the packages of version $version ran Python: it printed $said."
