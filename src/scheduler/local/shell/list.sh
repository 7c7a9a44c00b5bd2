# Prints the jobs: how many days back finished ones are wanted, or `job` and an id. One process reads all status files.
list() {
    open_state
    if [ "$1" = job ]; then
        if [ -e "queue/$2" ] && ! alive "$2"; then bury "$2"; fi
        [ -e "jobs/$2/status" ] || fail 65 'Job not found'
        begin
        printf 'now %s\n' "$(now)"
        if ended_unrecorded "$2"; then printf '%s\n' "$line"; else cat "jobs/$2/status"; fi
        echo end
        return
    fi
    active= unrecorded=
    for entry in queue/[0-9]*; do
        entry=${entry#queue/}
        case $entry in *[!0-9]*) continue ;; esac
        alive "$entry" || bury "$entry"
        active="$active jobs/$entry/status"
        if [ -e "jobs/$entry/unrecorded" ]; then unrecorded="$unrecorded $entry"; fi
    done
    begin
    printf 'now %s\n' "$(now)"
    if [ -n "$active" ]; then cat $active 2>/dev/null; fi
    find jobs -name status -type f -mtime "-$1" -exec cat {} + 2>/dev/null
    for entry in $unrecorded; do if ended_unrecorded "$entry"; then printf '%s\n' "$line"; fi; done
    echo end
}
list "$@"
