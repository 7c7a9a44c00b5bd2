# shellcheck shell=bash
# What each shell session of the pages begins with: the first command that fails ends it, and its line is told.
unset BASH_ENV
set -eEu -o pipefail
trap 'echo "line $LINENO: status $?: $BASH_COMMAND" >&2' ERR

# curl as a reader would call it, but an answer of 400 and more is a failure. Following a file has no end: here it has one after three
# seconds, and begins again while the file is missing (22).
curl() {
    local fail=--fail-with-body argument
    for argument in "$@"; do
        if [[ $argument = --fail* || $argument =~ ^-[a-zA-Z]*f[a-zA-Z]*$ ]]; then fail=; fi
    done
    case $* in
        */ops/follow*)
            local followed=
            for _ in 1 2 3 4 5 6; do
                followed=$(command curl ${fail:+"$fail"} --max-time 3 "$@") || [ $? != 22 ] || sleep 1
                [[ $followed != *data:* ]] || break
            done
            printf '%s\n' "$followed"
            [[ $followed = *data:* ]] || return
            ;;
        *) command curl ${fail:+"$fail"} --max-time 60 "$@" || return ;;
    esac
}

# A member that is missing is a failure.
jq() { command jq -e "$@" || return; }

if [ -f "$DOCS_SETUP" ]; then
    # shellcheck source=/dev/null
    . "$DOCS_SETUP"
fi
