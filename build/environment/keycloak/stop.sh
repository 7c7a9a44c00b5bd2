#!/usr/bin/env bash
# Stops the Keycloak that start.sh started.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

GOLDCREST_STOP_SECONDS=30 stop_process "$state_root/keycloak/server.pid" "$state_root/keycloak/keycloak-"
say "Keycloak stopped"
