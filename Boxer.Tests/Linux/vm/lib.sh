# shellcheck shell=dash
# Sourced by the cases, which run in an emulated machine by busybox sh. Results are in the Test Anything Protocol.

# Defaults, which a case may change.
user=root
home=/boxer
listen=127.0.0.1:8080

# The host may close a connection while data is sent to it. This must not end the shell.
trap '' PIPE

number=0
# result NAME [REASON...]: reports a result; the case passes if there is no reason.
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

# expect NAME PATTERN...: passes if the response contains every pattern.
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

# logged NAME PATTERN...: passes if the host's log contains every pattern.
logged() {
    answer=$(cat "$log")
    expect "$@"
}

# within SECONDS COMMAND...: retries until it succeeds. Counts attempts, because the clock may jump.
within() {
    tries=$(($1 * 5))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.2
    done
}

# seen PATTERN: lists the processes whose line matches; busybox has no pgrep here. A pattern such as [r]unsc does not match itself.
# shellcheck disable=SC2009
seen() { ps -o user,pid,args | grep -E "$1"; }

say_time() { echo "# up for $(cut -d ' ' -f 1 /proc/uptime) s"; }

# finish: prints the number of results and ends the cases.
finish() {
    say_time
    echo "1..$number"
    exit
}

start_registry() {
    cat >/registry.yml <<YAML
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: /registry } }
http: { addr: "127.0.0.1:5000", secret: "loopback only" }
YAML
    docker-registry serve /registry.yml >/tmp/registry.log 2>&1 &
    registry=$!
}

stop_registry() {
    kill "$registry"
    wait "$registry"
}

launches=0
# launch FIELDS: starts a host with these additional configuration keys, and does not wait for it.
launch() {
    launches=$((launches + 1))
    log=/tmp/host.$launches.log
    cat >/config.$launches.json <<JSON
{
  ${1:+$1,}
  "home": "$home",
  "listen_addr": "$listen",
  "boot_timeout_secs": 120,
  "registry_mirrors": { "localhost": ["http://127.0.0.1:5000"] }
}
JSON
    su "$user" -c "exec dotnet /host/Boxer.HttpHost.dll --config /config.$launches.json" >"$log" 2>&1 &
    host=$!
}

answers() { wget -qO- http://127.0.0.1:8080/healthz >/dev/null 2>&1; }
is_gone() { ! kill -0 "$host" 2>/dev/null; }
answers_or_is_gone() { answers || is_gone; }

# start_host FIELDS: launches a host and waits until it answers. Ends the cases if it does not.
start_host() {
    launch "$1"
    if within 240 answers_or_is_gone && ! is_gone; then
        result "the host starts"
        say_time
    else
        result "the host starts" "$(grep -v "^   at " "$log" | tail -n 20)"
        finish
    fi
}

# refuses NAME PATTERN...: passes if the launched host ends by itself and its log contains every pattern.
refuses() {
    if within 240 is_gone; then
        wait "$host"
        answer="exit code $?: $(cat "$log")"
        case $answer in
            "exit code 0"* | *"   at "*) result "$1" "$answer" ;;
            *) expect "$@" ;;
        esac
    else
        result "$1" "it runs: $(tail -n 20 "$log")"
        kill "$host"
        wait "$host"
    fi
}

stop_host() {
    kill -TERM "$host"
    fault="it still runs 30 s after SIGTERM"
    if within 30 is_gone; then
        wait "$host"
        status=$?
        fault=
        [ $status -eq 0 ] || fault="exit code $status: $(tail -n 20 "$log")"
    fi
    result "the host stops" "$fault"
}

# nothing_left: checks that a stopped host left nothing.
nothing_left() {
    result "no cgroup is left" "$(find /sys/fs/cgroup -mindepth 1 -type d)"
    result "no sandbox process is left" "$(seen '[r]unsc|[d]otnet')"
    result "no mount is left" "$(grep -E 'overlay|boxer' /proc/mounts)"
    result "no directory is left" "$(find /run/boxer /tmp/boxer-* "$home/tmp" -mindepth 1 2>/dev/null)"
}

# call METHOD PATH [BODY]: stores the response in $answer, with its status line. Uses nc, because wget does not show the body of an
# error, and HTTP/1.0, which has no chunks. The client's end stays open, because the host ends a run whose client closes it.
call() {
    pipe=$(mktemp -u)
    mkfifo "$pipe"
    nc 127.0.0.1 8080 <"$pipe" >"$pipe.answer" 2>&1 &
    client=$!
    exec 9>"$pipe"
    printf '%s %s HTTP/1.0\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' \
        "$1" "$2" ${#3} "$3" >&9 2>/dev/null
    wait $client
    exec 9>&-
    answer=$(tr -d '\r' <"$pipe.answer")
    rm "$pipe" "$pipe.answer"
}

# run FIELDS [IMAGE]: stores the response of POST /run in $answer, with its status line.
run() { call POST /run "{\"image\": \"${2:-localhost/busybox:1}\", $1}"; }

# begin NAME FIELDS: starts a run in the background. end NAME waits for it and stores its response in $answer.
begin() {
    {
        run "$2"
        echo "$answer" >"/tmp/answer.$1"
    } &
    echo $! >"/tmp/client.$1"
}

end() {
    wait "$(cat "/tmp/client.$1")"
    answer=$(cat "/tmp/answer.$1")
}

# has_run MEGABYTES: succeeds if a run with this memory limit has a cgroup, and stores its directory in $group.
has_run() {
    group=$(find /sys/fs/cgroup -mindepth 2 -name memory.max -exec grep -l "^$(($1 << 20))$" {} + 2>/dev/null | head -n 1)
    group=${group%/memory.max}
    [ -n "$group" ]
}

# holds_the_process_limit: checks that a run cannot start more processes than its limit.
holds_the_process_limit() {
    # shellcheck disable=SC2016 # expanded inside
    run '"cmd": ["sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 20 & i=$((i+1)); done; echo all"], "limits": {"pids_limit": 16, "wall_clock_secs": 120}'
    case $answer in
        *'"stdout":"all'*) result "the process limit is enforced" "all 40 were started: $answer" ;;
        *) expect "the process limit is enforced" fork ;;
    esac
}
