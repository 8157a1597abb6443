# shellcheck shell=dash
# The host as an ordinary user: rootless runsc in an unprivileged user namespace, flattened roots, no cgroups.
# shellcheck source=Boxer.Tests/Linux/vm/lib.sh
. /lib.sh
# shellcheck source=Boxer.Tests/Linux/vm/sessions.sh
. /sessions.sh

user=boxer
home=/home/boxer/images
echo "boxer:x:1000:1000::/home/boxer:/bin/sh" >>/etc/passwd
echo "boxer:x:1000:" >>/etc/group
mkdir -p /home/boxer
chown boxer:boxer /home/boxer

start_registry
launch ''
refuses "without cgroups the host does not start and names the remedy" "Cannot create cgroups" "set ignore_cgroups"

start_host '"ignore_cgroups": true'
fault=
seen '^boxer .*[d]otnet' >/dev/null || fault=$(seen '[d]otnet')
result "the host runs as the user" "$fault"

for attempt in first second; do
    run '"cmd": ["sh", "-c", "echo 42; id -u; touch /bin/new; exit 7"]'
    expect "the $attempt command runs as 65534, and its response lists the limits that are not enforced" \
        'HTTP/1.1 200' '"exit_code":7' '"stdout":"42\n65534\n"' 'Permission denied' '"unenforced_limits":["cpu_cores","memory_mb"]'
done

run '"cmd": ["sh", "-c", "cat /proc/net/dev | grep -c :; wget -T 2 -qO- http://127.0.0.1:8080/healthz || echo alone"], "network": "none"'
expect "the network none has its own loopback" 'HTTP/1.1 200' '"stdout":"1\nalone\n"'

holds_the_process_limit

run '"cmd": ["sh", "-c", "echo before; sleep 60"], "limits": {"wall_clock_secs": 2}'
expect "the wall-clock limit answers 408" 'HTTP/1.1 408' '"stdout":"before\n"'

for network in sandbox host; do
    run "\"cmd\": [\"true\"], \"network\": \"$network\""
    expect "the network $network is rejected" 'HTTP/1.1 400' "The network mode '$network' cannot be used on this host" "such as 'none'"
    logged "the log lists the missing requirements of the network $network" "The network mode '$network' cannot be used: this process lacks uid 0" 'run it as root' "use the mode 'none'"
done

sessions_work
pauses
closes
open_session "a session is open when the host is killed"
call POST "$session/processes" '{"cmd": ["sleep", "600"]}'
kill -9 "$host"
wait "$host"
start_host '"ignore_cgroups": true'
result "the next start removes the sandbox of the dead instance" "$(seen '[r]unsc')"
call GET "$session"
expect "it knows how a session of the dead instance ended" 'HTTP/1.1 410' '"ended":"host_stopped"'

stop_host
nothing_left
result "no process of the user is left" "$(seen '^boxer ')"
stop_registry
finish
