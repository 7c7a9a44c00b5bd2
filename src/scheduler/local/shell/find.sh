# Prints the ids of the jobs that were submitted under the name $1. A job is there once its runner has made it visible.
find_submission() {
    open_state
    begin
    for file in $(grep -l -s -x -F -e "$1" jobs/*/submission 2>/dev/null); do
        file=${file%/submission}
        if [ -e "$file/status" ]; then printf 'id %s\n' "${file#jobs/}"; fi
    done
    echo end
}
find_submission "$@"
