# Proves that a job could be submitted.
ping() {
    open_state
    command -v setsid >/dev/null 2>&1 || command -v perl >/dev/null 2>&1 || fail 67 'the host has neither setsid nor perl'
    [ -w jobs ] && [ -w queue ] || fail 67 'the state directory cannot be written'
    begin
}
ping "$@"
