set -eu
LC_ALL=C
export LC_ALL

say() { printf '%s %s\n' "$(date -u)" "$1"; }

# Ends the job with the exit status $1 of what failed; the message of the tool stands above. The statuses 11 and 12 are those of `merge`.
failed() {
    case $1 in
    11) set -- 1 'other files are in their places already' ;;
    12) set -- 1 'nothing was changed' ;;
    *) set -- "$1" '' ;;
    esac
    [ -z "$2" ] || say "This cannot be put in its place, and $2: $unplaced" >&2
    say "Unable to $task files, exit status:$1" >&2
    exit "$1"
}

# Clients look for these words in the output log.
succeeded() { say "Files were successfully $1."; }

# Makes a directory in $1 for what is not yet whole. Whatever ends the job, nothing of it is left.
stage() {
    staged=$(mktemp -d -- "$1/.goldcrest-XXXXXXXXXXXXXXXX") || failed $?
    trap 'remove_tree "$staged"' EXIT
    trap 'exit 143' HUP INT TERM
}

begin() {
    task=$1
    say "Job ${SLURM_JOB_ID:-${PBS_JOBID:-${GOLDCREST_JOB_ID:-of an unknown id}}}: $task files"
}
