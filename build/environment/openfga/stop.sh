#!/bin/sh
# Stops the OpenFGA server that start.sh started. What it held is gone: it keeps everything in memory.
set -eu

state="${GOLDCREST_ENV:-/var/tmp/goldcrest-env}/openfga"
[ -s "$state/pid" ] || exit 0
pid=$(cat "$state/pid")
if kill "$pid" 2>/dev/null; then
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
fi
rm -f "$state/pid" "$state/store_id" "$state/url"
