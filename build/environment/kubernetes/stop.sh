#!/usr/bin/env bash
# Stops the Kubernetes node that start.sh started, with its pods. Its images and the users' volumes stay; with --wipe they go.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=lib.sh
. "$here/lib.sh"

main() {
    local name
    for name in kubelet scheduler controllers; do stop_process "$run/$name.pid" "$state"; done
    # containerd takes down what a pod has: processes, mounts, cgroups, address and network; also if it had ended by itself.
    ! has_containers || (start_containerd) || true
    ! alive "$run/containerd.pid" "$state" || [ ! -x "$run/node" ] || "$run/node" stop-pods "unix://$socket" >>"$logs/stop.log" 2>&1 ||
        say "not every pod was stopped by containerd: see $logs/stop.log"
    for name in containerd registry apiserver etcd; do stop_process "$run/$name.pid" "$state"; done
    end_shims
    unmount
    ip link del "$bridge" 2>/dev/null || true
    # Those of containers that were never begun, and the parent of all; none can be removed while a process is in it.
    find /sys/fs/cgroup -depth -maxdepth 3 -path '*/k8s.io*' -type d -exec rmdir {} + 2>/dev/null || true
    find /var/log/containers -lname "$state/*" -delete 2>/dev/null || true
    [ "${1:-}" != --wipe ] || rm -rf "$state"
    say "Kubernetes stopped"
}

has_containers() { compgen -G "$run/containerd/io.containerd.runtime.v2.task/k8s.io/*" >/dev/null; }

# What is left where containerd ended by itself: its shims, known by its socket, and the containers below them.
end_shims() {
    local command pid
    for command in /proc/[0-9]*/cmdline; do
        if tr '\0' ' ' 2>/dev/null <"$command" | grep -q "containerd-shim.* -address $socket"; then
            pid=$(basename "$(dirname "$command")")
            # shellcheck disable=SC2046
            kill -KILL $(process_tree "$pid") 2>/dev/null || true
        fi
    done
}

unmount() {
    local mount
    awk -v state="$state/" 'index($2, state) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
        umount -l "$mount" 2>/dev/null || true
    done
}

main "$@"
