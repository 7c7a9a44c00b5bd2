set -eu
LC_ALL=C
export LC_ALL

say() { printf '%s %s\n' "$(date -u)" "$1"; }

# Ends the job with the status $1 of what failed; the reason stands above, in the words of the tool.
failed() {
    say "Unable to $task files, exit status:$1" >&2
    exit "$1"
}

# Ends the job where `placed` has failed with the status $1.
misplaced() {
    what='nothing was changed'
    [ "$1" != 11 ] || what='other files are in their places already'
    say "This cannot be put in its place, and $what: $unplaced" >&2
    failed 1
}

# Clients look for these words in the output log.
succeeded() { say "Files were successfully $1."; }

# Makes a directory in $1 for what is not yet whole. Whatever ends the job, nothing of it is left.
stage() {
    staged=$(mktemp -d -- "$1/.goldcrest-XXXXXXXXXXXXXXXX") || failed $?
    trap 'cleared "$staged"' EXIT
    trap 'exit 143' HUP INT TERM
}

# Makes the file that is to become $target: open to its owner alone where it is to have the rights of what is there.
make_temporary() {
    if [ -e "$target" ]; then (umask 077 && touch -- "$temporary") || failed $?; else touch -- "$temporary" || failed $?; fi
}

begin() {
    task=$1
    say "Job ${SLURM_JOB_ID:-${PBS_JOBID:-${GOLDCREST_JOB_ID:-of an unknown id}}}: $task files"
}
