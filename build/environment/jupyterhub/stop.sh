#!/usr/bin/env bash
# Stops the JupyterHub that start.sh started, its proxy and its services. Its database and tokens stay.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

stop_process "$state_root/jupyterhub/server.pid" "$state_root/jupyterhub/venv/bin/jupyterhub"
stop_process "$state_root/jupyterhub/proxy.pid" configurable-http-proxy
say "JupyterHub stopped"
