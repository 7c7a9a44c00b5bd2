#!/usr/bin/env bash
# Many jobs of many users on the Kubernetes node of the live environment, whose pods kwok plays on a node of its own, and what Goldcrest makes of
# them: how long the list of one user takes, how much memory it has, how long a submission takes beside `kubectl create`, and how soon a line of
# output is seen. scale.py describes the steps.
#
#   run.sh GOLDCREST_BINARY [JOBS [USERS]]     1000 jobs of 100 users by default
#
# It needs kubernetes and oidc of the live environment, and uses the port 18535, or $GOLDCREST_BENCH_PORT. kwok is installed below $GOLDCREST_TOOLS
# (default ~/.cache/goldcrest-tools) with go, once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
# shellcheck source=../../../build/environment/sections.sh
. "$here/../../../build/environment/sections.sh"

binary=$(realpath "$1")
jobs=${2:-1000}
users=${3:-100}
port=${GOLDCREST_BENCH_PORT:-18535}
kwok=${GOLDCREST_TOOLS:-$HOME/.cache/goldcrest-tools}/kwok-0.7.0
folder=$(mktemp -d)
trap finish EXIT

finish() {
    stop_process "$folder/goldcrest.pid" serve || true
    stop_process "$folder/kwok.pid" "$kwok" || true
    rm -rf "$folder"
}

[ -x "$kwok/kwok" ] || GOBIN=$kwok go install "sigs.k8s.io/kwok/cmd/kwok@v${kwok##*-}"
need_free_port "$port"
cat >"$folder/goldcrest.yaml" <<YAML
server:
  listen: 127.0.0.1:$port
$(token_section)
clusters:
  - name: kubernetes
    scheduler:
      type: kubernetes
      version: "$(coordinate kubernetes version)"
      read_freshness: 0
      kubernetes:
        kubeconfig_file: $(coordinate kubernetes kubeconfig)
        namespace: scale-{user}
        default_image: $(coordinate kubernetes image)
        profiles:
          - { name: played, memory: 32M, node_selector: { type: kwok }, tolerations: [{ key: kwok }] }
          - { name: real, memory: 32M }
    service_account:
      client_id: $(coordinate oidc checker)
      secret: secret_file:$state_root/oidc/$(coordinate oidc checker).secret
    probing: { interval: 3600 }
YAML
# Its node renews a lease: one that is silent for 40 s counts as lost, and the pods on it are taken away.
setsid "$kwok/kwok" --node-lease-duration-seconds=40 --kubeconfig="$(coordinate kubernetes adminKubeconfig)" --manage-all-nodes=false \
    --manage-nodes-with-label-selector=type=kwok </dev/null >"$folder/kwok.log" 2>&1 &
echo $! >"$folder/kwok.pid"
YAML_CONFIG_FILE=$folder/goldcrest.yaml GOLDCREST_LOG=warn setsid "$binary" serve </dev/null >"$folder/goldcrest.log" 2>&1 &
echo $! >"$folder/goldcrest.pid"
wait_for 30 curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$port/status/liveness/" || {
    tail -n 5 "$folder/goldcrest.log" >&2
    die "goldcrest does not answer"
}
export SCALE_SECRET_FILE=$state_root/oidc/fireuser.secret SCALE_TOKEN_URL
SCALE_TOKEN_URL=$(coordinate oidc tokenUrl)
python3 "$here/scale.py" --url "http://127.0.0.1:$port" --pid "$(cat "$folder/goldcrest.pid")" --kubernetes "$state_root/kubernetes/env.json" \
    --jobs "$jobs" --users "$users" || {
    tail -n 5 "$folder/kwok.log" "$folder/goldcrest.log" >&2
    exit 1
}
