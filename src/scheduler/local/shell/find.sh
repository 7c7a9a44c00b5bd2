# Prints the ids of the jobs that were submitted under the name $1. A job is there once its runner has made it visible.
find_submission() {
    open_state
    begin
    # By find, since there may be more jobs than fit into the arguments of a program; grep says 1 for "none", and that becomes find's.
    found=$(find jobs -name submission -exec sh -c 'grep -l -x -F -e "$0" "$@"; [ $? -lt 2 ]' "$1" {} + 2>/dev/null) ||
        fail 67 'the records of the jobs cannot be read'
    for file in $found; do
        file=${file%/submission}
        if [ -e "$file/status" ]; then printf 'id %s\n' "${file#jobs/}"; fi
    done
    echo end
}
find_submission "$@"
