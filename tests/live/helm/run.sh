#!/usr/bin/env bash
# Installs the chart on the Kubernetes node of the live environment, uses it through its Service, upgrades it under load, and removes it.
#
#   run.sh GOLDCREST_BINARY
#
# It needs kubernetes and oidc of the live environment. The image is made of the binary and the libraries of this machine that it needs. helm is
# what build/helm/check.sh has installed below $GOLDCREST_TOOLS (default ~/.cache/goldcrest-tools). The node has no kube-proxy: services.py stands in.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
# shellcheck source=../../../build/environment/sections.sh
. "$here/../../../build/environment/sections.sh"
# shellcheck source=../../../build/helm/lib.sh
. "$here/../../../build/helm/lib.sh"

binary=$(realpath "$1")
chart=$repository_root/helm/goldcrest
kubernetes=$state_root/kubernetes
namespace=goldcrest-helm
release=live
image=registry.test/goldcrest
tag=
# Addresses for this machine's own services, at the end of the range of the cluster's.
provider=10.96.255.1
passed=0
folder=$(mktemp -d)
trap finish EXIT

main() {
    install_helm
    ask GET "/api/v1/nodes" >/dev/null || die "the Kubernetes node is not up"
    clear_cluster
    make_image
    start_services
    install
    use
    upgrade
    uninstall
    echo "helm: $passed passed, 0 failed"
}

finish() {
    local status=$?
    trap - EXIT
    touch "$folder/stop"
    if [ "$status" -ne 0 ]; then
        tail -n 5 "$folder"/*.log >&2 || true
        ask GET "/api/v1/namespaces/$namespace/events" 2>/dev/null | grep -E '"(message|reason)":' | tail -n 12 >&2 || true
    fi
    clear_cluster || true
    [ -z "${services:-}" ] || { exec {services}>&- && wait "$services_pid" 2>/dev/null; } || true
    forget_image || true
    rm -rf "$folder"
    exit "$status"
}

good() {
    passed=$((passed + 1))
    echo "$*: good"
}

# ask METHOD PATH [DOCUMENT]: the API server, as its administrator.
ask() {
    printf 'header = "Authorization: Bearer %s"\n' "$(cat "$(coordinate kubernetes adminTokenFile)")" |
        curl -fsSk --max-time 10 --config - -X "$1" -H 'Content-Type: application/yaml' ${3+--data-binary "$3"} "$(coordinate kubernetes url)$2"
}

is_gone() { ! ask GET "$1" >/dev/null 2>&1; }
is_there() { ask GET "$1" >/dev/null 2>&1; }

# What an earlier run has left, or this one.
clear_cluster() {
    local space
    "$helm" uninstall "$release" --kubeconfig "$(coordinate kubernetes adminKubeconfig)" --namespace "$namespace" >/dev/null 2>&1 || true
    for space in "$namespace" helm-fireuser; do
        is_gone "/api/v1/namespaces/$space" || ask DELETE "/api/v1/namespaces/$space" >/dev/null || true
    done
    for space in "$namespace" helm-fireuser; do wait_for 60 is_gone "/api/v1/namespaces/$space"; done
}

make_image() {
    local root=$folder/image library
    mkdir -p "$root"/{bin,etc/ssl/certs,tmp,usr/local/bin}
    strip -o "$root/usr/local/bin/goldcrest" "$binary" 2>/dev/null || cp "$binary" "$root/usr/local/bin/goldcrest"
    for library in $(ldd "$binary" | grep -o '/[^ ]*'); do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
    # For `sleep`, by which a pod waits before its end.
    cp /bin/busybox "$root/bin/"
    ln -s busybox "$root/bin/sleep"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    printf 'goldcrest:x:65532:65532:::/bin/false\n' >"$root/etc/passwd"
    chmod 755 "$root"
    tag=$(sha256sum "$root/usr/local/bin/goldcrest" | cut -c1-12)
    "$environment_root/kubernetes/images.py" add "$kubernetes/registry" "goldcrest:$tag" "$root" --entrypoint goldcrest
    rm -rf "$root"
}

forget_image() {
    [ -n "$tag" ] || return 0
    "$environment_root/kubernetes/images.py" remove "$kubernetes/registry" "goldcrest:$tag"
    ctr -a "$kubernetes/run/containerd.sock" -n k8s.io images rm "$image:$tag" >/dev/null 2>&1
}

start_services() {
    local fifo=$folder/services port
    port=$(coordinate oidc issuer | sed 's,.*:\([0-9]*\).*,\1,')
    mkfifo "$fifo"
    python3 "$here/services.py" "$kubernetes/env.json" "$provider:$port=$port" <"$fifo" >"$folder/services.log" 2>&1 &
    services_pid=$!
    # It ends when this end of the pipe is closed, however this script ends.
    exec {services}>"$fifo"
    wait_for 10 curl -fsS -o /dev/null "$(in_cluster "$(coordinate oidc jwksUrl)")"
}

# in_cluster URL: the same at an address that pods reach.
in_cluster() {
    local rest=${1#*//}
    echo "http://$provider:${rest#*:}"
}

values() {
    cat <<YAML
image: { repository: $image, tag: "$tag" }
preStopSeconds: 2
service: { port: 8080 }
kubernetes: { enabled: true }
secretMounts:
  idp: { secretName: idp }
config:
$(token_section | sed "s,^,  ,; /_url:\|certs:/s,//[^:/]*,//$provider,")
  clusters:
    - name: here
      scheduler:
        type: kubernetes
        version: "$(coordinate kubernetes version)"
        kubernetes:
          namespace: "helm-{user}"
          default_image: $(coordinate kubernetes image)
          profiles: [{ name: small, memory: 64M }]
          namespace_manifests:
            - apiVersion: v1
              kind: ResourceQuota
              metadata: { name: jobs }
              spec: { hard: { pods: "10" } }
            - apiVersion: networking.k8s.io/v1
              kind: NetworkPolicy
              metadata: { name: closed }
              spec: { podSelector: {}, policyTypes: [Ingress] }
      service_account:
        client_id: $(coordinate oidc checker)
        secret: secret_file:/run/secrets/goldcrest/idp/secret
      probing: { interval_check: 5 }
YAML
}

# with_helm COMMAND OPTION...
with_helm() { "$helm" "$@" --kubeconfig "$(coordinate kubernetes adminKubeconfig)" --namespace "$namespace" >>"$folder/helm.log" 2>&1; }

install() {
    ask POST /api/v1/namespaces "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"$namespace\", \"labels\":
        {\"pod-security.kubernetes.io/enforce\": \"restricted\"}}}" >/dev/null
    ask POST "/api/v1/namespaces/$namespace/secrets" "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"idp\"}, \"data\":
        {\"secret\": \"$(base64 -w0 <"$state_root/oidc/$(coordinate oidc checker).secret")\"}}" >/dev/null
    # The cluster puts these into each namespace by itself, a moment later.
    wait_for 30 is_there "/api/v1/namespaces/$namespace/configmaps/kube-root-ca.crt"
    wait_for 30 is_there "/api/v1/namespaces/$namespace/serviceaccounts/default"
    objects >"$folder/before"
    values >"$folder/values.yaml"
    with_helm install "$release" "$chart" --values "$folder/values.yaml" --wait --timeout 60s
    good "helm install, under the strictest standard of Pod Security"
}

# What there is in the namespace and in the cluster that a chart could leave.
objects() {
    local list
    for list in "api/v1/namespaces/$namespace/"{configmaps,pods,secrets,serviceaccounts,services,events} \
        "apis/apps/v1/namespaces/$namespace/"{deployments,replicasets} "apis/policy/v1/namespaces/$namespace/poddisruptionbudgets" \
        "apis/networking.k8s.io/v1/namespaces/$namespace/"{ingresses,networkpolicies} "apis/rbac.authorization.k8s.io/v1/"{clusterroles,clusterrolebindings} \
        "apis/rbac.authorization.k8s.io/v1/namespaces/$namespace/"{roles,rolebindings} "apis/discovery.k8s.io/v1/namespaces/$namespace/endpointslices"; do
        [[ $list = */events ]] || ask GET "/$list" | python3 -c 'import json, sys
for each in json.load(sys.stdin)["items"]: print(sys.argv[1], each["metadata"]["name"])' "$list"
    done | sort
}

use() {
    local address
    address=$(ask GET "/api/v1/namespaces/$namespace/services/$release-goldcrest" | sed -n 's/^ *"clusterIP": "\(.*\)",$/\1/p')
    url=http://$address:8080
    wait_for 10 curl -fsS -o /dev/null --max-time 2 "$url/status/liveness/"
    CLIENT_TOKEN=$(printf 'grant_type=client_credentials&client_id=fireuser&client_secret=%s' "$(cat "$state_root/oidc/fireuser.secret")" |
        curl -fsS --data @- "$(coordinate oidc tokenUrl)" | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')
    export CLIENT_TOKEN
    python3 "$here/client.py" work "$url"
    good "a job through the Service"
}

upgrade() {
    local load
    python3 "$here/client.py" load "$url" "$folder/stop" >"$folder/load.log" 2>&1 &
    load=$!
    pods >"$folder/first-pods"
    with_helm upgrade "$release" "$chart" --values "$folder/values.yaml" --set log=debug --wait --timeout 90s
    wait_for 60 are_replaced
    touch "$folder/stop"
    wait "$load" || {
        cat "$folder/load.log" >&2
        return 1
    }
    good "helm upgrade under load: $(cat "$folder/load.log")"
}

pods() { ask GET "/api/v1/namespaces/$namespace/pods" | sed -n 's/^ *"name": "\('"$release"'-goldcrest-.*-.*\)",$/\1/p' | sort -u; }

are_replaced() { [ -z "$(comm -12 "$folder/first-pods" <(pods))" ]; }

uninstall() {
    with_helm uninstall "$release" --wait --timeout 60s
    is_left_as_it_was() { objects | cmp -s - "$folder/before"; }
    wait_for 40 is_left_as_it_was || {
        objects | diff "$folder/before" - >&2
        die "helm uninstall has left something"
    }
    ask GET /api/v1/namespaces/helm-fireuser >/dev/null
    good "helm uninstall leaves nothing but the users' namespaces"
}

main
