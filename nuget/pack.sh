#!/usr/bin/env bash
# Packs Boxer.Core, Boxer.Network, Boxer.Hosting, Boxer.AspNetCore and Boxer.Testing into artifacts/nuget, and checks what is in them. They run on this machine's
# processor, and packed on x64 with gcc-aarch64-linux-gnu installed on arm64 too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=scripts/install.sh
. scripts/install.sh
ensure_dotnet
install_packages unzip

case $(uname -m) in
    x86_64) rid=linux-x64 ;;
    aarch64) rid=linux-arm64 ;;
    *) die "packages are made on x64 and arm64." ;;
esac
out=artifacts/nuget
rm -rf "$out"
for project in Boxer.Core Boxer.Network Boxer.Hosting Boxer.AspNetCore Boxer.Testing; do
    dotnet pack "$project" -c Release -o "$out" -v quiet --nologo -clp:NoSummary
    package=$(find "$out" -name "$project.*.nupkg")
    expected=("lib/net10.0/$project.dll" "lib/net10.0/$project.xml" README.md icon.png)
    if [[ $project == Boxer.Core ]]; then
        # PID 1 of every sandbox: without it the package cannot run anything.
        expected+=("runtimes/$rid/native/boxer-init" "buildTransitive/Boxer.Core.targets")
    fi
    files=$(unzip -Z1 "$package")
    for file in "${expected[@]}"; do
        grep -qxF "$file" <<<"$files" || die "$package lacks $file."
    done
    say "$package"
done
