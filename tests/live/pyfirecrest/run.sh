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
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"

venv=$state_root/pyfirecrest
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "installing pyfirecrest"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
# Bytecode and caches stay out of the source tree.
export PYTHONDONTWRITEBYTECODE=1
cd "$here"
exec "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
