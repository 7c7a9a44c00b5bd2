#!/bin/sh
# The client of the PBS that tests/it/pbs/pbs.sh plays: its server is another process, as that of PBS is, so that what is killed here leaves a whole job or none.
# `submissions.py` kills it at random moments.
folder=$(mktemp -d "${TMPDIR:-/tmp}/qsub.XXXXXX") || exit 1
cat >"$folder/script"
(
    # Below no shell of the login any more.
    # shellcheck disable=SC2016  # it is that shell which reads it
    GOLDCREST_QSUB=$folder setsid sh -c '"$0" "$@" <"$GOLDCREST_QSUB/script" >"$GOLDCREST_QSUB/out" 2>"$GOLDCREST_QSUB/err"; echo $? >"$GOLDCREST_QSUB/.status" && mv "$GOLDCREST_QSUB/.status" "$GOLDCREST_QSUB/status"' \
        "$(dirname "$0")/pbs/qsub" "$@" </dev/null >/dev/null 2>&1 &
)
until [ -e "$folder/status" ]; do sleep 0.02; done
cat "$folder/err" >&2
cat "$folder/out"
status=$(cat "$folder/status")
rm -rf "$folder"
exit "$status"
