#!/usr/bin/env bash
# Runs the clients of kbatch, two releases unmodified from PyPI, against a Goldcrest of its own over the real Kubernetes node, with tokens of the
# real JupyterHub. kbatch.py describes the steps. hostile.py sends what no client sends.
#
#   run.sh GOLDCREST_BINARY [RELEASE...]     0.4.2 and 0.5.0b1 by default
#
# It needs kubernetes, jupyterhub and oidc of the live environment, and uses the port 18538, or $GOLDCREST_BENCH_PORT. Each release has a virtual
# environment of its own in the state folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
# shellcheck source=../../../build/environment/sections.sh
. "$here/../../../build/environment/sections.sh"

binary=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- 0.4.2 0.5.0b1
port=${GOLDCREST_BENCH_PORT:-18538}
folder=$(mktemp -d)
trap finish EXIT

finish() {
    stop_process "$folder/goldcrest.pid" serve || true
    rm -rf "$folder"
}

# Prints a new token of a user.
hub_token() {
    curl -fsS --max-time 10 -X POST -H "Authorization: token $(cat "$(coordinate jupyterhub testsTokenFile)")" \
        -H 'Content-Type: application/json' -d '{"note": "kbatch"}' "$(coordinate jupyterhub apiUrl)/users/$1/tokens" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])'
}

write_configuration() {
    cat >"$folder/template.yaml" <<YAML
apiVersion: batch/v1
kind: Job
spec:
  activeDeadlineSeconds: 300
YAML
    cat >"$folder/goldcrest.yaml" <<YAML
server:
  listen: 127.0.0.1:$port
$(token_section | sed "s|^  authentication:\$|&\n    validators: [{type: jupyterhub, api_url: \"$(coordinate jupyterhub apiUrl)\", scopes: [\"$(coordinate jupyterhub serviceScope)\"]}]|")
compat:
  kbatch:
    prefix: /services/kbatch
    system: kubernetes
    pass_token: true
    max_code_size: 100000
    extra_env: { SITE: here }
    profiles:
      larger:
        partition: large
        image: $(coordinate kubernetes image)
        resources: { limits: { cpu: "1", memory: 48Mi }, requests: { cpu: 500m } }
clusters:
  - name: kubernetes
    scheduler:
      type: kubernetes
      version: "$(coordinate kubernetes version)"
      timeout: 10
      kubernetes:
        kubeconfig_file: $(coordinate kubernetes kubeconfig)
        namespace: kbatch-{user}
        code_image: $(coordinate kubernetes image)
        images: ["registry.test/*"]
        profiles:
          - { name: small, memory: 32M, time_limit: 600 }
          - { name: large, memory: 64M, max_memory: 128M, time_limit: 600 }
        namespace_manifests:
          - apiVersion: v1
            kind: ResourceQuota
            metadata: { name: jobs }
            spec: { hard: { requests.memory: 1Gi, pods: "20", secrets: "20" } }
$(account_members)
YAML
}

need_free_port "$port"
write_configuration
# One setting under kbatch-proxy's own name.
KBATCH_JOB_TEMPLATE_FILE=$folder/template.yaml YAML_CONFIG_FILE=$folder/goldcrest.yaml GOLDCREST_LOG=info setsid "$binary" serve \
    </dev/null >"$folder/goldcrest.log" 2>&1 &
echo $! >"$folder/goldcrest.pid"
wait_for 30 curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$port/status/liveness/" || {
    tail -n 5 "$folder/goldcrest.log" >&2
    die "goldcrest does not answer"
}
export PYTHONDONTWRITEBYTECODE=1 KBATCH_TEST_TOKEN KBATCH_TEST_OTHER_TOKEN
KBATCH_TEST_TOKEN=$(hub_token fireuser)
KBATCH_TEST_OTHER_TOKEN=$(hub_token otheruser)
facts=(--url "http://127.0.0.1:$port/services/kbatch" --image "$(coordinate kubernetes image)" --kubernetes "$state_root/kubernetes/env.json")
python3 "$here/hostile.py" "${facts[@]}" || {
    tail -n 20 "$folder/goldcrest.log" >&2
    exit 1
}
for release in "$@"; do
    python_environment "$here/$release" "$state_root/kbatch-$release"
    python3 "$here/kbatch.py" --release "$release" --program "$state_root/kbatch-$release/bin/kbatch" "${facts[@]}" || {
        tail -n 20 "$folder/goldcrest.log" >&2
        exit 1
    }
done
for token in "$KBATCH_TEST_TOKEN" "$KBATCH_TEST_OTHER_TOKEN"; do
    ! grep -qF "$token" "$folder/goldcrest.log" || die "the log holds a token"
done
