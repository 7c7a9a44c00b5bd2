# shellcheck shell=bash
# Jobs in the environment's Slurm that wait in a partition that is down. Source it after own.sh, with $name set to the name of the jobs.

: "${user:?source own.sh first}" "${state_root:?}"

commands=$state_root/slurm/22.05/bin

# as_user COMMAND...: with Slurm's commands, as the user of the measurement.
as_user() { setpriv --reuid "$user" --regid "$user" --init-groups env HOME="/home/$user" PATH="$commands:/usr/bin:/bin" "$@"; }

# queue_jobs COUNT: submits so many jobs.
# shellcheck disable=SC2154  # the measurement sets their name
queue_jobs() {
    say "submitting $1 jobs"
    # One shell for all of them.
    # shellcheck disable=SC2016  # it is that shell which reads it
    as_user bash -c 'for number in $(seq "$1"); do
            sbatch --quiet --partition=closed --job-name="$2" --chdir="$HOME" --output=/dev/null --wrap=true || exit
        done' submit "$1" "$name" >/dev/null
}

# Cancels the jobs, and stops the Goldcrest of own.sh.
finish() {
    as_user scancel --user="$user" --name="$name" || true
    own_stop
}
