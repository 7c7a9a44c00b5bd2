#!/usr/bin/env bash
# Compares the rights that the chart gives to Goldcrest in Kubernetes with those that the scenarios of the live suite have used, as the audit log of
# the API server has them. Run it after the suite. helm and a YAML reader are installed below
# $GOLDCREST_TOOLS (default ~/.cache/goldcrest-tools), once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
# shellcheck source=../../../build/environment/sections.sh
. "$here/../../../build/environment/sections.sh"
# shellcheck source=../../../build/helm/lib.sh
. "$here/../../../build/helm/lib.sh"

chart=$repository_root/helm/goldcrest
install_helm
install_schemas
# All that the chart can give.
for values in "$chart"/ci/kubernetes*-values.yaml; do
    "$helm" template site "$chart" --namespace hpc --kube-version "$(coordinate kubernetes version)" --values "$values" --show-only templates/rbac.yaml
done | "$validate_python" "$here/rights.py" "$environment_root/kubernetes/role.yaml" "$(coordinate kubernetes auditLog)"
