#!/usr/bin/env bash
# Runs the tests of a client against `goldcrest demo`.
#
#   demo.sh GOLDCREST_BINARY pyfirecrest|aiida [PYTEST ARGUMENT...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../build/environment/lib.sh
. "$here/../../build/environment/lib.sh"

binary=$1
client=$2
shift 2
work=$(mktemp -d)
"$binary" demo --port 0 --output json --home "$work" >"$work/greeting" 2>"$work/log" </dev/null &
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
issuer=$(member issuer "$work/greeting")
curl -fsS -o "$work/discovery" "$issuer/.well-known/openid-configuration"
GOLDCREST_TEST_URL=$(member url "$work/greeting")
GOLDCREST_TEST_TOKEN_URL=$(member token_endpoint "$work/discovery")
GOLDCREST_TEST_CLIENT_ID=$(member clientId "$work/greeting")
GOLDCREST_TEST_CLIENT_SECRET=$(member clientSecret "$work/greeting")
export GOLDCREST_TEST_URL GOLDCREST_TEST_TOKEN_URL GOLDCREST_TEST_CLIENT_ID GOLDCREST_TEST_CLIENT_SECRET
export GOLDCREST_TEST_SYSTEM=local GOLDCREST_TEST_WORKDIR=$work
unset GOLDCREST_TEST_TOKEN
"$here/$client/run.sh" "$@"
