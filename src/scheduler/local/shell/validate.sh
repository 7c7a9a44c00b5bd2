# Checks a job as `submit` does, and submits nothing: arguments as of `check_job`.
validate() {
    open_state
    check_job "$@"
    begin
}
validate "$@"
