#!/bin/bash
# Stops what start.sh started, and only that: `stop.sh [22.05|24.11]...`, both by default. State stays for the next start.
# The database, which both share, stops when neither is left.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need_root

for wanted in $(versions_of "$@"); do
    select_version "$wanted"
    run=$state/run
    if is_running "$run/slurmctld.pid"; then
        # Jobs are children of no daemon: without this their processes would outlive the instance.
        timeout 10 "${inside[@]}" env SLURM_CONF="$slurm_conf" scancel --full --user="$(IFS=,; echo "${test_users[*]}")" || true
    fi
    stop_daemon "$run" slurmrestd
    for node in "${node_names[@]}"; do
        stop_daemon "$run" "slurmd-$node"
    done
    stop_daemon "$run" slurmctld
    stop_daemon "$run" slurmdbd
    stop_daemon "$run" munged
    if [ -n "$root" ]; then
        for folder in tmp home dev proc; do
            ! mountpoint -q "$root/$folder" || umount "$root/$folder"
        done
    elif [ "$(readlink /etc/slurm/slurm.conf)" = "$slurm_conf" ]; then
        rm /etc/slurm/slurm.conf
    fi
done

for each in 22.05 24.11; do
    select_version "$each"
    ! is_running "$state/run/slurmdbd.pid" || exit 0
done
stop_daemon "$base/run" mariadb
