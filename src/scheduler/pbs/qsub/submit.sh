# Submits a job: 1 working directory, 2 whether it must be writable, 3 the job's variables as shell code, 4 `text` or `path`,
# 5 the script or where it lies, 6 directives to be put into it, then the five arguments of the record (`record.sh`; the first is empty where
# none is kept), then the arguments of qsub.
#
# PBS has no option for a directory, a job's is where qsub was called; and `qsub -v NAME=VALUE` breaks values at commas and
# quotes, and shows them to every user of the host. `qsub -V` carries them, so qsub gets an environment that holds the job's variables
# and, besides, only what it needs itself. Without variables the job gets what PBS gives every job.

refuse() {
    printf 'qsub: %s\n' "$1" >&2
    exit 1
}

# Drops what the login session exported, but for what qsub and its libraries need to find their server.
forget_session() {
    for gc_name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
        case $gc_name in
        HOME | USER | LOGNAME | SHELL | PATH | PWD | MAIL | TZ | LANG | LD_LIBRARY_PATH | KRB5CCNAME) ;;
        PBS_CONF_FILE | PBS_SERVER | PBS_DEFAULT) ;;
        *) command unset "$gc_name" 2>/dev/null ;;
        esac
    done
}

# Whether the script says itself where its output goes.
says_where() {
    case $1 in
    path) grep -q '^[[:blank:]]*#PBS.*[[:blank:]]-[oekj]' "$2" 2>/dev/null ;;
    *) return 1 ;;
    esac
}

# Prints the script at $1 with the directives $2 below the line that names its interpreter.
with_directives() {
    {
        IFS= read -r gc_line
        case $gc_line in
        '#!'*) printf '%s\n%s\n' "$gc_line" "$2" ;;
        *) printf '%s\n%s\n' "$2" "$gc_line" ;;
        esac
        cat
    } <"$1"
}

# Runs qsub: the job's variables as shell code, program, arguments. They come last: the job gets them as they were given, whatever was set here, and
# no other program does.
run_qsub() {
    if [ -n "$gc_attempt" ]; then
        recorded_qsub "$@"
    else
        eval "$1"
        shift
        "$@"
    fi
}

# Runs qsub as an attempt.
recorded_qsub() {
    {
        exec 3<&0
        become_qsub "$@" <&3 3<&- &
        wait "$!"
        printf '\ngoldcrest-exit %s\n' "$?"
    } | note_id
}

become_qsub() {
    claim
    eval "$1"
    shift
    exec "$@"
}

# Passes on what qsub prints, and writes the id down first.
note_id() {
    gc_code=1 gc_known=
    while IFS= read -r gc_line; do
        case $gc_line in
        'goldcrest-exit '*) gc_code=${gc_line#goldcrest-exit } && continue ;;
        '') continue ;;
        'goldcrest-submission '*) gc_known=yes ;;
        *[!A-Za-z0-9._[\]-]*) ;;
        [0-9]*.[A-Za-z]*) gc_known=yes && keep_id "$gc_line" ;;
        esac
        printf '%s\n' "$gc_line"
    done
    if [ -z "$gc_known" ]; then link "$(date +%s)" "$gc_ended"; fi
    # ksh93 says 256 more than the number of a signal.
    if [ "$gc_code" -gt 256 ]; then gc_code=$((gc_code - 128)); fi
    return "$gc_code"
}

submit() {
    gc_program=$(command -v qsub) || {
        echo 'qsub: not found' >&2
        exit 127
    }
    # Before anything can be refused: an earlier submission is answered even if something has changed since.
    gc_attempt=
    if [ -n "$7" ]; then begin_record "$7" "$8" "$9" "${10}" "${11}"; fi
    [ -d "$1" ] || [ ! -e "$1" ] || refuse "the working directory is not a directory: $1"
    [ -d "$1" ] || refuse "the working directory does not exist: $1"
    cd "$1" 2>/dev/null || refuse "the working directory cannot be entered: $1"
    if [ "$2" = writable ] && [ ! -w . ] && ! says_where "$4" "$5"; then
        refuse "the working directory cannot be written, and the output of the job goes there: $1"
    fi
    if [ "$4" = path ] && [ -n "$6" ]; then
        [ -r "$5" ] && [ -f "$5" ] || refuse "script file: $5 cannot be read"
        if grep -q '^[[:blank:]]*#PBS.*[[:blank:]]-v' "$5"; then
            refuse 'the script has a directive -v, which leaves no room for variables of the request that PBS itself reads'
        fi
    fi
    if [ -n "$3" ]; then forget_session; fi
    gc_exports=$3 gc_form=$4 gc_script=$5 gc_directives=$6
    shift 11
    set -- "$gc_exports" "$gc_program" "$@"
    case $gc_form$gc_directives in
    text*) printf '%s' "$gc_script" | run_qsub "$@" ;;
    path) run_qsub "$@" "$gc_script" </dev/null ;;
    *) with_directives "$gc_script" "$gc_directives" | run_qsub "$@" ;;
    esac
}
submit "$@"
