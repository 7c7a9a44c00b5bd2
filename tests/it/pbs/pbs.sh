#!/bin/sh
# A PBS of one file for tests: qsub, qstat, qselect, qdel, pbsnodes and pbs_rstat, as they behave towards their caller. A job is a
# directory below ~/pbs: its attributes, its letter, its end. A job runs to its end while it is submitted, unless it is named
# `waits`. ~/pbs/mode switches faults on: `down`, `nohistory`, `large` (an array whose subjobs do not fit into an answer).
state=$HOME/pbs
mkdir -p "$state"
program=${0##*/}
mode=$(cat "$state/mode" 2>/dev/null)
case $1 in --version) echo 'pbs_version = 23.06.06'; exit 0 ;; esac
if [ "$mode" = down ]; then
    echo 'Connection refused' >&2
    echo "$program: cannot connect to server srv (errno=15010)" >&2
    exit 162
fi

fail() { # status, text
    echo "$program: $2" >&2
    exit "$1"
}

escape() { # a value of Variable_List, on one line
    printf '%s' "$1" | sed -e "s/[\\\\\"',]/\\\\&/g" | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'
}

describe() { # a job's directory, an id, a letter
    printf 'Job Id: %s.srv\n' "$2"
    printf '    job_state = %s\n    server = srv\n' "$3"
    cat "$1/attributes"
    [ ! -e "$1/end" ] || cat "$1/end"
    printf '\n'
}

letter() {
    cat "$1/letter"
}

qsub() {
    name=STDIN given='' array='' queue=workq project=_pbs_project_default output='' error=''
    while [ $# -gt 0 ]; do
        case $1 in
        -f) shift ;;
        -V) given=yes; shift ;;
        -N) name=$2; shift 2 ;;
        -P) project=$2; shift 2 ;;
        -q) queue=$2; shift 2 ;;
        -o) output=$2; shift 2 ;;
        -e) error=$2; shift 2 ;;
        -l) [ "$2" = select=1 ] || fail 187 "Unknown resource Resource_List.$2"; shift 2 ;;
        -*) echo "qsub: invalid option -- '$1'" >&2; exit 2 ;;
        *) script=$1; shift ;;
        esac
    done
    [ "$queue" = workq ] || fail 170 'Unknown queue'
    fault=$(head -n 1 "$HOME/faults" 2>/dev/null)
    [ -z "$fault" ] || sed -i 1d "$HOME/faults"
    [ "$fault" != slow ] || sleep 1
    [ "$fault" != before ] || kill -9 $$
    if [ "$fault" = shell ]; then kill -9 "$(sed 's/.*) //' "/proc/$PPID/stat" | cut -d ' ' -f 2)"; fi
    number=$(find "$state" -mindepth 1 -maxdepth 1 -type d | wc -l)
    until mkdir "$state/$number" 2>/dev/null; do number=$((number + 1)); done
    job=$state/$number
    printf '%s' $$ >"$job/pid"
    if [ -n "$script" ]; then
        cat "$script" >"$job/script" || fail 1 'script file:: No such file or directory'
    else
        cat >"$job/script"
    fi
    directive=$(sed -n 's/^#PBS -J //p' "$job/script")
    [ -z "$directive" ] || array=yes
    output=${output:-$PWD/$name.o$number}
    error=${error:-$PWD/$name.e$number}
    case $output in /*) ;; *) output=$PWD/$output ;; esac
    case $error in /*) ;; *) error=$PWD/$error ;; esac
    variables=PBS_O_HOME=$HOME,PBS_O_WORKDIR=$(escape "$PWD")
    [ -z "$given" ] || [ -z "${GIVEN+x}" ] || variables=$variables,GIVEN=$(escape "$GIVEN")
    tag=$(sed -n 's/^#PBS -v .*PBS_GOLDCREST_SUBMISSION=[^0-9a-f]*\([0-9a-f]*\).*/\1/p' "$job/script")
    [ -z "$tag" ] || variables=$variables,PBS_GOLDCREST_SUBMISSION=$tag
    cat >"$job/attributes" <<EOF
    Job_Name = $name
    Job_Owner = $LOGNAME@srv
    queue = $queue
    exec_host = n1/0*2+n2/0
    Error_Path = srv:$error
    Hold_Types = n
    Output_Path = srv:$output
    Priority = 0
    Resource_List.nodect = 2
    Resource_List.walltime = 01:00:00
    stime = $(TZ=UTC date '+%a %b %d %H:%M:%S %Y')
    resources_used.walltime = 00:00:07
    Variable_List = $variables
    project = $project
EOF
    if [ -n "$array" ]; then
        echo B >"$job/letter"
        touch "$job/array"
        echo "${number}[].srv"
        return
    fi
    if [ "$fault" = after ]; then
        echo R >"$job/letter"
        kill -9 $$
    fi
    echo "$number.srv"
    if [ "$name" = waits ]; then
        echo R >"$job/letter"
        return
    fi
    PBS_O_WORKDIR=$PWD PBS_JOBID=$number.srv sh "$job/script" >"$output" 2>"$error" </dev/null
    status=$?
    echo F >"$job/letter"
    substate=92
    [ "$status" = 0 ] || substate=93
    ended "$job" "$status" "$substate"
}

ended() { # a job's directory, an exit status, a substate
    {
        printf '    obittime = %s\n' "$(TZ=UTC date '+%a %b %d %H:%M:%S %Y')"
        printf '    substate = %s\n    Exit_status = %s\n' "$3" "$2"
    } >"$1/end"
}

finished_without_history() { # a job's directory
    [ "$mode" = nohistory ] && [ "$(letter "$1")" = F ]
}

one() { # an id
    number=${1%.srv}
    index=
    case $number in
    *'[]') number=${number%'[]'} array=yes ;;
    *'['*) index=${number#*'['} index=${index%']'} number=${number%'['*} array=yes ;;
    *) array= ;;
    esac
    job=$state/$number
    if [ ! -d "$job" ] || finished_without_history "$job" || { [ -e "$job/array" ] && [ -z "$array" ]; }; then
        echo "qstat: Unknown Job Id $1" >&2
        return 153
    fi
    if [ -n "$index" ]; then
        describe "$job" "${number}[$index]" X
    else
        describe "$job" "${1%.srv}" "$(letter "$job")"
        if [ -n "$subjobs" ] && [ -n "$array" ]; then
            describe "$job" "${number}[1]" X
            describe "$job" "${number}[2]" "$(letter "$job")"
            [ "$mode" != large ] || head -c 4000000 /dev/zero | tr '\0' x
        fi
    fi
}

qstat() {
    what=jobs history='' subjobs='' user='' status=0
    while [ $# -gt 0 ]; do
        case $1 in
        -u) user=$2; shift ;;
        -f | -w | -E) ;;
        -x) history=yes ;;
        -t) subjobs=yes ;;
        -Q) what=queues ;;
        -B) what=server ;;
        --) shift; break ;;
        -*) exit 2 ;;
        *) break ;;
        esac
        shift
    done
    case $what in
    queues)
        printf 'Queue: workq\n    enabled = True\n    started = True\n    resources_available.ncpus = 64\n\n'
        printf 'Queue: R7\n    acl_user_enable = True\n    acl_users = ada@h\n    resources_max.ncpus = 1\n    resources_available.ncpus = 1\n    enabled = True\n    started = False\n\n'
        exit 0
        ;;
    server)
        printf 'Server: srv\n    server_state = Active\n\n'
        exit 0
        ;;
    esac
    if [ -n "$history" ] && [ "$mode" = nohistory ]; then
        # The lower byte of the error's number is 0.
        fail 0 "PBS is not configured to maintain job history $1"
    fi
    if [ -n "$user" ]; then
        for id in $(qselect -u "$user") $([ -z "$history" ] || qselect -u "$user" -H); do one "$id"; done
        exit 0
    fi
    for id; do
        one "$id" || status=$?
    done
    exit "$status"
}

qselect() {
    user='' ended=''
    while [ $# -gt 0 ]; do
        case $1 in
        -u) user=$2; shift 2 ;;
        -H) ended=yes; shift ;;
        -t) case $2 in m.ge.20??????????) ;; *) fail 2 'illegal -t value' ;; esac; shift 2 ;;
        *) exit 2 ;;
        esac
    done
    [ -z "$ended" ] || [ "$mode" != nohistory ] || fail 0 'PBS is not configured to maintain job history'
    for job in "$state"/*/; do
        job=${job%/}
        [ -d "$job" ] || continue
        [ -z "$user" ] || grep -q "Job_Owner = $user@" "$job/attributes" || continue
        case $(letter "$job") in F) over=yes ;; *) over= ;; esac
        [ "$over" = "$ended" ] || continue
        brackets=
        [ ! -e "$job/array" ] || brackets='[]'
        echo "${job##*/}$brackets.srv"
    done
}

qdel() {
    [ "$1" != -- ] || shift
    number=${1%.srv}
    number=${number%'[]'}
    job=$state/$number
    if [ ! -d "$job" ] || finished_without_history "$job"; then fail 153 "Unknown Job Id $1"; fi
    grep -q "Job_Owner = $LOGNAME@" "$job/attributes" || fail 159 "Unauthorized Request  $1"
    [ "$(letter "$job")" != F ] || fail 35 "Job has finished $1"
    echo F >"$job/letter"
    ended "$job" 271 91
}

# qhold, qrls, qrerun, qsig and qalter: what is changed is written down.
alter() {
    shown=$program
    while [ "$1" != -- ]; do shown="$shown $1"; shift; done
    job=$state/${2%.srv}
    [ -d "$job" ] || fail 153 "Unknown Job Id $2"
    grep -q "Job_Owner = $LOGNAME@" "$job/attributes" || fail 159 "Unauthorized Request  $2"
    [ "$(letter "$job")" != F ] || fail 35 "Job has finished $2"
    echo "$shown" >>"$job/changes"
}

case $program in
qhold | qrls | qrerun | qsig | qalter) alter "$@" ;;
qsub) qsub "$@" ;;
qstat) qstat "$@" ;;
qselect) qselect "$@" ;;
qdel) qdel "$@" ;;
pbsnodes)
    printf 'n1\n     Mom = n1\n     state = free\n     resources_available.ncpus = 4\n     resources_available.mem = 8gb\n'
    printf '     resources_assigned.ncpus = 1\n     resources_assigned.mem = 1gb\n\nn2\n     state = state-unknown,down\n\n'
    ;;
pbs_rstat)
    printf 'Resv ID: R7.srv\nReserve_Name = maint\nreserve_state = RESV_RUNNING\nqueue = R7\nresv_nodes = (n1:ncpus=1)+(n2:ncpus=1)\n'
    printf 'reserve_start = Sat Nov 21 12:00:00 2026\nreserve_end = Sat Nov 21 13:00:00 2026\n\n'
    ;;
esac
