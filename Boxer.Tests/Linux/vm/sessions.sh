# shellcheck shell=dash
# Sourced by the cases after lib.sh: sessions of the host that runs.

# open_session NAME [FIELDS]: opens a session, and stores its path in $session.
open_session() {
    call POST /sessions "{\"image\": \"localhost/busybox:1\"${2:+, $2}}"
    session=/sessions/$(echo "$answer" | sed -n 's/.*"id": *"\([a-z0-9]*\)".*/\1/p' | head -n 1)
    expect "$1" 'HTTP/1.1 201' '"state":"'
}

# in_session FIELDS: stores the response of POST exec in $answer.
in_session() { call POST "$session/exec" "{$1}"; }

# ask PORT PATH: stores what an HTTP server in the session answers in $answer. The one frame of the WebSocket is masked with zeros.
ask() {
    message="GET $2 HTTP/1.0

"
    length=$(printf '%o' $((128 + ${#message})))
    pipe=$(mktemp -u)
    mkfifo "$pipe"
    nc 127.0.0.1 8080 <"$pipe" >"$pipe.answer" 2>&1 &
    client=$!
    exec 9>"$pipe"
    printf 'GET %s/ports/%s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n' \
        "$session" "$1" >&9
    if within 30 grep -q '101 Switching' "$pipe.answer"; then
        # shellcheck disable=SC2059 # the length is an escape
        printf "\\202\\$length\\0\\0\\0\\0" >&9
        printf '%s' "$message" >&9
        within 30 grep -q 'HTTP/1.[01] [2-5]' "$pipe.answer"
        sleep 1
    fi
    exec 9>&-
    kill $client 2>/dev/null
    wait $client
    answer=$(tr -d '\r\000' <"$pipe.answer")
    rm "$pipe" "$pipe.answer"
}

# sessions_work: the calls of a session, as they are on every host.
sessions_work() {
    open_session "a session is opened" '"limits": {"memory_mb": 96, "wall_clock_secs": 120}'
    in_session '"cmd": ["sh", "-c", "echo 42; id -u; echo kept >/tmp/kept; exit 7"]'
    expect "its command runs as 65534 and its exit code comes back" 'HTTP/1.1 200' '"exit_code":7' '"stdout":"42\n65534\n"'
    in_session '"cmd": ["sh", "-c", "cat /tmp/kept >/dev/stdout; echo error >/dev/stderr; cat /dev/stdin"], "stdin": "input\n"'
    expect "the next command sees its files, and its user opens the standard streams by name" '"stdout":"kept\ninput\n"' '"stderr":"error\n"'
    in_session '"cmd": ["sh", "-c", "id -u; echo named >/dev/stdout; cat /proc/self/uid_map"], "user": "0"'
    expect "a command of user 0 runs, and opens its standard output by name" '"exit_code":0' '"stdout":"0\nnamed\n'
    in_session '"cmd": ["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo started"]'
    expect "a command that leaves a process behind ends" '"stdout":"started\n"' '"left_behind":1'
    in_session '"cmd": ["sh", "-c", "echo before; sleep 60"], "limits": {"wall_clock_secs": 2}'
    expect "a command ends at its own wall-clock limit" 'HTTP/1.1 408' '"stdout":"before\n"'

    call PUT "$session/files?path=/tmp/page" 'content of a file'
    expect "a file is written" 'HTTP/1.1 20'
    call GET "$session/files?path=/tmp/page"
    expect "a file is read" 'HTTP/1.1 200' 'content of a file'
    call GET "$session/files/list?path=/tmp"
    expect "files are listed" '"path":"kept"' '"path":"page"'
    call POST "$session/processes" '{"cmd": ["httpd", "-f", "-p", "8000", "-h", "/tmp"]}'
    expect "a server is started" 'HTTP/1.1 201' '"pid":'
    server=$session/processes/$(echo "$answer" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
    in_session '"cmd": ["sh", "-c", "until wget -qO- http://127.0.0.1:8000/page; do sleep 0.2; done"]'
    expect "a command reaches the server" 'content of a file'
    ask 8000 /page
    expect "a connection reaches the server" '101 Switching' '200 OK' 'content of a file'
    call POST "$session/processes" '{"cmd": ["sh", "-c", "stty size; echo done"], "terminal": {"cols": 100, "rows": 40}}'
    terminal=$session/processes/$(echo "$answer" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
    call GET "$terminal/events"
    expect "a terminal has its size, and its events end" '40 100' 'event: ended'
    call DELETE "$server"
    expect "the server is killed" 'HTTP/1.1 20'
}

# pauses: a paused session refuses calls until it is resumed.
pauses() {
    call POST "$session/pause"
    expect "a session is paused" 'HTTP/1.1 20'
    in_session '"cmd": ["true"]'
    expect "a paused session refuses a command" 'HTTP/1.1 409' '"state":"paused"'
    call POST "$session/resume"
    in_session '"cmd": ["cat", "/tmp/page"]'
    expect "a resumed session goes on" 'HTTP/1.1 200' 'content of a file'
}

# closes: a session that is closed says so.
closes() {
    call DELETE "$session"
    expect "a session is closed" 'HTTP/1.1 20'
    in_session '"cmd": ["true"]'
    expect "a call on a closed session says so" 'HTTP/1.1 410' '"ended":"closed"'
}
