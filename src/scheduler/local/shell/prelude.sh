# What the operations and the runner share. POSIX sh only; it must not need flock, procps, python or a fractional sleep.
#
# Files below the state directory:
#   last            the highest job id given out, a hint: `mkdir jobs/<id>` allocates an id
#   jobs/<id>/      one job: script, parameters, environment, paths, status (one line, replaced by rename), spare (room for the last one),
#                   unrecorded (exists while the job has ended and its last line cannot be written)
#   queue/<id>      exists while the job is pending or running: "id pid start boot host" of its runner
#   queue/slot-<k>  a slot in use: starts with the id of the job that holds it
#
# Ids are decimal numbers of ours, so they need no quoting. Every value from a client that stands in `status` was
# percent-escaped before it was sent here.

# Ends the operation: $1 is the exit status that tells the proxy the kind, $2 the message.
fail() {
    printf 'goldcrest: %s\n' "$2" >&2
    exit "$1"
}

# Makes the state directory the current one: $1, or the account's own.
open_state() {
    [ -n "${1:-${XDG_STATE_HOME:-${HOME:-}}}" ] || fail 67 'the account has no home directory'
    root=${1:-${XDG_STATE_HOME:-$HOME/.local/state}/goldcrest}
    umask_of_user=$(umask)
    umask 077
    mkdir -p "$root/jobs" "$root/queue" 2>/dev/null && cd "$root" || fail 67 'the state directory in the home directory cannot be written'
    root=$(pwd)
    host=$(uname -n)
    case $host in *[!A-Za-z0-9._-]* | '') host=localhost ;; esac
    boot=-
    if [ -r /proc/sys/kernel/random/boot_id ]; then read -r boot </proc/sys/kernel/random/boot_id; fi
}

# Everything before this line is noise of the login shell's start-up files.
begin() { printf '\ngoldcrest begin\n'; }

now() { date +%s; }

# Sets `started` to what tells process $1 from a later one with the same number; false when it is gone or a zombie.
started_at() {
    if [ -r /proc/self/stat ]; then
        { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
        # The program's name stands in brackets and may hold anything; the fields after it are numbers.
        set -- ${stat##*\) }
        [ "$1" != Z ] || return 1
        started=${20}
    else
        kill -0 "$1" 2>/dev/null || return 1
        set -- $(LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null)
        started=$1_$2_$3_$4_$5
    fi
}

# True while the runner of job $1 lives; sets `runner_pid`, `runner_host` and `runner_cookie`.
alive() {
    { read -r _ runner_pid runner_start runner_boot runner_host <"queue/$1"; } 2>/dev/null || return 1
    runner_cookie=$1.$runner_pid.$runner_start.
    if [ "$runner_host" != "$host" ]; then
        # A home directory that several hosts share: the runner touches its entry every ten seconds.
        [ -n "$(find "queue/$1" -mmin -5 2>/dev/null)" ]
        return
    fi
    [ "$runner_boot" = "$boot" ] && started_at "$runner_pid" && [ "$started" = "$runner_start" ]
}

# Start a program as the leader of its own session.
new_session() {
    if command -v setsid >/dev/null 2>&1; then
        exec setsid "$@"
    fi
    exec perl -MPOSIX=setsid -e 'setsid() or 1; exec @ARGV or die' -- "$@"
}

# Replaces the status line of job $1.
write_status() {
    printf '%s\n' "$2" 2>/dev/null >"jobs/$1/status.$$" && mv -f "jobs/$1/status.$$" "jobs/$1/status"
}

# The same for the last line of a job, for which there is room on a full file system too: `spare` has it, and is written over where it is.
# What is left of it after the line is blank.
write_last_status() {
    write_status "$1" "$2" && return
    rm -f "jobs/$1/status.$$"
    [ -s "jobs/$1/spare" ] && printf '%s\n' "$2" 2>/dev/null 1<>"jobs/$1/spare" && mv -f "jobs/$1/spare" "jobs/$1/status"
}

# An environment is a list of strings that end with NUL, so grep needs -z (that of busybox sees only the first without).
# Sends signal $1 to the process group of leader $2, and to the processes elsewhere that carry the cookie $3 of the job.
strike() {
    if [ -n "$2" ]; then kill "-$1" "-$2" 2>/dev/null; fi
    for found in $(grep -l -s -z -F -e "GOLDCREST_JOB_COOKIE=$3" /proc/[0-9]*/environ 2>/dev/null); do
        found=${found#/proc/}
        found=${found%/environ}
        { read -r stat <"/proc/$found/stat"; } 2>/dev/null || continue
        set -- "$1" "$2" "$3" ${stat##*\) }
        if [ "$6" != "$2" ]; then kill "-$1" "$found" 2>/dev/null; fi
    done
    return 0
}

# True while a process of the job is left: arguments as of `strike`. Zombies do not count: where no process reaps orphans they
# stay for ever.
survivors() {
    [ -z "$(grep -l -s -z -F -e "GOLDCREST_JOB_COOKIE=$2" /proc/[0-9]*/environ 2>/dev/null)" ] || return 0
    kill -0 "-$1" 2>/dev/null || return 1
    [ -r /proc/self/stat ] || return 0
    for found in /proc/[0-9]*; do
        { read -r stat <"$found/stat"; } 2>/dev/null || continue
        set -- "$1" "$2" ${stat##*\) }
        if [ "$5" = "$1" ] && [ "$3" != Z ]; then return 0; fi
    done
    return 1
}

# True while the status line says that job $1 runs although it has ended, since its end cannot be recorded; then `line` is what holds.
ended_unrecorded() {
    [ -e "jobs/$1/unrecorded" ] && { read -r line <"jobs/$1/status"; } 2>/dev/null || return 1
    case $line in *' state=RUNNING reason='*) ;; *) return 1 ;; esac
    line="${line%% state=*} state=UNKNOWN reason=EndNotRecorded start=${line##* start=}"
}

# Records the end of job $1, whose runner is gone without having done so, and stops its remaining processes. May run
# several times at once: all write the same, and the slot is freed by the next runner in the queue.
bury() {
    { read -r _ buried_pid buried_start _ buried_host <"queue/$1"; } 2>/dev/null || return 0
    if [ "$buried_host" = "$host" ]; then
        buried_leader=
        if { read -r buried_leader buried_leader_start <"jobs/$1/leader"; } 2>/dev/null; then
            # A leader that is gone frees its number only when its group is gone too, unless that went before: then it may be
            # another's. The cookie finds the job's processes either way.
            started_at "$buried_leader" && [ "$started" = "$buried_leader_start" ] || buried_leader=
        fi
        strike KILL "$buried_leader" "$1.$buried_pid.$buried_start."
    fi
    { read -r line <"jobs/$1/status"; } 2>/dev/null || line=
    case $line in
    '' | *' end='*) ;;
    *)
        buried_begin=
        case $line in *' start='*) buried_begin=${line##* start=} buried_begin=" start=${buried_begin%% *}" ;; esac
        write_last_status "$1" "${line%% state=*} state=NODE_FAIL reason=RunnerLost$buried_begin end=$(now)" || return 1
        ;;
    esac
    rm -f "jobs/$1/runner" "jobs/$1/leader" "jobs/$1/environment" "jobs/$1/spare" "jobs/$1/unrecorded" "queue/$1"
}

# Sets `held` to the jobs that hold a slot, `next` to the pending job with the lowest id below $1, and `ahead` to their number.
look_at_queue() {
    held=' '
    for entry in queue/slot-*; do
        owner=
        { read -r owner _ <"$entry"; } 2>/dev/null
        held="$held$owner "
    done
    next= ahead=0
    for entry in queue/[0-9]*; do
        entry=${entry#queue/}
        case $entry in *[!0-9]*) continue ;; esac
        [ "$entry" -lt "$1" ] || continue
        case $held in *" $entry "*) continue ;; esac
        ahead=$((ahead + 1))
        if [ -z "$next" ] || [ "$entry" -lt "$next" ]; then next=$entry; fi
    done
}

# Wakes the runner of the next pending job, so that a free slot does not wait for its next look.
kick() {
    look_at_queue 999999999999999999
    if [ -n "$next" ] && alive "$next" && [ "$runner_host" = "$host" ]; then kill -USR1 "$runner_pid" 2>/dev/null; fi
    return 0
}

# Sets `expanded` to pattern $1 with `%j` replaced by the id $2 and `%%` by `%`, below directory $3 where it is relative. The
# proxy has replaced the other patterns.
expand() {
    expanded= pattern=$1
    while :; do
        case $pattern in
        *%*)
            expanded=$expanded${pattern%%\%*}
            pattern=${pattern#*%}
            case $pattern in
            j*) expanded=$expanded$2 ;;
            *) expanded=$expanded% ;;
            esac
            pattern=${pattern#?}
            ;;
        *) break ;;
        esac
    done
    expanded=$expanded$pattern
    case $expanded in
    '' | /*) ;;
    *) expanded=${3%/}/$expanded ;;
    esac
}

# The number of CPUs.
cpus() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; }
