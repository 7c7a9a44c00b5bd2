# The runner of one job: `run <id> <state directory>` waits for a slot, runs the job and records its end; `launch` becomes the
# job. Parameters: 1 slots, 2 time limit, 3 grace, 4 directory, 5 input, 6 output, 7 error, 8 name, 9 days finished jobs are kept.
# Signals: TERM cancels, USR1 says that the queue moved, USR2 that the time is up. They are handled, never ignored, because
# the job would inherit that.

run() {
    cancelled= expired= kicked= leader= begun= slot=
    trap 'cancelled=1 signalled=1' TERM
    trap 'kicked=1' USR1
    trap 'expired=1 signalled=1' USR2
    trap : HUP INT QUIT
    eval "$(cat "jobs/$id/parameters")"
    slots=$1 limit=$2 grace=$3 keep=$9
    [ "$slots" -gt 0 ] || slots=$(cpus)
    started_at $$ || exit 1
    cookie=$id.$$.$started.
    identity="$id $$ $started $boot $host"
    # Into the queue first, then visible, then tell the submission: once a job is visible, its state can be determined.
    printf '%s\n' "$identity" >"jobs/$id/identity" && mv -f "jobs/$id/identity" "queue/$id" || exit 1
    mv -f "jobs/$id/status.new" "jobs/$id/status" || exit 1
    echo ready
    exec >/dev/null
    read -r line <"jobs/$id/status"
    fixed=${line%% state=*}
    prune
    wait_for_slot
    begun=$(now)
    write_status "$id" "$fixed state=RUNNING reason=None start=$begun host=$host" || finish FAILED StateDirectory
    kick
    new_session sh "jobs/$id/runner" launch "$id" "$root" "$cookie" "$umask_of_user" >/dev/null 2>&1 </dev/null &
    leader=$!
    # The job has its own set of signals by now. A signal that ends `wait` as the job ends costs the job's status, so only
    # those are still heard after which the status does not matter.
    trap '' USR1 HUP INT QUIT
    # Until the session exists no signal can reach the job.
    until kill -0 "-$leader" 2>/dev/null || ! started_at "$leader"; do sleep 0.1 2>/dev/null || sleep 1; done
    if started_at "$leader"; then printf '%s %s\n' "$leader" "$started" >"jobs/$id/leader"; fi
    tick &
    ticker=$!
    wait_for_job
}

# Removes jobs that ended long ago. The id was taken before, so that an id is never given out twice.
prune() {
    # shellcheck disable=SC2012
    (cd jobs && find . ! -name . -prune -type d -mtime "+$keep" 2>/dev/null) | while IFS= read -r old; do
        old=${old#./}
        case $old in *[!0-9]*) continue ;; esac
        if [ "$old" != "$id" ] && [ ! -e "queue/$old" ]; then rm -rf "jobs/$old"; fi
    done
}

wait_for_slot() {
    while :; do
        if [ -n "$cancelled" ] || [ -e "jobs/$id/cancel" ]; then finish_cancelled; fi
        kicked=
        look_at_queue "$id"
        if [ -z "$next" ]; then
            take_slot && return
            [ -e "queue/$id" ] || finish FAILED StateDirectory
        elif ! alive "$next"; then
            bury "$next"
            [ -e "queue/$next" ] || continue
        fi
        # The first in the queue looks every second, the others less often the further back they are.
        interval=$((1 + ahead / 4))
        if [ "$interval" -gt 60 ]; then interval=60; fi
        pause "$interval"
        [ -z "$(find "queue/$id" -mmin +1 2>/dev/null)" ] || touch "queue/$id"
    done
}

# Takes one slot. Only the first of the queue comes here, so it may free what a dead runner held.
take_slot() {
    slot=1
    while [ "$slot" -le "$slots" ]; do
        owner=
        if { read -r owner _ <"queue/slot-$slot"; } 2>/dev/null && [ -n "$owner" ] && ! alive "$owner"; then
            bury "$owner"
            rm -f "queue/slot-$slot"
        elif [ -z "$owner" ] && [ -n "$(find "queue/slot-$slot" -mmin +1 2>/dev/null)" ]; then
            # A runner died between the creation of the file and its content.
            rm -f "queue/slot-$slot"
        fi
        # With noclobber the shell creates the file with O_EXCL: one winner, without ln or flock.
        if [ ! -e "queue/slot-$slot" ] && (set -C && : >"queue/slot-$slot") 2>/dev/null; then
            if printf '%s\n' "$identity" 2>/dev/null >"queue/slot-$slot"; then return 0; fi
            # There is no room for its content.
            rm -f "queue/slot-$slot"
        fi
        slot=$((slot + 1))
    done
    slot=
    return 1
}

# Sleeps for $1 seconds or until a signal.
pause() {
    sleep "$1" &
    sleeper=$!
    if [ -z "$kicked$cancelled" ]; then wait "$sleeper"; fi
    kill "$sleeper" 2>/dev/null
}

# Runs beside the job: heartbeat, time limit, requests from other hosts; cleans up when the runner was killed, and ends the job when
# its records were removed: no user could see or cancel it any more.
tick() {
    sleeper=
    trap 'kill $sleeper 2>/dev/null; exit 0' TERM
    trap - USR1 USR2
    while :; do
        step=5
        if [ "$limit" -gt 0 ]; then
            left=$((begun + limit - $(now)))
            if [ "$left" -le 0 ]; then kill -USR2 $$; elif [ "$left" -lt "$step" ]; then step=$left; fi
        fi
        if [ -e "jobs/$id/cancel" ]; then kill -TERM $$; fi
        sleep "$step" &
        sleeper=$!
        wait "$sleeper"
        if [ ! -d "jobs/$id" ]; then
            kill -TERM $$
            exit 0
        fi
        if ! alive "$id"; then
            bury "$id"
            kick
            exit 0
        fi
        touch "queue/$id"
    done
}

wait_for_job() {
    stopped=
    while :; do
        if [ -z "$stopped" ] && [ -n "$cancelled$expired" ]; then
            if [ -n "$cancelled" ]; then stopped=cancelled; else stopped=expired; fi
            stop_job
        fi
        signalled=
        wait "$leader"
        code=$?
        # A signal to the runner ends `wait` as well.
        if [ -n "$signalled" ] || started_at "$leader"; then continue; fi
        if [ "$code" -gt 128 ]; then
            # That signal's number, or the job's own status: only the former leaves a status to be asked for, else it is 127.
            wait "$leader" 2>/dev/null
            again=$?
            if [ "$again" -ne 127 ]; then code=$again; fi
        fi
        break
    done
    if survivors "$leader" "$cookie"; then stop_job; fi
    kill "$ticker" 2>/dev/null
    case $stopped in
    cancelled) finish_cancelled ;;
    expired) finish TIMEOUT TimeLimit ;;
    esac
    fault=
    { read -r fault <"jobs/$id/fault"; } 2>/dev/null
    if [ -n "$fault" ]; then finish FAILED "$fault" " exit=1"; fi
    if [ "$code" -eq 0 ]; then finish COMPLETED None ' exit=0'; fi
    finish FAILED NonZeroExitCode " exit=$code"
}

# Asks the job's processes to end, and after the grace makes them.
stop_job() {
    strike TERM "$leader" "$cookie"
    waited=0
    while [ "$waited" -lt "$grace" ] && survivors "$leader" "$cookie"; do
        # Looking more than once a second makes the usual case quick; where sleep takes whole seconds only, a second it is.
        if [ "$waited" -eq 0 ] && sleep 0.1 2>/dev/null && ! survivors "$leader" "$cookie"; then return; fi
        sleep 1
        waited=$((waited + 1))
    done
    waited=0
    while [ "$waited" -lt 5 ] && survivors "$leader" "$cookie"; do
        strike KILL "$leader" "$cookie"
        sleep 0.1 2>/dev/null || sleep 1
        waited=$((waited + 1))
    done
}

# A request to cancel left its file; without one the signal was the host's own, at shutdown.
finish_cancelled() {
    if [ -e "jobs/$id/cancel" ]; then finish CANCELLED None; else finish NODE_FAIL HostShutdown; fi
}

# Records state $1 for reason $2, with the field $3, and gives the slot on. Where that cannot be written it tries again.
# If that fails too, the queue entry stays and the next reader records the loss. Where the records were removed there is nothing to do.
finish() {
    if [ -n "$begun" ]; then begun=" start=$begun host=$host"; fi
    tries=0
    until write_last_status "$id" "$fixed state=$1 reason=$2$begun end=$(now)$3"; do
        # Readers see meanwhile that no process of the job is left: a rename needs no room, and every job has this file.
        mv -f "jobs/$id/environment" "jobs/$id/unrecorded" 2>/dev/null
        tries=$((tries + 1))
        [ "$tries" -lt 30 ] && [ -d "jobs/$id" ] || exit 1
        sleep 10
    done
    rm -f "jobs/$id/runner" "jobs/$id/leader" "jobs/$id/environment" "jobs/$id/spare" "jobs/$id/unrecorded"
    if [ -n "$slot" ]; then rm -f "queue/slot-$slot"; fi
    rm -f "queue/$id"
    kick
    exit 0
}

# Becomes the job. What fails before the script runs leaves its reason in `fault`.
launch() {
    fault=$root/jobs/$id/fault
    cookie=$4
    umask "$5"
    eval "$(cat "jobs/$id/parameters")"
    echo WorkingDirectory >"$fault"
    cd "$4" || exit 1
    expand "$5" "$id" "$4"
    echo StandardInput >"$fault"
    if [ -n "$expanded" ]; then exec <"$expanded"; fi
    echo StandardOutput >"$fault"
    expand "$6" "$id" "$4"
    output=$expanded
    exec >"$output"
    echo StandardError >"$fault"
    expand "$7" "$id" "$4"
    if [ -z "$expanded" ] || [ "$expanded" = "$output" ]; then exec 2>&1; else exec 2>"$expanded"; fi
    : >"$fault"
    first=
    IFS= read -r first <"$root/jobs/$id/script"
    case $first in
    '#!'*) first= ;;
    *) first=/bin/sh ;;
    esac
    # From here on in positional parameters: the job's environment may hold variables of any name.
    set -- "$root/jobs/$id" "$id" "$8" "$4" "$cookie" "$first"
    { . "$1/environment"; } >/dev/null 2>&1
    export GOLDCREST_JOB_ID="$2" GOLDCREST_JOB_NAME="$3" GOLDCREST_SUBMIT_DIR="$4" GOLDCREST_JOB_COOKIE="$5"
    exec ${6:+"$6"} "$1/script"
}

mode=$1
id=$2
open_state "$3"
case $mode in
run) run ;;
launch) launch "$@" ;;
esac
