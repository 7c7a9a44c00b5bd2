#!/usr/bin/env bash
# Starts one real Kubernetes node on loopback: etcd, API server, controllers, scheduler and kubelet of one binary that is built from Go modules
# here, containerd, runc and CNI plugins of Debian, and an image registry. Coordinates: env.json in the state folder.
#
# The binary is kept below $GOLDCREST_TOOLS (default ~/.cache/goldcrest-tools) by its version; building it takes about seven minutes of CPU
# time. GOLDCREST_KUBERNETES_BUILD_ONLY=1 ends after that.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=lib.sh
. "$here/lib.sh"

main() {
    mkdir -p "$run" "$logs"
    chmod 700 "$run"
    build
    [ -z "${GOLDCREST_KUBERNETES_BUILD_ONLY:-}" ] || return 0
    apt_install containerd runc containernetworking-plugins busybox-static iproute2 openssl file zstd bzip2 xz-utils
    # For stop.sh, which may be called with another environment.
    ln -sfn "$binary" "$run/node"
    write_identities
    write_files
    control_plane
    registry
    start_containerd
    kubelet
    "$here/grant.sh" rights "https://127.0.0.1:$api_port" "$run/admin.token"
    volumes
    queues
    write_coordinates
    say "Kubernetes $version answers on https://127.0.0.1:$api_port"
}

build() {
    mkdir -p "$(dirname "$binary")"
    # Whoever comes while another builds waits for that.
    exec 8>"$binary.lock"
    flock 8
    [ -x "$binary" ] || compile
    exec 8>&-
}

compile() {
    say "building Kubernetes $version"
    local package=k8s.io/component-base/version
    (cd "$here/node" && CGO_ENABLED=0 go build -ldflags "-s -w -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*} \
        -X $package.gitMinor=$(cut -d. -f2 <<<"$version")" -o "$binary.new" .)
    mv "$binary.new" "$binary"
}

write_identities() {
    [ -s "$run/service-accounts.key" ] || openssl genrsa -out "$run/service-accounts.key" 2048 2>/dev/null
    openssl rsa -in "$run/service-accounts.key" -pubout -out "$run/service-accounts.pub" 2>/dev/null
    local user
    : >"$run/tokens.csv"
    for user in admin goldcrest; do
        [ -s "$run/$user.token" ] || (umask 077 && new_secret >"$run/$user.token")
    done
    {
        echo "$(cat "$run/admin.token"),admin,admin,system:masters"
        echo "$(cat "$run/goldcrest.token"),goldcrest,goldcrest,"
    } >"$run/tokens.csv"
    kubeconfig admin "insecure-skip-tls-verify: true" >"$run/admin.kubeconfig"
}

# kubeconfig USER TRUST
kubeconfig() {
    cat <<YAML
apiVersion: v1
kind: Config
clusters: [{name: goldcrest, cluster: {server: "https://127.0.0.1:$api_port", $2}}]
users: [{name: $1, user: {token: "$(cat "$run/$1.token")"}}]
contexts: [{name: goldcrest, context: {cluster: goldcrest, user: $1}}]
current-context: goldcrest
YAML
}

write_files() {
    cat >"$run/containerd.toml" <<TOML
version = 2
root = "$state/containerd"
state = "$run/containerd"
[grpc]
address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.test/pause:1"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "$run/registries"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$run/cni"
TOML
    mkdir -p "$run/cni" "$run/registries/registry.test"
    cat >"$run/cni/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "goldcrest", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$run/addresses", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
    # The one registry that images are pulled from; every other name fails, as on a cluster without a way out.
    cat >"$run/registries/registry.test/hosts.toml" <<TOML
server = "http://127.0.0.1:$registry_port"
[host."http://127.0.0.1:$registry_port"]
capabilities = ["pull", "resolve"]
TOML
    # Which rights Goldcrest has used (tests/live/helm/rights.sh).
    cat >"$run/audit.yaml" <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - { level: Metadata, users: [goldcrest] }
  - { level: None }
YAML
    cat >"$run/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: $kubelet_port
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
healthzPort: $kubelet_health_port
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
containerRuntimeEndpoint: unix://$socket
resolvConf: /etc/resolv.conf
podLogsDir: $state/pod-logs
volumePluginDir: $state/kubelet/volume-plugins
makeIPTablesUtilChains: false
# A machine that is nearly full still runs tests.
evictionHard: {}
imageGCHighThresholdPercent: 100
registerNode: true
YAML
}

control_plane() {
    # Their own limit of 20 requests a second would let four jobs a second come to their ends.
    local fast=(--kube-api-qps=300 --kube-api-burst=600)
    alive "$run/apiserver.pid" "$state" || need_free_port "$api_port"
    # Each start is a new cluster, so that its audit log has all that was ever asked of it.
    alive "$run/etcd.pid" "$state" || rm -rf "$state"/{etcd,kubelet/pods,pod-logs} "$logs/audit.log"
    daemon etcd "$binary" etcd --data-dir "$state/etcd" --listen-client-urls "http://127.0.0.1:$etcd_port" --log-level warn --unsafe-no-fsync \
        --advertise-client-urls "http://127.0.0.1:$etcd_port" --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" \
        --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" --initial-cluster "default=http://127.0.0.1:$etcd_peer_port"
    daemon apiserver "$binary" kube-apiserver --etcd-servers="http://127.0.0.1:$etcd_port" --bind-address=127.0.0.1 \
        --advertise-address=127.0.0.1 --secure-port="$api_port" --cert-dir="$run/certificates" --token-auth-file="$run/tokens.csv" \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$run/service-accounts.pub" \
        --service-account-signing-key-file="$run/service-accounts.key" --authorization-mode=RBAC --allow-privileged=true \
        --service-cluster-ip-range=10.96.0.0/16 --endpoint-reconciler-type=none --kubelet-preferred-address-types=Hostname \
        --audit-policy-file="$run/audit.yaml" --audit-log-path="$logs/audit.log" \
        --feature-gates=MutatingAdmissionPolicy=true --runtime-config=admissionregistration.k8s.io/v1beta1=true
    await apiserver is_ready
    kubeconfig goldcrest "certificate-authority: $run/certificates/apiserver.crt" >"$run/goldcrest.kubeconfig"
    sed "s/127.0.0.1:$api_port/127.0.0.1:$closed_port/" "$run/goldcrest.kubeconfig" >"$run/away.kubeconfig"
    daemon controllers "$binary" kube-controller-manager --kubeconfig="$run/admin.kubeconfig" --use-service-account-credentials \
        --service-account-private-key-file="$run/service-accounts.key" --root-ca-file="$run/certificates/apiserver.crt" \
        --bind-address=127.0.0.1 --secure-port="$controllers_port" --leader-elect=false "${fast[@]}"
    daemon scheduler "$binary" kube-scheduler --kubeconfig="$run/admin.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 \
        --secure-port="$scheduler_port" "${fast[@]}"
}

registry() {
    [ -e "$state/registry/tags/busybox/1" ] || make_images
    [ -e "$state/registry/tags/files/2" ] || make_files_image
    daemon registry python3 "$here/images.py" serve "$state/registry" "$registry_port"
    await registry curl -fsS "http://127.0.0.1:$registry_port/v2/"
}

# Two images of one folder with busybox: what keeps a pod's namespaces, and what jobs run in.
make_images() {
    local root applet
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,etc,root,home}
    mkdir -m 1777 "$root/tmp"
    cp /bin/busybox "$root/bin/"
    for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
    # The interpreter of most scripts of jobs.
    printf '#!/bin/sh\nexec /bin/sh "$@"\n' >"$root/bin/bash"
    chmod 755 "$root/bin/bash"
    printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n' >"$root/etc/passwd"
    chmod 755 "$root"
    "$here/images.py" add "$state/registry" pause:1 "$root" /bin/sleep infinity
    "$here/images.py" add "$state/registry" busybox:1 "$root" /bin/sh
    rm -rf "$root"
}

# An image for helper pods: the programs of this machine that files are worked on with, and their libraries.
make_files_image() {
    local root program library
    root=$(mktemp -d)
    mkdir -p "$root"/usr/{bin,lib,lib64} "$root"/{etc,proc,home}
    mkdir -m 1777 "$root/tmp"
    ln -s usr/bin usr/lib usr/lib64 "$root/"
    for program in $(dpkg -L coreutils findutils tar gzip bzip2 xz-utils zstd file grep sed dash | sed -n 's,^\(/usr\)\?/bin/,,p'); do
        [ ! -f "/bin/$program" ] || cp "/bin/$program" "$root/usr/bin/"
    done
    for library in $(find "$root/usr/bin" -type f -exec ldd {} + 2>/dev/null | grep -o '/lib[^ ]*' | sort -u); do
        mkdir -p "$root$(dirname "$library")"
        cp "$library" "$root$library"
    done
    # What `file` knows.
    mkdir -p "$root/usr/share/misc" "$root/usr/lib/file"
    cp /usr/lib/file/magic.mgc "$root/usr/lib/file/"
    ln -s ../../lib/file/magic.mgc "$root/usr/share/misc/magic.mgc"
    ln -sf dash "$root/usr/bin/sh"
    printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
    chmod 755 "$root"
    "$here/images.py" add "$state/registry" files:2 "$root" /bin/sh
    rm -rf "$root"
}

# A volume for the files of each of a few users, in a folder here.
volumes() {
    local number
    for number in 1 2 3 4; do
        mkdir -p "$state/volumes/$number"
        chmod 1777 "$state/volumes/$number"
        "$here/grant.sh" volume "https://127.0.0.1:$api_port" "$run/admin.token" "files-$number" "$state/volumes/$number"
    done
}

# What a queue of Kueue is. Kueue itself does not run.
queues() {
    local file sources
    file=$(dirname "$binary")/kueue-$kueue_version-localqueues.yaml
    [ -s "$file" ] || {
        sources=$(cd "$state" && go mod download -json "sigs.k8s.io/kueue@v$kueue_version" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
        cp "$sources/config/components/crd/bases/kueue.x-k8s.io_localqueues.yaml" "$file"
    }
    "$here/grant.sh" definition "https://127.0.0.1:$api_port" "$run/admin.token" localqueues.kueue.x-k8s.io "$file"
}

kubelet() {
    daemon kubelet "$binary" kubelet --config="$run/kubelet.yaml" --kubeconfig="$run/admin.kubeconfig" --hostname-override=localhost \
        --root-dir="$state/kubelet" --cert-dir="$state/kubelet/pki"
    await kubelet node_ready
}

# The token goes in by standard input, so that no process list shows it.
ask() {
    printf 'header = "Authorization: Bearer %s"\n' "$(cat "$run/admin.token")" |
        curl -fsSk --max-time 5 --config - "https://127.0.0.1:$api_port$1"
}

is_ready() { ask /readyz; }

# What the API server knows of the node may be of an earlier kubelet.
node_ready() {
    curl -fsS --max-time 5 "http://127.0.0.1:$kubelet_health_port/healthz" && ask /api/v1/nodes/localhost | grep -q '"reason": *"KubeletReady"'
}

write_coordinates() {
    cat >"$state/env.json" <<JSON
{
  "url": "https://127.0.0.1:$api_port",
  "port": $api_port,
  "version": "$version",
  "kubeconfig": "$run/goldcrest.kubeconfig",
  "adminKubeconfig": "$run/admin.kubeconfig",
  "adminTokenFile": "$run/admin.token",
  "goldcrestTokenFile": "$run/goldcrest.token",
  "auditLog": "$logs/audit.log",
  "image": "registry.test/busybox:1",
  "apiServerPidFile": "$run/apiserver.pid",
  "log": "$logs/apiserver.log"
}
JSON
}

main "$@"
