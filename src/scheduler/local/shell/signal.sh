# Sends signal $2 to the processes of job $1.
signal() {
    open_state
    { read -r line <"jobs/$1/status"; } 2>/dev/null || fail 65 'Job not found'
    case $line in *' state=RUNNING '*) alive "$1" && ! ended_unrecorded "$1" || fail 66 'the job is not running' ;; *) fail 66 'the job is not running' ;; esac
    [ "$runner_host" = "$host" ] || fail 66 'the job runs on another host of this home directory'
    leader=
    if { read -r leader leader_start <"jobs/$1/leader"; } 2>/dev/null; then
        started_at "$leader" && [ "$started" = "$leader_start" ] || leader=
    fi
    strike "$2" "$leader" "$runner_cookie"
    begin
}
signal "$@"
