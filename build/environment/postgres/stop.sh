#!/usr/bin/env bash
# Stops the PostgreSQL that start.sh started. Its data stays.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

stop_process "$state_root/postgres/server.pid" "$state_root/postgres/data"
say "PostgreSQL stopped"
