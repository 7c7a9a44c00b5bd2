#!/usr/bin/env bash
# Stops the Goldcrest that start.sh started.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Above its own drain time.
GOLDCREST_STOP_SECONDS=30 stop_process "$state_root/goldcrest/goldcrest.pid" ' serve'
say "goldcrest stopped"
