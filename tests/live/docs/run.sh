#!/usr/bin/env bash
# Runs the code blocks of README.md and docs/: shell and Python against `goldcrest demo`, YAML through `goldcrest check-config`.
# blocks.py describes the words behind a block's language.
#
#   run.sh GOLDCREST_BINARY [PAGE...]
#
# Blocks with the word `live` need more than the demonstration has. They run where the live environment is up; with CI=true it has to be.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../python.sh
. "$here/../python.sh"
# shellcheck source=../start_demo.sh
. "$here/../start_demo.sh"

binary=$(realpath "$1")
shift
install_python_client "$here"
start_demo "$binary"

mkdir "$work/bin" "$demo_home/scratch"
ln -s "$binary" "$work/bin/goldcrest"
export PATH=$work/bin:$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
export DOCS_WORK=$work DOCS_HOME=$demo_home DOCS_GREETING=$demo_greeting
TMPDIR=$work/tmp "$binary" demo --print-config --home "$demo_home" >"$work/site.yaml" 2>/dev/null
timeout 300 "$venv/bin/python" "$here/blocks.py" "$@"
kill -0 "$demo" || die "goldcrest demo ended"
