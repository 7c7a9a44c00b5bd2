set -eu
LC_ALL=C
export LC_ALL

say() { printf '%s %s\n' "$(date -u)" "$1"; }

# Ends the job with the status $1 of what failed; the reason stands above, in the words of the tool.
failed() {
    say "Unable to $task files, exit status:$1" >&2
    exit "$1"
}

# Clients look for these words in the output log.
succeeded() { say "Files were successfully $1."; }

begin() {
    task=$1
    say "Job ${SLURM_JOB_ID:-${PBS_JOBID:-${GOLDCREST_JOB_ID:-of an unknown id}}}: $task files"
}
