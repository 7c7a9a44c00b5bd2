#!/usr/bin/env bash
# Starts a JupyterHub with its proxy on loopback: SQLite, users without passwords of their own, a service token. Coordinates: env.json in the
# state folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

state=$state_root/jupyterhub
port=${GOLDCREST_JUPYTERHUB_PORT:-18560}

main() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then apt_install nodejs npm; fi
    mkdir -p "$state"
    chmod 700 "$state"
    python_environment "$here" "$state/venv"
    install_proxy
    for name in tests.token proxy.token password; do
        [ -s "$state/$name" ] || (umask 077 && new_secret >"$state/$name")
    done
    write_coordinates
    if alive "$state/server.pid" "$state/venv/bin/jupyterhub"; then
        say "JupyterHub runs on port $port"
        return
    fi
    # A proxy that outlived its Hub would keep the ports.
    stop_process "$state/proxy.pid" configurable-http-proxy
    for offset in 0 1 2 3; do need_free_port $((port + offset)); done
    rm -f "$state/service.env" "$state/stand_in.pid"
    # Neither this script's standard streams nor a lock that its caller holds belong to a daemon.
    (
        cd "$state"
        export GOLDCREST_JUPYTERHUB_STATE=$state GOLDCREST_JUPYTERHUB_PORT=$port
        CONFIGPROXY_AUTH_TOKEN=$(cat "$state/proxy.token")
        export CONFIGPROXY_AUTH_TOKEN
        exec setsid "$state/venv/bin/python" "$state/venv/bin/jupyterhub" -f "$here/jupyterhub_config.py" </dev/null >"$state/server.log" 2>&1 9>&-
    ) &
    echo $! >"$state/server.pid"
    wait_for 120 ready || die "JupyterHub does not answer on port $port: see $state/server.log"
    stop_process "$state/stand_in.pid" http.server
    say "JupyterHub runs on port $port"
}

# It answers by way of its proxy, and has started the service.
ready() { curl -fsS --max-time 2 "http://127.0.0.1:$port/jupyter/hub/api/" && [ -s "$state/service.env" ]; }

# The packages live with the state, so that the source tree stays clean.
install_proxy() {
    mkdir -p "$state/app"
    cmp -s "$here/package.json" "$state/app/package.json" && [ -d "$state/app/node_modules/configurable-http-proxy" ] && return
    cp "$here/package.json" "$state/app/package.json"
    say "installing configurable-http-proxy"
    (cd "$state/app" && npm install --omit=dev --no-audit --no-fund --no-package-lock --loglevel=error >npm.log 2>&1) || die "npm install failed: see $state/app/npm.log"
}

write_coordinates() {
    cat >"$state/env.json" <<EOF
{
  "url": "http://127.0.0.1:$port/jupyter",
  "apiUrl": "http://127.0.0.1:$((port + 1))/jupyter/hub/api",
  "servicePort": $((port + 3)),
  "serviceScope": "access:services!service=goldcrest",
  "testsTokenFile": "$state/tests.token",
  "serviceEnvironment": "$state/service.env",
  "pidFile": "$state/server.pid",
  "log": "$state/server.log"
}
EOF
}

main "$@"
