#!/usr/bin/env bash
# Runs schemathesis against `goldcrest demo`: requests made from our own OpenAPI document, right ones and wrong ones. Every answer
# has to be one that the document describes (status, media type, headers, schema), and none may be a failure of the server.
#
#   run.sh GOLDCREST_BINARY [SCHEMATHESIS ARGUMENT...]
#
# The demonstration runs in a folder that is removed afterwards. Requests are the same each time (the seed is in schemathesis.toml);
# GOLDCREST_TEST_SEED has others.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"

binary=$1
shift
venv=$state_root/schemathesis
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "installing schemathesis"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

work=$(mktemp -d)
# Both file systems of the demonstration are in the folder: its home directory, and the one for temporary files.
mkdir -p "$work/home" "$work/tmp"
TMPDIR=$work/tmp "$binary" demo --port 0 --output json --home "$work/home" >"$work/greeting" 2>"$work/log" </dev/null &
demo=$!
finish() {
    if kill "$demo" 2>/dev/null; then wait "$demo" || true; fi
    rm -rf "$work"
}
trap finish EXIT
wait_for 30 grep -q '"url"' "$work/greeting" || {
    cat "$work/log" >&2
    die "goldcrest demo did not start"
}

member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2"; }
url=$(member url "$work/greeting")
curl -fsS -o "$work/token" -u "$(member clientId "$work/greeting"):$(member clientSecret "$work/greeting")" \
    -d grant_type=client_credentials "$(member tokenUrl "$work/greeting")"
token=$(member access_token "$work/token")
post_job() {
    curl -fsS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$url/compute/local/jobs" \
        -d "{\"job\": {\"name\": \"waits\", \"workingDirectory\": \"$work/home\", \"script\": \"#!/bin/sh\nsleep 600\n\"}}" >"$1"
}
# One that requests may cancel, and one that they find running.
post_job "$work/job"
post_job "$work/job"

export GOLDCREST_TEST_WORKDIR=$work/home PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here
cd "$work"
# It takes a minute or two. No limit of its own is used: with one, it would go on until the time is over.
timeout 300 "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$here/../../../openapi/openapi.json" \
    --url "$url" -H "Authorization: Bearer $token" --no-color ${GOLDCREST_TEST_SEED:+--seed "$GOLDCREST_TEST_SEED"} "$@"
kill -0 "$demo" || die "goldcrest demo ended"
! grep -F '"level":"ERROR"' "$work/log" || die "goldcrest demo logged an error"
