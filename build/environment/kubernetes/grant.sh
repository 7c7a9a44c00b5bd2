#!/usr/bin/env bash
# grant.sh URL TOKEN_FILE: gives the user goldcrest of the Kubernetes node the rights of role.yaml.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# apply RESOURCE NAME: what standard input describes becomes so, whether it was there or not (server-side apply).
apply() {
    curl -fsSk -o /dev/null --max-time 10 --config <(printf 'header = "Authorization: Bearer %s"\n' "$(cat "$token")") -X PATCH \
        -H 'Content-Type: application/apply-patch+yaml' --data-binary @- "$url/apis/rbac.authorization.k8s.io/v1/$1/$2?fieldManager=environment"
}

url=$1
token=$2
apply clusterroles goldcrest <"$here/role.yaml"
apply clusterrolebindings goldcrest <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: goldcrest}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: goldcrest}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: goldcrest}]
YAML
