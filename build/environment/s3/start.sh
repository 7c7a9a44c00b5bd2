#!/usr/bin/env bash
# Starts an object store that speaks S3 and checks signatures (SeaweedFS), on loopback. Coordinates: env.json in the state folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

state=$state_root/s3
port=${GOLDCREST_S3_PORT:-18520}

main() {
    mkdir -p "$state"
    chmod 700 "$state"
    python_environment "$here" "$state/venv"
    write_keys
    write_coordinates
    if alive "$state/server.pid" "$state/venv/bin/weed"; then
        say "the object store runs on port $port"
        return
    fi
    for offset in 0 1 2 3 4 5 6 7; do need_free_port $((port + offset)); done
    # What earlier runs left is of no use to anybody.
    rm -rf "$state/data"
    mkdir "$state/data"
    # Each of its servers has a port for gRPC too, and would take any address and ports of its own choice.
    local options=(
        -dir="$state/data" -ip=127.0.0.1 -ip.bind=127.0.0.1
        -s3 -s3.port="$port" -s3.port.grpc=$((port + 1)) -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$state/keys.json" -s3.autoCreateBucket=false
        -s3.localSocket="$state/s3.sock"
        -master.port=$((port + 2)) -master.port.grpc=$((port + 3)) -master.volumeSizeLimitMB=256 -master.telemetry=false
        -filer.port=$((port + 4)) -filer.port.grpc=$((port + 5)) -filer.localSocket="$state/filer.sock"
        -volume.port=$((port + 6)) -volume.port.grpc=$((port + 7)) -volume.max=100
    )
    # Neither this script's standard streams nor a lock that its caller holds belong to a daemon.
    (cd "$state" && exec setsid "$state/venv/bin/weed" -logtostderr server "${options[@]}" </dev/null >"$state/server.log" 2>&1 9>&-) &
    echo $! >"$state/server.pid"
    wait_for 60 ready || die "the object store does not answer on port $port: see $state/server.log"
    say "the object store answers on http://127.0.0.1:$port"
}

# It refuses who has no key once it serves, and answers otherwise before.
ready() { [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://127.0.0.1:$port/")" = 403 ]; }

write_keys() {
    [ -s "$state/secret_key" ] && return
    (
        umask 077
        new_secret >"$state/access_key"
        new_secret >"$state/secret_key"
        cat >"$state/keys.json" <<EOF
{
  "identities": [
    {
      "name": "goldcrest",
      "credentials": [{ "accessKey": "$(cat "$state/access_key")", "secretKey": "$(cat "$state/secret_key")" }],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]
    }
  ]
}
EOF
    )
}

write_coordinates() {
    cat >"$state/env.json" <<EOF
{
  "url": "http://127.0.0.1:$port",
  "region": "us-east-1",
  "accessKeyFile": "$state/access_key",
  "secretKeyFile": "$state/secret_key",
  "pidFile": "$state/server.pid",
  "log": "$state/server.log"
}
EOF
}

main "$@"
