# shellcheck shell=bash
# Sourced by scripts that need a registry with one image on loopback. Needs docker-registry and skopeo.

registry_pid=

# Prints a free port of loopback.
free_port() {
    /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_registry FOLDER LAYOUT NAME: keeps its files in FOLDER, serves the image of LAYOUT as NAME (name:tag),
# and sets registry_url.
# shellcheck disable=SC2034 # for the caller
start_registry() {
    local folder=$1 layout=$2 name=$3 port
    mkdir -p "$folder"
    port=$(free_port)
    registry_url=http://127.0.0.1:$port
    cat >"$folder/config.yml" <<YAML
version: 0.1
log: { level: warn }
storage: { filesystem: { rootdirectory: "$folder/data" } }
http: { addr: "127.0.0.1:$port", secret: "loopback only" }
YAML
    docker-registry serve "$folder/config.yml" >"$folder/log" 2>&1 &
    registry_pid=$!
    local attempt
    for attempt in {1..100}; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            break
        fi
        if ! kill -0 "$registry_pid" 2>/dev/null || [[ $attempt -eq 100 ]]; then
            tail -n 5 "$folder/log" >&2
            die "docker-registry did not start on 127.0.0.1:$port; its last output is above."
        fi
        sleep 0.1
    done
    quietly skopeo copy --quiet --dest-tls-verify=false "oci:$layout:latest" "docker://127.0.0.1:$port/$name" ||
        die "skopeo could not push $layout to the registry on loopback; the reason is above."
}

stop_registry() {
    if [[ -n $registry_pid ]]; then
        kill "$registry_pid" 2>/dev/null || true
        wait "$registry_pid" 2>/dev/null || true
        registry_pid=
    fi
}
