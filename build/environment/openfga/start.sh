#!/bin/sh
# Starts an OpenFGA server on loopback, in memory, and loads the model and the tuples beside this file.
# Does nothing when it runs already. OPENFGA_PORT (18081) and the port after it are used.
set -eu

version=v1.22.1
here=$(cd "$(dirname "$0")" && pwd)
state="${GOLDCREST_ENV:-/var/tmp/goldcrest-env}/openfga"
port="${OPENFGA_PORT:-18081}"
grpc_port=$((port + 1))
url="http://127.0.0.1:$port"
mkdir -p "$state/bin"

if [ ! -x "$state/bin/openfga" ]; then
    echo "openfga: installing $version"
    GOBIN="$state/bin" go install "github.com/openfga/openfga/cmd/openfga@$version"
fi

running() {
    [ -s "$state/pid" ] && kill -0 "$(cat "$state/pid")" 2>/dev/null
}

# The preshared key that clients must show. Made once, readable by the owner alone.
if [ ! -s "$state/token" ]; then
    (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$state/token")
fi

if ! running; then
    OPENFGA_AUTHN_METHOD=preshared OPENFGA_AUTHN_PRESHARED_KEYS="$(cat "$state/token")" \
        nohup "$state/bin/openfga" run \
        --http-addr "127.0.0.1:$port" --grpc-addr "127.0.0.1:$grpc_port" \
        --datastore-engine memory --playground-enabled=false --metrics-enabled=false --log-format json \
        >"$state/log" 2>&1 </dev/null &
    echo $! >"$state/pid"
fi

tries=0
until curl -fsS -o /dev/null "$url/healthz" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! running; then
        echo "openfga: did not start; see $state/log" >&2
        exit 1
    fi
    sleep 0.1
done

"$here/load.sh" "$url" "$state/token" >"$state/store_id"
echo "$url" >"$state/url"
echo "openfga: $url, store goldcrest ($(cat "$state/store_id"))"
