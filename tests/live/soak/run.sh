#!/usr/bin/env bash
# Loads a Goldcrest of its own with a mixture of requests for some minutes, and watches its memory, file descriptors and SSH
# connections. They have to stay level under load, and to go back when it ends. load.py describes the requests.
#
#   run.sh GOLDCREST_BINARY [MINUTES]     10 by default
#
# It needs openssh, slurm and oidc of the live environment, and uses port 18510 and the next one, or those from $GOLDCREST_BENCH_PORT on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
export GOLDCREST_BENCH_PORT=${GOLDCREST_BENCH_PORT:-18510}
# shellcheck source=../../../build/environment/bench/own.sh
. "$here/../../../build/environment/bench/own.sh"

GOLDCREST_BIN=$(realpath "$1")
minutes=${2:-10}
folder=/dev/shm/goldcrest-soak

finish() {
    own_stop
    rm -rf "$folder"
}

export GOLDCREST__METRICS__LISTEN=127.0.0.1:$((GOLDCREST_BENCH_PORT + 1))
# So that connections end soon after the load.
export GOLDCREST__CLUSTERS__0__SSH__TIMEOUT__IDLE_TIMEOUT=10
need_free_port $((GOLDCREST_BENCH_PORT + 1))
own_prepare "$(ssh_port stock)"
trap finish EXIT
# shellcheck disable=SC2154  # own.sh sets it
install -d -o "$user" -g "$user" "$folder"
own_launch
export SOAK_TOKEN_URL SOAK_SECRET_FILE=$state_root/oidc/$user.secret
SOAK_TOKEN_URL=$(coordinate oidc tokenUrl)
# shellcheck disable=SC2154
python3 "$here/load.py" --minutes "$minutes" --url "$own_url" --metrics "http://$GOLDCREST__METRICS__LISTEN/metrics" --pid "$own_pid" \
    --user "$user" --folder "$folder"
kill -0 "$own_pid" || die "goldcrest ended"
# shellcheck disable=SC2154
! grep -F '"level":"ERROR"' "$own_folder/log" || die "goldcrest logged an error"
