#!/usr/bin/env bash
# Runs AiiDA with aiida-firecrest, a client that knows nothing of Goldcrest, against a running Goldcrest: a calculation from its
# upload to its parsed result, and every call of the transport and the scheduler.
#
#   run.sh [PYTEST ARGUMENT...]
#
# Where and as whom is said by the variables of ../pyfirecrest/run.sh; a token alone is not enough here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../python.sh
. "$here/../python.sh"
run_python_client "$here" "$@"
