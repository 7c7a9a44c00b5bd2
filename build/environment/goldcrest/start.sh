#!/usr/bin/env bash
# Starts the Goldcrest binary on the environment that is up. Coordinates: env.json in the state folder.
#
# The binary is $GOLDCREST_BIN, or the newest one that cargo has built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

state=$state_root/goldcrest
port=${GOLDCREST_PORT:-18300}

main() {
    local binary
    binary=$(find_binary)
    mkdir -p "$state"
    chmod 700 "$state"
    if alive "$state/goldcrest.pid" ' serve'; then
        say "goldcrest runs on port $port; stop it first to change its binary or configuration"
        return
    fi
    need_free_port "$port"
    [ ! -s "$state_root/openfga/url" ] || grant_access
    "$here/render.sh" --port "$port" >"$state/goldcrest.yaml"
    cat >"$state/env.json" <<EOF
{
  "url": "http://127.0.0.1:$port",
  "binary": "$binary",
  "config": "$state/goldcrest.yaml",
  "render": "$here/render.sh",
  "pidFile": "$state/goldcrest.pid",
  "log": "$state/goldcrest.log"
}
EOF
    # Neither this script's standard streams nor a lock that its caller holds belong to a daemon.
    YAML_CONFIG_FILE=$state/goldcrest.yaml setsid "$binary" serve </dev/null >"$state/goldcrest.log" 2>&1 9>&- &
    echo $! >"$state/goldcrest.pid"
    if ! wait_for 30 ready; then
        tail -20 "$state/goldcrest.log" >&2
        die "goldcrest does not answer on port $port: see $state/goldcrest.log"
    fi
    say "goldcrest answers on http://127.0.0.1:$port"
}

# Everyone may use every cluster, but for one user who may use one: the tests see a denial with that.
grant_access() {
    local user system tuples=''
    for user in fireuser firesrv otheruser; do
        for system in slurm slurm-tight slurm-nosftp slurm24 slurm-rest slurm-hybrid slurm-norest slurm24-rest slurm24-hybrid slurm26 slurm26-rest slurm26-hybrid ca stranger closed silent kubernetes kubernetes-users kubernetes-files kubernetes-no-image kubernetes-away; do
            tuples+="{\"user\":\"user:$user\",\"relation\":\"access\",\"object\":\"system:$system\"},"
        done
    done
    tuples+='{"user":"user:certuser","relation":"access","object":"system:slurm-tight"}'
    # The token goes in by standard input, so that no process list shows it.
    printf 'header = "Authorization: Bearer %s"\n' "$(cat "$state_root/openfga/token")" |
        curl -fsS -o /dev/null --config - -H 'Content-Type: application/json' \
            -d "{\"writes\":{\"tuple_keys\":[$tuples],\"on_duplicate\":\"ignore\"}}" \
            "$(cat "$state_root/openfga/url")/stores/$(cat "$state_root/openfga/store_id")/write"
}

ready() { curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$port/status/liveness/"; }

find_binary() {
    if [ -n "${GOLDCREST_BIN:-}" ]; then
        echo "$GOLDCREST_BIN"
        return
    fi
    local target=${CARGO_TARGET_DIR:-$repository_root/target} newest=
    for candidate in "$target/debug/goldcrest" "$target/release/goldcrest"; do
        if [ -x "$candidate" ] && { [ -z "$newest" ] || [ "$candidate" -nt "$newest" ]; }; then newest=$candidate; fi
    done
    [ -n "$newest" ] || die "no goldcrest binary below $target: run cargo build first"
    echo "$newest"
}

main "$@"
