#!/usr/bin/env bash
# The Slurm container's only process of its own: starts sshd and Slurm, and stops them when it is told to.
#
#   start.sh         starts, and stays
#   start.sh check   says by its exit code whether everything works: the container's health check
#
# It needs CAP_SYS_ADMIN: each daemon sees a host name of its own.
set -euo pipefail
# shellcheck source=../login.sh
. "$(dirname "${BASH_SOURCE[0]}")/../login.sh"

version=22.05
state=$GOLDCREST_ENV/slurm/$version

main() {
    if [ "${1:-}" = check ]; then
        exec "$environment/slurm/status.sh" "$version"
    fi
    trap stop TERM INT
    start_login
    install -d -m 711 "$state/jwt"
    install -m 600 "$keys/slurm_jwt" "$state/jwt/hs256.key"
    if [ -n "${GOLDCREST_SLURM_JWKS_URL:-}" ]; then
        # Read by slurmctld and slurmrestd, which are other users.
        export GOLDCREST_SLURM_JWKS=$state/jwt/jwks.json
        curl -fsS --retry 10 --retry-connrefused -o "$GOLDCREST_SLURM_JWKS" "$GOLDCREST_SLURM_JWKS_URL"
        chmod 644 "$GOLDCREST_SLURM_JWKS"
    fi
    "$environment/slurm/start.sh" "$version"
    # A signal ends the wait, and then stop runs.
    sleep infinity &
    wait $!
}

stop() {
    "$environment/slurm/stop.sh" "$version" || true
    "$environment/openssh/stop.sh" || true
    exit 0
}

main "$@"
