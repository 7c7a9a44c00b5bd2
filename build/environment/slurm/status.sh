#!/bin/bash
# Waits until Slurm is healthy and says where it is: `status.sh [22.05|24.11|26.05]...`, all by default. Fails where one is not.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

nodes_are_up() {
    local states
    states=$(slurm_client sinfo --noheader --Node --nodes="$(IFS=,; echo "${node_names[*]}")" --format='%T')
    [ -n "$states" ] && ! printf '%s\n' "$states" | grep -qE '\*|down|unk'
}

restd_answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$slurmrestd_port")
}

for wanted in $(versions_of "$@"); do
    select_version "$wanted"
    [ ! -e "$state/elsewhere" ] || continue
    wait_until 60 slurm_client scontrol ping || fail "slurmctld $version does not answer: see $shared/log/slurmctld.log"
    wait_until 60 nodes_are_up || fail "the nodes of $version are not up: see $shared/log"
    wait_until 30 restd_answers || fail "slurmrestd $version does not answer: see $state/run/slurmrestd.out"
    say "Slurm $version is up: SLURM_CONF=$slurm_conf, commands in $bindir, slurmrestd on 127.0.0.1:$slurmrestd_port," \
        "JWT key $shared/jwt/hs256.key"
done
