#!/usr/bin/env bash
# Stops the object store that start.sh started. Its key stays; its objects are removed at the next start.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

stop_process "$state_root/s3/server.pid" "$state_root/s3/venv/bin/weed"
say "the object store stopped"
