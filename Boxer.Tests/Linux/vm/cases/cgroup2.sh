# shellcheck shell=dash
# A host with cgroup v2.
# shellcheck source=Boxer.Tests/Linux/vm/lib.sh
. /lib.sh
# shellcheck source=Boxer.Tests/Linux/vm/sessions.sh
. /sessions.sh

# A cgroup without a memory controller. A host with this parent is rejected below, while another host runs.
mkdir /sys/fs/cgroup/narrow
echo "+cpu +pids" >/sys/fs/cgroup/narrow/cgroup.subtree_control
mkdir /sys/fs/cgroup/narrow/child

start_registry
start_host ''

run '"cmd": ["sh", "-c", "echo 42; id -u; exit 7"]'
expect "a command runs as 65534 and its exit code comes back" 'HTTP/1.1 200' '"exit_code":7' '"stdout":"42\n65534\n"'

running=$host
home=/narrow
launch '"cgroup_parent": "narrow/child"'
home=/boxer

run '"cmd": ["dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"], "limits": {"memory_mb": 96, "wall_clock_secs": 120}'
expect "a memory balloon ends with the memory limit" '"exit_code":137' '"termination":"memory_limit"'

run '"cmd": ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=400M count=1; echo survived; exit 0"], "limits": {"memory_mb": 96, "wall_clock_secs": 120}'
expect "a memory balloon whose parent exits 0 ends with it too" '"exit_code":137' '"termination":"memory_limit"'

run '"cmd": ["sh", "-c", "while :; do :; done"], "limits": {"cpu_time_secs": 1, "wall_clock_secs": 120}'
expect "processor time is counted, and its limit ends the run" '"exit_code":137' '"termination":"cpu_time_limit"' '"sandbox_cpu_ms":1' '"peak_memory_bytes":'

holds_the_process_limit

refuses "a cgroup parent without a controller is rejected with its name" "narrow/child lacks the controllers memory:" "cgroup_parent"
host=$running
rmdir /sys/fs/cgroup/narrow/child /sys/fs/cgroup/narrow

# holds NAME FILE CONTENT: passes if the file of the run's cgroup has this content.
holds() {
    content=$(cat "$group/$2" 2>&1)
    fault=
    [ "$content" = "$3" ] || fault="$2: '$content' instead of '$3'"
    result "$1" "$fault"
}

# jump SECONDS: sets the wall clock of the machine.
jump() { date -s "@$(($(date +%s) + $1))" >/dev/null; }
day=86400

# Reads the limits from the cgroup of a run while it runs.
begin sleeper '"cmd": ["sleep", "15"], "limits": {"cpu_cores": 0.5, "memory_mb": 100, "wall_clock_secs": 120}'
if within 12 has_run 100; then
    result "a run has a cgroup with its memory limit"
    holds "the cgroup holds the processor quota" cpu.max "50000 100000"
    holds "the cgroup is killed as one when it is out of memory" memory.oom.group 1
    holds "the cgroup bounds host processes" pids.max $((128 + 4 * $(nproc) + 64 * (2 + $(nproc))))
else
    result "a run has a cgroup with its memory limit" "no memory.max of 104857600 below /sys/fs/cgroup"
fi
jump $day
end sleeper
expect "the run whose cgroup was read ends well, though the clock jumped ahead a day" '"exit_code":0'
milliseconds=$(echo "$answer" | sed -n 's/.*"wall_ms":\([0-9]*\),.*/\1/p')
fault=
[ "${milliseconds:-86400000}" -lt 600000 ] || fault=$answer
result "its duration is not a day" "$fault"

begin limited '"cmd": ["sh", "-c", "echo before; sleep 600"], "limits": {"memory_mb": 101, "wall_clock_secs": 10}'
fault=
within 12 has_run 101 || fault="it has no cgroup"
result "a run with a wall-clock limit is in flight" "$fault"
jump -$day
end limited
expect "the wall-clock limit answers 408, though the clock jumped back a day" 'HTTP/1.1 408' '"termination":"wall_clock_limit"'

jump $day
run '"cmd": ["echo", "later"]'
expect "a run after a jump ahead works" 'HTTP/1.1 200' '"stdout":"later\n"'
jump -$day

# shellcheck disable=SC2317 # called by within
has_frozen() { find /sys/fs/cgroup -mindepth 2 -name cgroup.freeze -exec grep -q '^1$' {} \; -print | grep -q .; }

# is_session_frozen: succeeds if the cgroup of the session with 96 MiB is frozen.
# shellcheck disable=SC2317 # called by within
is_session_frozen() { has_run 96 && grep -q '^1$' "$group/cgroup.freeze"; }

sessions_work
fault=
within 30 is_session_frozen || fault="cgroup.freeze: $(cat "$group/cgroup.freeze")"
result "the idle session is frozen" "$fault"
in_session '"cmd": ["cat", "/tmp/page"]'
expect "the next call thaws it" 'HTTP/1.1 200' 'content of a file'
call POST "$session/processes" '{"cmd": ["sh", "-c", "while :; do :; done"]}'
busy=$session/processes/$(echo "$answer" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
call POST "$session/pause"
expect "a session with a busy process is paused" 'HTTP/1.1 20' '"state":"paused"'
fault=
grep -qx 'frozen 1' "$group/cgroup.events" || fault=$(cat "$group/cgroup.events")
result "the pause returns when everything stands still" "$fault"
call POST "$session/resume"
call DELETE "$busy"
expect "the busy process is killed" 'HTTP/1.1 20'
pauses
closes
open_session "another session is opened" '"limits": {"memory_mb": 96, "wall_clock_secs": 120}'
in_session '"cmd": ["dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"]'
expect "a memory balloon ends the command with the memory limit" '"termination":"memory_limit"'
call GET "$session"
expect "and the session" 'HTTP/1.1 410' '"ended":"memory_limit"'

# Kills a host with two sessions and two runs in flight and a pooled sandbox, after the clock jumped back. The second run cannot use the
# pool of the first.
open_session "a session is open when the host is killed" '"limits": {"memory_mb": 64}'
idle=$session
open_session "and one with a process" '"limits": {"memory_mb": 64}'
call POST "$session/processes" '{"cmd": ["sleep", "600"]}'
begin first '"cmd": ["sleep", "600"], "limits": {"memory_mb": 101, "wall_clock_secs": 900}'
fault=
within 30 has_run 101 || fault="the first has no cgroup"
within 60 has_frozen || fault="$fault nothing is frozen: $(grep . /sys/fs/cgroup/boxer-*/*/cgroup.freeze)"
begin second '"cmd": ["sleep", "600"], "limits": {"memory_mb": 102, "wall_clock_secs": 900}, "network": "host"'
within 30 has_run 102 || fault="$fault the second has no cgroup"
has_frozen || fault="$fault nothing is frozen any more"
result "two runs are in flight, and another sandbox waits frozen" "$fault"
dead=$(basename /run/boxer/*.lock .lock)

# left_of_dead: lists everything that has the name of the dead instance.
left_of_dead() {
    seen "[/]$dead"
    grep "$dead" /proc/mounts
    find /sys/fs/cgroup /run/boxer -name "*$dead*"
}
kill -9 "$host"
wait "$host"
end first
end second
fault=
for kind in "$dead/s/" "/boxer/$dead/roots" "/sys/fs/cgroup/boxer-$dead" "/run/boxer/$dead"; do
    left_of_dead | grep -q "$kind" || fault="nothing of $kind is left: $(left_of_dead)"
done
result "a killed host leaves processes, mounts, cgroups and directories" "$fault"
start_host ''
result "the next start removes the leftovers of the dead instance" "$(left_of_dead)"
for session in "$idle" "$session"; do
    call GET "$session"
    expect "it knows how a session of the dead instance ended" 'HTTP/1.1 410' '"ended":"host_stopped"'
done
stop_host
nothing_left
stop_registry
finish
