# Cancels job $1. The file tells a runner on another host, and tells a cancel from the host's own shutdown.
cancel() {
    open_state
    [ -e "jobs/$1/status" ] || fail 65 'Job not found'
    if [ -e "queue/$1" ]; then
        if alive "$1"; then
            : >"jobs/$1/cancel" || fail 67 'the state directory cannot be written'
            if [ "$runner_host" = "$host" ]; then kill -TERM "$runner_pid" 2>/dev/null; fi
        else
            bury "$1"
        fi
    fi
    begin
}
cancel "$@"
