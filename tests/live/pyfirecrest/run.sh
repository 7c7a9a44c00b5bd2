#!/usr/bin/env bash
# Runs pyfirecrest, a FirecREST v2 client that knows nothing of Goldcrest, against a running Goldcrest.
#
#   run.sh [PYTEST ARGUMENT...]
#
# Where and as whom, from the environment; by default the live environment's Goldcrest, as its user fireuser:
#   GOLDCREST_TEST_URL            address of the API
#   GOLDCREST_TEST_SYSTEM         system name (default slurm)
#   GOLDCREST_TEST_WORKDIR        a folder on that system that the user may write to (default /home/fireuser)
#   GOLDCREST_TEST_TOKEN_URL, GOLDCREST_TEST_CLIENT_ID, GOLDCREST_TEST_CLIENT_SECRET
#                                 client credentials, or
#   GOLDCREST_TEST_TOKEN          a token as it is
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../python.sh
. "$here/../python.sh"
run_python_client "$here" "$@"
