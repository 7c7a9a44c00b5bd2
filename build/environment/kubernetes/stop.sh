#!/usr/bin/env bash
# Stops the Kubernetes node that start.sh started, with its pods. Its data stays; with --wipe it goes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=lib.sh
. "$here/lib.sh"

main() {
    local name task
    for name in kubelet scheduler controllers; do stop_process "$run/$name.pid" "$state"; done
    if alive "$run/containerd.pid" "$state"; then
        for task in $(containers tasks ls -q 2>/dev/null); do containers tasks kill -s KILL "$task" >/dev/null 2>&1 || true; done
        wait_for 10 no_tasks || true
        for task in $(containers tasks ls -q 2>/dev/null); do containers tasks rm -f "$task" >/dev/null 2>&1 || true; done
    fi
    for name in containerd registry apiserver etcd; do stop_process "$run/$name.pid" "$state"; done
    end_shims
    unmount
    ip link del "$bridge" 2>/dev/null || true
    [ "${1:-}" != --wipe ] || rm -rf "$state/etcd" "$state/kubelet" "$state/containerd" "$state/registry" "$run" "$logs"
    say "Kubernetes stopped"
}

no_tasks() { ! containers tasks ls 2>/dev/null | grep -q RUNNING; }

# The shims of our containerd outlive it; they are known by its socket.
end_shims() {
    local command
    for command in /proc/[0-9]*/cmdline; do
        if tr '\0' ' ' <"$command" 2>/dev/null | grep -q "containerd-shim.* -address $socket"; then
            kill -KILL "$(basename "$(dirname "$command")")" 2>/dev/null || true
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
