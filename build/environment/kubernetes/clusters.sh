#!/usr/bin/env bash
# clusters.sh CLIENT SECRET_FILE: prints the members of `clusters` for the Kubernetes node, whose health that client checks.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=lib.sh
. "$here/lib.sh"

# cluster NAME KUBECONFIG NAMESPACE IMPERSONATE [IMAGE]: with an image for helper pods, users have files.
cluster() {
    cat <<YAML
  - name: $1
    scheduler:
      type: kubernetes
      version: "$version"
      timeout: 10
      kubernetes:
        kubeconfig_file: $run/$2.kubeconfig
        namespace: "$3"
        impersonate: $4
        default_image: registry.test/busybox:1
        images: ["registry.test/*"]
        profiles:
          - name: small
            cpus: 1
            max_cpus: 8
            memory: 64M
            max_memory: 8G
            time_limit: 600
            max_time_limit: 3600
          - name: nowhere
            node_selector: { goldcrest.test/none: "true" }
          - name: refused
            priority_class: none-of-that-name
        namespace_manifests:
          - apiVersion: v1
            kind: ResourceQuota
            metadata: { name: jobs }
            spec: { hard: { requests.cpu: "4", requests.memory: 4Gi, pods: "20" } }
          - apiVersion: v1
            kind: LimitRange
            metadata: { name: jobs }
            spec: { limits: [{ type: Container, min: { memory: 16Mi } }] }
          - apiVersion: networking.k8s.io/v1
            kind: NetworkPolicy
            metadata: { name: closed }
            spec: { podSelector: {}, policyTypes: [Ingress] }
YAML
    [ -z "${5:-}" ] || cat <<YAML
        files: { image: "registry.test/$5", mount_path: /home, size: 1Gi, storage_class: folder, idle_timeout: 30 }
    file_systems:
      - { path: /home, data_type: users, default_work_dir: true }
YAML
    cat <<YAML
    service_account:
      client_id: $checker
      secret: secret_file:$secret_file
    probing:
      interval_check: 5
      services:
        scheduler: { timeout: 10 }
YAML
}

checker=$1
secret_file=$2
cluster kubernetes goldcrest "goldcrest-{user}" false
cluster kubernetes-users goldcrest "own-{user}" true
cluster kubernetes-files goldcrest "files-{user}" false files:2
cluster kubernetes-no-image goldcrest "no-image-{user}" false none:1
cluster kubernetes-away away "goldcrest-{user}" false files:2
