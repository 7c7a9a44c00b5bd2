#!/usr/bin/env bash
# What the Kubernetes node has before Goldcrest comes.
#
#   grant.sh rights URL TOKEN_FILE                gives the user goldcrest the rights of role.yaml
#   grant.sh volume URL TOKEN_FILE NAME FOLDER    a volume in this folder, which one user may claim
#   grant.sh definition URL TOKEN_FILE NAME FILE  a kind of objects (CustomResourceDefinition)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# apply PATH: what standard input describes becomes so, whether it was there or not (server-side apply).
apply() {
    curl -fsSk -o /dev/null --max-time 10 --config <(printf 'header = "Authorization: Bearer %s"\n' "$(cat "$token")") -X PATCH \
        -H 'Content-Type: application/apply-patch+yaml' --data-binary @- "$url/$1?fieldManager=environment"
}

rights() {
    apply apis/rbac.authorization.k8s.io/v1/clusterroles/goldcrest <"$here/role.yaml"
    apply apis/rbac.authorization.k8s.io/v1/clusterrolebindings/goldcrest <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: goldcrest}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: goldcrest}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: goldcrest}]
YAML
}

volume() {
    apply "api/v1/persistentvolumes/$1" <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: $1}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  storageClassName: folder
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: $2}
YAML
}

definition() { apply "apis/apiextensions.k8s.io/v1/customresourcedefinitions/$1" <"$2"; }

what=$1
url=$2
token=$3
shift 3
"$what" "$@"
