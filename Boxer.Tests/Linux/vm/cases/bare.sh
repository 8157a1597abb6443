# shellcheck shell=dash
# A host without IPv6, without the programs ip, tc and nft, at first without cgroups, and with a read-only home.
# shellcheck source=Boxer.Tests/Linux/vm/lib.sh
. /lib.sh

# busybox provides small versions of these programs.
rm -f /bin/ip /bin/tc

start_registry
umount /sys/fs/cgroup
launch ''
refuses "without cgroups the host does not start and names the remedy" "No cgroup hierarchy with cpu, memory and pids is mounted" "mount cgroup2, or set ignore_cgroups"
mount -t cgroup2 cgroup2 /sys/fs/cgroup

mkdir /readonly
mount -t tmpfs tmpfs /readonly
mkdir -m 700 /readonly/there
mount -o remount,ro /readonly
for home in /readonly/new /readonly/there; do
    launch ''
    refuses "the read-only home $home is rejected with its name" "home: " "$home" "Read-only file system"
done
home=/boxer

listen="[::1]:8080"
launch ''
refuses "an IPv6 address without IPv6 in the kernel is rejected with its name" "listen_addr: " "choose an address of this machine"

listen=:8080
start_host ''
run '"cmd": ["sh", "-c", "echo 42; cat /proc/net/dev | grep -c :; exit 7"]'
expect "a command runs without a network" 'HTTP/1.1 200' '"exit_code":7' '"stdout":"42\n1\n"'

run '"cmd": ["true"], "network": "sandbox"'
expect "the network sandbox is rejected" 'HTTP/1.1 400' "The network mode 'sandbox' cannot be used on this host" "such as 'none'"
logged "the log lists the missing requirements of the network sandbox" 'the program ip, the program nft, the program tc' 'iproute2 and nftables' "use the mode 'none'"

run '"cmd": ["echo", "42"]'
expect "the next command runs" 'HTTP/1.1 200' '"stdout":"42\n"'

stop_host
nothing_left
stop_registry
finish
