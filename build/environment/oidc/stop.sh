#!/usr/bin/env bash
# Stops the OpenID provider that start.sh started. Its keys and clients stay.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

stop_process "$state_root/oidc/server.pid" "$state_root/oidc/app/server.js"
say "the OpenID provider stopped"
