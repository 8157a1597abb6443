#!/usr/bin/env bash
# Runs a command as root with a network, a process table, mounts, /run/boxer and /run/netns of its own:
#
#   scripts/isolate.sh COMMAND [ARGUMENT...]
#
# Tests look at all that Boxer could leave on a machine. Started by this, they see only their own sandboxes, links and firewall rules,
# so that several test processes run side by side. The network has loopback and a default route to nowhere. Files, cgroups and memory
# are those of the machine. The exit code is the command's. All processes end with this script.
set -euo pipefail

if [[ ${1:-} != --inside ]]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" --inside "$@"
fi
shift

# A sysfs shows the network that it was mounted in; the cgroups below it are kept.
cgroups=$(mktemp -d)
mount --rbind /sys/fs/cgroup "$cgroups"
mount -t sysfs sysfs /sys
mount --rbind "$cgroups" /sys/fs/cgroup
umount -l "$cgroups"
rmdir "$cgroups"
# Copies of the mounts of other instances would come and go with them.
awk '$2 ~ "^/run/(boxer|netns)/" { print $2 }' /proc/self/mounts | sort -r | xargs -r umount -l || true
mkdir -p /run/boxer /run/netns
mount -t tmpfs -o mode=700 tmpfs /run/boxer
mount -t tmpfs -o mode=755 tmpfs /run/netns
ip link set lo up
# A firewall is asked only about packets that have a route. SandboxNetworkTests knows the address.
ip link add uplink0 type veth peer name uplink1
ip addr add 192.0.2.2/24 dev uplink0
ip link set uplink0 arp off up
ip link set uplink1 up
ip route add default dev uplink0

# Not by exec: this shell is the first process and reaps the processes that tests orphan.
status=0
"$@" || status=$?
exit "$status"
