# Prints the paths of job $1, each ended by NUL, and then its script.
metadata() {
    open_state
    [ -e "jobs/$1/status" ] || fail 65 'Job not found'
    begin
    cat "jobs/$1/paths" "jobs/$1/script"
}
metadata "$@"
