#!/bin/bash
# Stops what start.sh started, and only that: `stop.sh [22.05|24.11|26.05]...`, all by default. State stays for the next start.
# The database, which all share, stops when none is left.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need_root

no_jobs() {
    [ -z "$(slurm_client squeue --noheader)" ]
}

unmount() {
    ! mountpoint -q "$1" || umount "$1"
}

for wanted in $(versions_of "$@"); do
    select_version "$wanted"
    run=$state/run
    if is_running "$run/slurmctld.pid"; then
        # Jobs are children of no daemon: without this their processes would outlive the instance.
        for user in "${test_users[@]}"; do
            SLURM_CONF=$slurm_conf timeout 10 "${inside[@]}" scancel --full --user="$user" || true
        done
        wait_until 20 no_jobs || say "some jobs of $version do not end"
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
            wait_until 10 unmount "$root/$folder" || fail "$root/$folder stays mounted: a process still uses it"
        done
    elif [ "$(readlink /etc/slurm/slurm.conf)" = "$slurm_conf" ]; then
        rm /etc/slurm/slurm.conf
    fi
done

for each in $all_versions; do
    select_version "$each"
    ! is_running "$state/run/slurmdbd.pid" || exit 0
done
stop_daemon "$base/run" mariadb
