# Submits a job: parameters (a `set --` line), the status line's fixed part, environment, script, the script's length, runner,
# queue limit, and the five arguments of the record (`record.sh`; the first is empty where none is kept). The runner alone makes the job visible, so a submission that dies half-way leaves no job.
submit() {
    open_state
    parameters=$1 record=$2 environment=$3 script=$4 length=$5 runner=$6 queue_limit=$7
    submission=$8 digest=$9 after=${10} settle=${11} days=${12}
    # Before anything can be refused: an earlier submission is answered even if something has changed since.
    if [ -n "$submission" ]; then begin_record "$submission" "$digest" "$after" "$settle" "$days"; fi
    check_job "$parameters" "$environment" "$queue_limit"

    if [ -n "$submission" ]; then
        # This shell submits: the attempt lasts as long as it runs.
        claim
    fi
    id=0
    { read -r id <last; } 2>/dev/null
    case $id in
    '' | *[!0-9]* | 0)
        id=0
        for entry in jobs/[0-9]*; do
            entry=${entry#jobs/}
            case $entry in *[!0-9]*) continue ;; esac
            if [ "$entry" -gt "$id" ]; then id=$entry; fi
        done
        ;;
    esac
    id=$((id + 1))
    while ! mkdir "jobs/$id" 2>/dev/null; do
        [ -d "jobs/$id" ] || fail 67 'the state directory cannot be written'
        id=$((id + 1))
    done
    printf '%s\n' "$id" >"last.$$" && mv -f "last.$$" last

    { [ -z "$submission" ] || printf '%s\n' "$submission" >"jobs/$id/submission"; } &&
        printf '%s' "$script" >"jobs/$id/script" &&
        chmod 700 "jobs/$id/script" &&
        [ "$(($(wc -c <"jobs/$id/script")))" -eq "$length" ] &&
        printf '%s\n' "$parameters" >"jobs/$id/parameters" &&
        printf '%s\n' "$environment" >"jobs/$id/environment" &&
        printf '%s' "$runner" >"jobs/$id/runner" &&
        printf "%$((${#record} + 400))s\n" '' >"jobs/$id/spare" &&
        printf '%s\n' "job $id $record submitted=$(now) state=PENDING reason=Resources" >"jobs/$id/status.new" || {
        rm -rf "jobs/$id"
        fail 67 'the job could not be written to the state directory'
    }
    {
        for pattern in "$input" "$output" "$error"; do
            expand "$pattern" "$id" "$work"
            printf '%s\0' "$expanded"
        done
    } >"jobs/$id/paths"
    # The runner keeps the pipe open until it is in the queue: reading to its end is the hand-over, without polling.
    ready=$(umask "$umask_of_user" && new_session sh "jobs/$id/runner" run "$id" "$root" </dev/null 2>/dev/null &)
    [ "$ready" = ready ] || fail 67 'the job could not be started in the background'
    if [ -n "$submission" ]; then keep_id "$id"; fi
    begin
    printf 'id %s\n' "$id"
}
submit "$@"
