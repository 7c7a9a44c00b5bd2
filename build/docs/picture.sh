#!/usr/bin/env bash
# Takes the picture of the demonstration's page, docs/pictures/demo.png, with a headless Chromium (Debian's package `chromium`).
#
#   picture.sh GOLDCREST_BINARY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../build/environment/lib.sh
. "$here/../../build/environment/lib.sh"
# shellcheck source=../../tests/live/start_demo.sh
. "$here/../../tests/live/start_demo.sh"

start_demo "$1"
# In virtual time, so that everything is loaded and drawn before the picture is taken.
timeout 60 chromium --headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run --hide-scrollbars \
    --user-data-dir="$work/browser" --window-size=1200,800 --virtual-time-budget=8000 \
    --screenshot="$here/../../docs/pictures/demo.png" "$(member docs "$demo_greeting")" 2>"$work/browser.log" || {
    cat "$work/browser.log" >&2
    die 'no picture'
}
