# shellcheck shell=bash
# sshd for the cluster images, by the scripts of build/environment with the keys that keys.sh has made. Source it.

export GOLDCREST_ENV=${GOLDCREST_ENV:-/var/lib/goldcrest-env}
# Other containers are to reach it.
export GOLDCREST_ENV_LISTEN=0.0.0.0
export GOLDCREST_SSHD_INSTANCES=stock
# shellcheck disable=SC2034  # for the scripts that read this file
environment=$(cd "$(dirname "${BASH_SOURCE[0]}")/../environment" && pwd)
keys=${GOLDCREST_CLUSTER_KEYS:-/run/goldcrest-keys}

start_login() {
    local user state=$GOLDCREST_ENV/openssh
    [ -s "$keys/host" ] || {
        echo "there are no keys in $keys: run keys.sh first" >&2
        exit 1
    }
    mkdir -p "$state/host"
    install -m 600 "$keys/host" "$state/host/ed25519"
    install -m 644 "$keys/host.pub" "$state/host/ed25519.pub"
    "$environment/openssh/start.sh"
    for user in fireuser firesrv; do install -m 644 "$keys/$user.pub" "$state/authorized_keys/$user"; done
}
