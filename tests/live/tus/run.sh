#!/usr/bin/env bash
# Uploads a file with tuspy, a tus client that knows nothing of Goldcrest.
#
#   run.sh ARGUMENT...    see upload.py; its messages are the output
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"

venv=$state_root/tus
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "installing tuspy"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
exec "$venv/bin/python" "$here/upload.py" "$@"
