#!/usr/bin/env bash
# Runs the tests of a client against `goldcrest demo`.
#
#   demo.sh GOLDCREST_BINARY pyfirecrest|aiida [PYTEST ARGUMENT...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../build/environment/lib.sh
. "$here/../../build/environment/lib.sh"
# shellcheck source=start_demo.sh
. "$here/start_demo.sh"

binary=$1
client=$2
shift 2
start_demo "$binary"

issuer=$(member issuer "$demo_greeting")
curl -fsS -o "$work/discovery" "$issuer/.well-known/openid-configuration"
GOLDCREST_TEST_URL=$(member url "$demo_greeting")
GOLDCREST_TEST_TOKEN_URL=$(member token_endpoint "$work/discovery")
GOLDCREST_TEST_CLIENT_ID=$(member clientId "$demo_greeting")
GOLDCREST_TEST_CLIENT_SECRET=$(member clientSecret "$demo_greeting")
export GOLDCREST_TEST_URL GOLDCREST_TEST_TOKEN_URL GOLDCREST_TEST_CLIENT_ID GOLDCREST_TEST_CLIENT_SECRET
export GOLDCREST_TEST_SYSTEM=local GOLDCREST_TEST_WORKDIR=$demo_home
unset GOLDCREST_TEST_TOKEN
"$here/$client/run.sh" "$@"
