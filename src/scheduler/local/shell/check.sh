# Refuses $1, the pattern of a file for output, where that cannot be opened in `work`. What is named by the id of the job may still come.
check_output() {
    expand "$1" 0 "$work"
    folder=${expanded%/*}
    case $1 in
    '' | *%j*/*) return ;;
    */*) ;;
    *) [ -w "$work" ] || [ -e "$expanded" ] || fail 64 "the working directory cannot be written, and the output of the job goes there: $work" ;;
    esac
    [ -d "${folder:-/}" ] || fail 64 "the output of the job goes to a directory that does not exist: $folder"
    case $1 in
    *%j*) [ -w "${folder:-/}" ] ;;
    *) if [ -e "$expanded" ]; then [ -w "$expanded" ] && [ ! -d "$expanded" ]; else [ -w "${folder:-/}" ]; fi ;;
    esac || fail 64 "the output of the job cannot be written there: $1"
}

# Refuses a job that this host cannot run: parameters $1 (a `set --` line), environment $2, queue limit $3. Sets `work`, `input`, `output`
# and `error`.
check_job() {
    command -v setsid >/dev/null 2>&1 || command -v perl >/dev/null 2>&1 ||
        fail 67 'the host has neither setsid nor perl, which the local scheduler needs to detach a job'
    checked=$2 limit=$3
    eval "$1"
    work=$4 input=$5 output=$6 error=$7
    [ -d "$work" ] || [ ! -e "$work" ] || fail 64 "the working directory is not a directory: $work"
    [ -d "$work" ] || fail 64 "the working directory does not exist: $work"
    [ -x "$work" ] || fail 64 "the working directory is not accessible: $work"
    check_output "$output"
    check_output "$error"
    # Prints the variables whose given value this shell does not keep.
    kept=$(eval "$checked" 2>/dev/null) || :
    [ -z "$kept" ] || fail 64 "the shell of the host sets this itself, and no job can be given it: $kept"
    count=0
    for entry in queue/[0-9]*; do if [ -e "$entry" ]; then count=$((count + 1)); fi; done
    [ "$count" -lt "$limit" ] || fail 68 "the queue is full: your pending and running jobs have reached the limit of $limit"
}
