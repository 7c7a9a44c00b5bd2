# Runs shell command $2 beside job $1, in its working directory and environment. It carries the job's cookie: it ends with it.
attach() {
    open_state
    { read -r line <"jobs/$1/status"; } 2>/dev/null || fail 65 'Job not found'
    case $line in *' state=RUNNING '*) alive "$1" && ! ended_unrecorded "$1" || fail 66 'the job is not running' ;; *) fail 66 'the job is not running' ;; esac
    id=$1 command=$2
    eval "$(cat "jobs/$id/parameters")"
    umask "$umask_of_user"
    cd "$4" || fail 66 'the working directory of the job is not accessible'
    begin
    # From here on in positional parameters: the job's environment may hold variables of any name.
    set -- "$command" "$id" "$8" "$4" "$runner_cookie" "$root/jobs/$id/environment"
    { . "$6"; } >/dev/null 2>&1
    export GOLDCREST_JOB_ID="$2" GOLDCREST_JOB_NAME="$3" GOLDCREST_SUBMIT_DIR="$4" GOLDCREST_JOB_COOKIE="$5"
    exec /bin/sh -c "$1" </dev/null
}
attach "$@"
