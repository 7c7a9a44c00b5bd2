#!/usr/bin/env bash
# Runs schemathesis against `goldcrest demo`: requests made from our own OpenAPI document, right ones and wrong ones. Every answer
# has to be one that the document describes (status, media type, headers, schema), and none may be a failure of the server.
#
#   run.sh GOLDCREST_BINARY [SCHEMATHESIS ARGUMENT...]
#
# The demonstration runs in a folder that is removed afterwards. Requests are the same each time (the seed is in schemathesis.toml);
# GOLDCREST_TEST_SEED has others. GOLDCREST_TEST_LIMIT is the number of seconds that they may take, 300 by default.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../python.sh
. "$here/../python.sh"
# shellcheck source=../start_demo.sh
. "$here/../start_demo.sh"

binary=$1
shift
install_python_client "$here"
start_demo "$binary"

url=$(member url "$demo_greeting")
curl -fsS -o "$work/token" -u "$(member clientId "$demo_greeting"):$(member clientSecret "$demo_greeting")" \
    -d grant_type=client_credentials "$(member tokenUrl "$demo_greeting")"
token=$(member access_token "$work/token")
post_job() {
    curl -fsS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$url/compute/local/jobs" \
        -d "{\"job\": {\"name\": \"waits\", \"workingDirectory\": \"$demo_home\", \"script\": \"#!/bin/sh\nsleep 600\n\"}}" >"$1"
}
# One that requests may cancel, and one that they find running.
post_job "$work/job"
post_job "$work/job"

export GOLDCREST_TEST_WORKDIR=$demo_home PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here
cd "$work"
# It takes a minute or two. No limit of its own is used: with one, it would go on until the time is over.
timeout "${GOLDCREST_TEST_LIMIT:-300}" "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$here/../../../openapi/openapi.json" \
    --url "$url" -H "Authorization: Bearer $token" --no-color ${GOLDCREST_TEST_SEED:+--seed "$GOLDCREST_TEST_SEED"} "$@"
kill -0 "$demo" || die "goldcrest demo ended"
! grep -F '"level":"ERROR"' "$demo_log" || die "goldcrest demo logged an error"
