#!/bin/sh
# Slurm's commands as far as a submission needs them. A job is a directory in ~/slurm that holds its comment and the line that submitted it; ~/faults has the names of
# what is to happen to the next submissions, one a line. With ~/forgets the controller knows no job, and nobody keeps accounts; ~/memory has its `MinJobAge`.
slurm=$HOME/slurm
mkdir -p "$slurm"

accept() {
    id=1
    until mkdir "$slurm/$id" 2>/dev/null; do id=$((id + 1)); done
    printf '%s' "$2" >"$slurm/$id/line"
    printf '%s' $$ >"$slurm/$id/pid"
    printf '%s' "$1" >"$slurm/$id/comment"
}

sbatch() {
    comment=
    line="sbatch $*"
    for word; do case $word in --comment=*) comment=${word#--comment=} ;; esac; done
    cat >/dev/null
    fault=$(head -n 1 "$HOME/faults" 2>/dev/null)
    if [ -n "$fault" ]; then sed -i 1d "$HOME/faults"; fi
    case $fault in
    refuse) echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2 && exit 1 ;;
    mistake) printf '%s\n' "sbatch: unrecognized option '--tiem=1'" 'Try "sbatch --help" for more information' >&2 && exit 255 ;;
    before) kill -9 $$ ;;
    flight)
        # The controller takes the job after sbatch has been killed.
        (sleep 0.5 && accept "$comment" "$line") </dev/null >/dev/null 2>&1 &
        kill -9 $$
        ;;
    shell)
        # The shell that started it all.
        # shellcheck disable=SC2046
        set -- $(sed 's/.*) //' "/proc/$PPID/stat")
        kill -9 "$2"
        ;;
    slow) sleep 1 ;;
    esac
    accept "$comment" "$line"
    if [ "$fault" = after ]; then kill -9 $$; fi
    echo "$id"
}

squeue() {
    [ ! -e "$HOME/forgets" ] || return 0
    for word; do case $word in --Format=*) format=${word#--Format=JobArrayID:} ;; esac; done
    mark=${format%%,*}
    for job in "$slurm"/[0-9]*; do
        if [ -e "$job/comment" ]; then printf '%s%s%s%s\n' "${job##*/}" "$mark" "$(cat "$job/comment")" "$mark"; fi
    done
}

scontrol() {
    printf 'ClusterName             = alps\nMinJobAge               = %s sec\n' "$(cat "$HOME/memory")"
}

sacct() {
    if [ -e "$HOME/forgets" ]; then
        echo 'You are not running a supported accounting_storage plugin' >&2
        return 1
    fi
    printf '%s\n' "$@" >"$HOME/sacct"
    for word; do case $word in --delimiter=*) mark=${word#--delimiter=} ;; esac; done
    for job in "$slurm"/[0-9]*; do
        if [ -e "$job/comment" ]; then printf '%s%s%s%s\n' "${job##*/}" "$mark" "$(cat "$job/line")" "$mark"; fi
    done
}

case ${0##*/} in
sbatch) sbatch "$@" ;;
squeue) squeue "$@" ;;
sacct) sacct "$@" ;;
scontrol) scontrol "$@" ;;
esac
