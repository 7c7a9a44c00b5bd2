# shellcheck shell=bash
# What the scripts of the Kubernetes node share. Source it after ../lib.sh.
# shellcheck disable=SC2034,SC2154  # for the scripts that read this file; state_root is of ../lib.sh

version=1.34.3
kueue_version=0.17.0
state=$state_root/kubernetes
# The sources are part of its name, so that a change of them is built.
kubernetes_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=${GOLDCREST_TOOLS:-$HOME/.cache/goldcrest-tools}/kubernetes/node-$version-$(cat "$kubernetes_folder"/node/* | sha256sum | cut -c1-8)
run=$state/run
logs=$state/logs
# What containerd and the kubelet mount and listen on; a path of theirs must stay short (unix(7): 108 bytes).
socket=$run/containerd.sock

api_port=${GOLDCREST_KUBERNETES_PORT:-18580}
etcd_port=$((api_port + 1))
etcd_peer_port=$((api_port + 2))
registry_port=$((api_port + 3))
controllers_port=$((api_port + 4))
scheduler_port=$((api_port + 5))
kubelet_port=$((api_port + 6))
kubelet_health_port=$((api_port + 7))
# Nobody listens on it.
closed_port=$((api_port + 8))
bridge=goldcrest0
pods=10.213.0.0/24

# daemon NAME COMMAND...: starts it, unless it runs.
daemon() {
    local name=$1
    shift
    ! alive "$run/$name.pid" "$state" || return 0
    # Neither this script's standard streams nor a lock that its caller holds belong to a daemon.
    setsid "$@" </dev/null >>"$logs/$name.log" 2>&1 9>&- &
    echo $! >"$run/$name.pid"
}

await() {
    local name=$1
    shift
    wait_for 90 "$@" || {
        tail -5 "$logs/$name.log" >&2
        die "$name does not answer: see $logs/$name.log"
    }
}

start_containerd() {
    daemon containerd containerd --config "$run/containerd.toml"
    await containerd ctr -a "$socket" version
}
