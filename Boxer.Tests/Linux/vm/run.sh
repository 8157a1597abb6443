#!/usr/bin/env bash
# Runs the reference host in a small emulated machine. It boots the cloud kernel of this Debian release with nothing
# but busybox, runsc, .NET, a registry and the host in it, and executes the cases of a scenario.
#
#   Boxer.Tests/Linux/vm/run.sh SCENARIO        after dotnet build -c Release; as root
#
#   cgroup2        cgroup v2 and another kernel
#   unprivileged   an ordinary user
#   bare           no IPv6, no programs for networks, no cgroups at first, a home that is read-only
#   small          as little memory and disk as works
#   newer-runsc    the cases of cgroup2 with the runsc that BOXER_NEWER_RUNSC names
#
# Prints the results in the Test Anything Protocol, and everything else on stderr.
set -euo pipefail
exec 3>&1 1>&2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."

# shellcheck source=scripts/install.sh
. scripts/install.sh
# shellcheck source=scripts/registry.sh
. scripts/registry.sh

# A missing program skips the scenario, because not every machine can emulate another.
skip() {
    printf '1..0 # SKIP %s\n' "$*" >&3
    exit 0
}

[[ $# -eq 1 ]] || die "usage: $0 SCENARIO"
cases=$1 memory=2560 arguments=
case $1 in
    cgroup2 | unprivileged) ;;
    bare) arguments=ipv6.disable=1 ;;
    small) memory=768 ;;
    newer-runsc)
        [[ -n ${BOXER_NEWER_RUNSC:-} ]] || skip "BOXER_NEWER_RUNSC names no newer runsc, and the package sources have none"
        [[ -x $BOXER_NEWER_RUNSC ]] || die "BOXER_NEWER_RUNSC does not name a program."
        cases=cgroup2
        ;;
    *) die "there is no scenario $1." ;;
esac

host=Boxer.Samples/Boxer.HttpHost/bin/Release/net10.0
[[ $(dpkg --print-architecture) == amd64 ]] || skip "the emulated machine needs amd64"
[[ -f $host/Boxer.HttpHost.dll ]] || die "the host is not built; run: dotnet build -c Release Boxer.Core.sln"
for tool in qemu-system-x86_64 busybox umoci skopeo docker-registry runsc; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
if ldd "$(command -v busybox)" >/dev/null 2>&1; then
    skip "busybox is not the static one (package busybox-static)"
fi

refresh_package_lists
package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1)
[[ -n $package ]] || skip "the package sources have no linux-image-cloud-amd64"
kernel=$(cache_folder)/$package
unpack_package "$package" "$kernel" || skip "$package could not be fetched"

work=$(mktemp -d)
trap 'stop_registry; rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,dev,etc,proc,run,sys,tmp,usr/bin,usr/lib/modules,usr/share/dotnet/shared,new}
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"

cp "$here/init" "$here/lib.sh" "$here/sessions.sh" "$root"
cp "$here/cases/$cases.sh" "$root/cases.sh"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$(command -v docker-registry)" "$root/usr/bin"
runsc=$(command -v runsc)
[[ $1 != newer-runsc ]] || runsc=$BOXER_NEWER_RUNSC
cp "$runsc" "$root/usr/bin/runsc"
cp -r "$host" "$root/host"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"

dotnet=$(dirname "$(realpath "$(command -v dotnet)")")
cp -r "$dotnet/dotnet" "$dotnet/host" "$root/usr/share/dotnet"
for framework in Microsoft.NETCore.App Microsoft.AspNetCore.App; do
    newest=$(find "$dotnet/shared/$framework" -mindepth 1 -maxdepth 1 -name '10.*' | sort -V | tail -n 1)
    mkdir "$root/usr/share/dotnet/shared/$framework"
    cp -r "$newest" "$root/usr/share/dotnet/shared/$framework"
done
# Copies the libraries that these programs load: those in their headers, and OpenSSL, which .NET opens by name.
{
    # ldd fails if one of its files loads nothing.
    { find "$root/usr" "$root/host" -type f \( -name '*.so' -o -perm -u+x \) -exec ldd {} + 2>/dev/null || true; } |
        sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p'
    ldconfig -p | sed -n 's/.*\(libssl\|libcrypto\)\.so\.3 .*x86-64.*=> //p'
} | grep -v "^$root" | sort -u | while read -r library; do
    install -D "$library" "$root/usr${library#/usr}"
done

# overlay is a module of the cloud kernel; newer releases compress their modules.
module=$(find "$kernel" -name 'overlay.ko*' | head -n 1)
[[ -n $module ]] || skip "$package has no overlay module"
case $module in
    *.xz) xz -dc "$module" >"$root/usr/lib/modules/overlay.ko" ;;
    *) cp "$module" "$root/usr/lib/modules/overlay.ko" ;;
esac

# The image of the cases is busybox too, because unpacking a larger one takes minutes on the emulated processor.
image=$work/layout:latest
mkdir -p "$work/files"/{bin,etc,tmp}
cp "$(command -v busybox)" "$work/files/bin/busybox"
for applet in $("$work/files/bin/busybox" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$work/files/bin/$applet"
done
{
    umoci init --layout "$work/layout"
    umoci new --image "$image"
    umoci insert --image "$image" "$work/files" /
    umoci config --image "$image" --config.env PATH=/bin --config.cmd sh
} >/dev/null
start_registry "$work/registry" "$work/layout" busybox:1
stop_registry
cp -r "$work/registry/data" "$root/registry"

(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initramfs"
say "Booting $package with $(du -h "$work/initramfs" | cut -f 1) of files; this takes about a minute."
status=0
timeout --foreground 1200 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m "$memory" -nodefaults -no-reboot \
    -display none -serial stdio -kernel "$(find "$kernel/boot" -name 'vmlinuz-*' | head -n 1)" -initrd "$work/initramfs" \
    -append "console=ttyS0 rdinit=/init quiet loglevel=3 panic=-1 $arguments" </dev/null |
    stdbuf -oL tr -d '\r' | tee "$work/console" | grep -a --line-buffered -E '^(ok|not ok|#|1\.\.)' >&3 || status=$?
if [[ $status -ne 0 ]]; then
    tail -n 20 "$work/console"
    die "the emulated machine failed or did not power off within 20 minutes; its last output is above."
fi
