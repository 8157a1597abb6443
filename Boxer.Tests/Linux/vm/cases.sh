# shellcheck shell=dash
# Runs in the emulated machine by busybox sh: what must hold on a host with cgroup v2. Prints the Test Anything Protocol.
echo "# kernel $(uname -r), $(runsc --version | head -n 1), up for $(cut -d ' ' -f 1 /proc/uptime) s"

number=0
# result NAME REASON...: passed where there is no reason.
result() {
    name=$1
    shift
    number=$((number + 1))
    if [ -z "$*" ]; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        echo "$*" | head -c 2000 | sed 's/^/# /'
    fi
}

cat >/registry.yml <<YAML
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: /registry } }
http: { addr: "127.0.0.1:5000", secret: "loopback only" }
YAML
docker-registry serve /registry.yml >/tmp/registry.log 2>&1 &
registry=$!
cat >/config.json <<JSON
{ "home": "/boxer", "listen_addr": "127.0.0.1:8080", "registry_mirrors": { "localhost": ["http://127.0.0.1:5000"] } }
JSON
dotnet /host/Boxer.HttpHost.dll --config /config.json >/tmp/host.log 2>&1 &
host=$!
tries=0
until wget -qO- http://127.0.0.1:8080/healthz >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 $host 2>/dev/null; then
        result "the host starts" "$(tail -n 20 /tmp/host.log)"
        echo "1..$number"
        exit 1
    fi
    sleep 0.2
done
result "the host starts"
echo "# up for $(cut -d ' ' -f 1 /proc/uptime) s"

# run FIELDS: the answer of POST /run, or "HTTP <status>" where it is not 200.
run() {
    answer=$(wget -qO- --header 'Content-Type: application/json' --post-data "{\"image\": \"localhost/busybox:1\", $1}" \
        http://127.0.0.1:8080/run 2>/tmp/wget.log) || answer="HTTP $(cat /tmp/wget.log) $answer"
}

# expect NAME PATTERN...: every pattern is in the answer.
expect() {
    title=$1
    shift
    for pattern in "$@"; do
        case $answer in
            *"$pattern"*) ;;
            *)
                result "$title" "no $pattern in: $answer"
                return
                ;;
        esac
    done
    result "$title"
}

run '"cmd": ["sh", "-c", "echo 42; id -u; exit 7"]'
expect "a command runs as 65534 and its exit code comes back" '"exit_code":7' '"stdout":"42\n65534\n"'
echo "# first answer: $answer"

run '"cmd": ["dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"], "limits": {"memory_mb": 96, "wall_clock_secs": 120}'
expect "a memory balloon is named as the memory limit" '"exit_code":137' '"termination":"memory_limit"'

run '"cmd": ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=400M count=1; echo survived; exit 0"], "limits": {"memory_mb": 96, "wall_clock_secs": 120}'
expect "a memory balloon whose parent exits 0 is named too" '"exit_code":137' '"termination":"memory_limit"'

# shellcheck disable=SC2016 # expanded inside
run '"cmd": ["sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 20 & i=$((i+1)); done; echo all"], "limits": {"pids_limit": 16}'
case $answer in
    *'"stdout":"all'*) result "the process limit is held" "all 40 were started: $answer" ;;
    *'fork'*) result "the process limit is held" ;;
    *) result "the process limit is held" "$answer" ;;
esac

run '"cmd": ["sh", "-c", "echo before; sleep 60"], "limits": {"wall_clock_secs": 2}'
expect "the wall-clock limit answers 408" 'HTTP/1.1 408'

# holds NAME FILE CONTENT: the file of the run's cgroup has that content.
holds() {
    content=$(cat "$group/$2" 2>&1)
    fault=
    [ "$content" = "$3" ] || fault="$2: '$content' instead of '$3'"
    result "$1" "$fault"
}

# The numbers of the limits, read from the cgroup of a run while it runs.
{
    run '"cmd": ["sleep", "8"], "limits": {"cpu_cores": 0.5, "memory_mb": 100}'
    echo "$answer" >/tmp/sleeper
} &
sleeper=$!
found=
tries=0
while [ -z "$found" ] && [ $tries -lt 60 ]; do
    tries=$((tries + 1))
    sleep 0.2
    found=$(find /sys/fs/cgroup -mindepth 2 -name memory.max -exec grep -l "^104857600$" {} + 2>/dev/null | head -n 1)
done
group=${found%/memory.max}
if [ -z "$found" ]; then
    result "a run has a cgroup with its memory limit" "no memory.max of 104857600 below /sys/fs/cgroup"
else
    result "a run has a cgroup with its memory limit"
    holds "the cgroup holds the processor quota" cpu.max "50000 100000"
    holds "the cgroup is killed as one when it is out of memory" memory.oom.group 1
    holds "the cgroup bounds host processes" pids.max 1024
fi
wait $sleeper
answer=$(cat /tmp/sleeper)
expect "the run whose cgroup was read ends well" '"exit_code":0'

kill -TERM $host
tries=0
while kill -0 $host 2>/dev/null && [ $tries -lt 150 ]; do
    tries=$((tries + 1))
    sleep 0.2
done
running=
kill -0 $host 2>/dev/null && running="it still runs 30 s after SIGTERM"
result "the host stops" "$running"
result "no cgroup is left" "$(find /sys/fs/cgroup -mindepth 1 -type d)"
# shellcheck disable=SC2009 # busybox has no pgrep here
result "no sandbox process is left" "$(ps -o pid,args | grep '[r]unsc')"
result "no mount is left" "$(grep -E 'overlay|boxer' /proc/mounts)"
kill $registry
echo "# up for $(cut -d ' ' -f 1 /proc/uptime) s"
echo "1..$number"
