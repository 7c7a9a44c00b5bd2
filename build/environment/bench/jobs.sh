#!/usr/bin/env bash
# Puts many jobs into the environment's Slurm, lists them through Goldcrest and by hand, and prints a table (Markdown).
#
#   jobs.sh [--jobs N] [--rounds N]
#
# It needs openssh, slurm and oidc of the environment, and starts a Goldcrest of its own. The jobs wait in a
# partition that is down, and are cancelled at the end; accounting remembers them for their user, so that a second run lists more.
# By hand, `squeue` and `sacct` print the fields that Goldcrest asks for, at the same time, as Goldcrest runs them when it asks both.
set -euo pipefail
# Nobody measures the jobs of this user.
own_user=otheruser
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=own.sh
. "$here/own.sh"
# shellcheck source=queue.sh
. "$here/queue.sh"

jobs=10000
rounds=3
name=goldcrest-bench
queue_fields=JobArrayID,JobID,State,Reason,exit_code,UserName,GroupName,Account,NumNodes,NodeList,Partition,PriorityLong,StartTime,EndTime,TimeUsed,TimeLimit,WorkDir,Name
account_fields=JobID,State,Reason,ExitCode,Start,End,ElapsedRaw,Suspended,TimelimitRaw,NNodes,Cluster,User,UID,Group,Account,NodeList,Partition,Priority,WorkDir,JobName

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) print_help "${BASH_SOURCE[0]}" && exit ;;
            --jobs) jobs=$2 ;;
            --rounds) rounds=$2 ;;
            *) die "jobs.sh does not know $1: see --help" ;;
        esac
        shift 2
    done
    [ "$(id -u)" = 0 ] || die "the jobs are submitted as $user: run this as root"
    # Both commands together may take longer than they usually are given.
    own_command_timeout=60 own_start "$(ssh_port stock)"
    trap finish EXIT
    TOKEN=$(token)
    submit
    local together=() queue=() account=() ours=() peak=0 listed
    for _ in $(seq "$rounds"); do
        queue+=("$(seconds_of by_squeue)")
        account+=("$(seconds_of by_sacct)")
        together+=("$(seconds_of by_both)")
        # An answer is given again for a second.
        sleep 1.5
        reset_peak "$own_pid"
        ours+=("$(seconds_of by_goldcrest)")
        peak=$(printf '%s\n' "$peak" "$(peak_of "$own_pid")" | sort -g | tail -1)
    done
    listed=$(grep -o '"jobId"' "$own_folder/answer" | wc -l)
    echo "| jobs listed | \`squeue\` s | \`sacct\` s | both at once s | Goldcrest s | the slowest beyond both s | answer MB | RSS before, and its peak MiB |"
    echo "|---:|---:|---:|---:|---:|---:|---:|---:|"
    echo "| $listed | $(median "${queue[@]}") | $(median "${account[@]}") | $(median "${together[@]}") | ${ours[*]} |" \
        "$(calculate "$(printf '%s\n' "${ours[@]}" | sort -g | tail -1) - $(median "${together[@]}")") | $(calculate "$(stat -c %s "$own_folder/answer") / 1e6" %.1f) |" \
        "$before, $peak |"
}

submit() {
    local max
    # What the controller takes, with some places left for others: it also keeps room for an array (MaxArraySize).
    max=$(as_user scontrol show config | awk '/^MaxJobCount/ { max += $3 } /^MaxArraySize/ { max -= $3 } END { print max - 500 }')
    if [ "$jobs" -gt "$max" ]; then
        say "the controller takes no more than $max"
        jobs=$max
    fi
    queue_jobs "$jobs"
    # Accounting hears of them a moment later.
    wait_for 120 accounted || die "accounting does not know the jobs"
    ask -o /dev/null "$own_url/compute/bench/jobs?name=none"
    before=$(resident "$own_pid")
}

accounted() { [ "$(by_sacct --state=PD --name=$name | wc -l)" -ge "$jobs" ]; }

by_squeue() { as_user squeue --noheader --all --states=all --user="$user" --Format="${queue_fields//,/:,}:"; }

by_sacct() {
    as_user sacct --noheader --parsable --allocations --user="$user" --starttime=now-24hours --endtime=now \
        --state=BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S,TO --format=$account_fields "$@"
}

by_both() {
    by_squeue >/dev/null &
    by_sacct >/dev/null
    wait $!
}

by_goldcrest() { ask -o "$own_folder/answer" "$own_url/compute/bench/jobs"; }

main "$@"
