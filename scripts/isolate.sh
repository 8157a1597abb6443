#!/usr/bin/env bash
# Runs a command as root with its own network, process table, mounts, /run/boxer and /run/netns:
#
#   scripts/isolate.sh COMMAND [ARGUMENT...]
#
# Tests check everything that Boxer could leave on a machine. In here, they see only their own sandboxes, links and firewall rules,
# so that several test processes run side by side. The network has loopback and a default route that leads nowhere. Files, cgroups and memory
# are those of the machine; cgroups of runners that were killed are removed at the end. No mount propagates to the machine. The exit code is
# the command's. All processes end with this script.
set -euo pipefail

if [[ ${1:-} != --inside ]]; then
    # The machine's own /run/boxer belongs to root alone: Boxer rejects one that others can enter.
    [[ -d /run/boxer ]] || mkdir -m 700 /run/boxer
    mkdir -p /run/netns
    instances=$(mktemp -d)
    status=0
    # An interrupted command ends, and this shell goes on to the clean-up.
    trap : INT TERM
    unshare --net --mount --pid --fork --kill-child --mount-proc "$0" --inside "$instances" "$@" || status=$?
    for lock in "$instances"/*.lock; do
        # Without locks, the pattern stands for itself: it must not name the cgroups of others.
        [[ -e $lock ]] || continue
        id=$(basename "$lock" .lock)
        find /sys/fs/cgroup -depth -type d -path "*/boxer-$id*" -exec rmdir {} + 2>/dev/null || true
    done
    rm -rf --one-file-system "$instances"
    exit "$status"
fi
instances=$2
shift 2

# A sysfs shows the network that it was mounted in; the cgroups below it are kept.
cgroups=$(mktemp -d)
mount --rbind /sys/fs/cgroup "$cgroups"
mount -t sysfs sysfs /sys
mount --rbind "$cgroups" /sys/fs/cgroup
umount -l "$cgroups"
rmdir "$cgroups"
# Copies of other instances' mounts would appear and disappear during a test.
awk '$2 ~ "^/run/(boxer|netns)/" { print $2 }' /proc/self/mounts | sort -r | xargs -r umount -l || true
mount --bind "$instances" /run/boxer
mount -t tmpfs -o mode=755 tmpfs /run/netns
ip link set lo up
# The firewall sees only packets that have a route. SandboxNetworkTests uses the same address.
ip link add uplink0 type veth peer name uplink1
ip addr add 192.0.2.2/24 dev uplink0
ip link set uplink0 arp off up
ip link set uplink1 up
ip route add default dev uplink0

# This shell does not exec: it is the first process and reaps orphaned processes of the tests.
status=0
"$@" || status=$?

# A frozen process does not die, and this process table does not end before it.
for lock in /run/boxer/*.lock; do
    [[ -e $lock ]] || continue
    find /sys/fs/cgroup -type f -path "*/boxer-$(basename "$lock" .lock)*" \( -name freezer.state -o -name cgroup.freeze \) -print0 |
        while IFS= read -r -d '' file; do
            case $file in
                *freezer.state) echo THAWED >"$file" ;;
                *) echo 0 >"$file" ;;
            esac
        done || true
done
exit "$status"
