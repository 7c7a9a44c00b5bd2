#!/usr/bin/env bash
# Uploads a file with tuspy, a tus client that knows nothing of Goldcrest.
#
#   run.sh ARGUMENT...    see upload.py; its messages are the output
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../python.sh
. "$here/../python.sh"
install_python_client "$here"
exec "$venv/bin/python" "$here/upload.py" "$@"
