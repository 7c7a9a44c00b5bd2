# shellcheck shell=bash
# What the scripts that run helm share.
# shellcheck disable=SC2034  # for the scripts that read this file

helm_version=v3.19.5
helm=${GOLDCREST_TOOLS:-$HOME/.cache/goldcrest-tools}/helm-$helm_version/helm

# The schemas' tool, which brings a YAML reader with it.
schemas_version=1.37.0
validate=${GOLDCREST_TOOLS:-$HOME/.cache/goldcrest-tools}/kubernetes-validate-$schemas_version/bin/kubernetes-validate
validate_python=$(dirname "$validate")/python

# Installed by go, once.
install_helm() {
    [ ! -x "$helm" ] || return 0
    # Into a folder of its own first: an interrupted installation leaves no half of a program.
    GOBIN=$helm.new go install "helm.sh/helm/v3/cmd/helm@$helm_version"
    mkdir -p "$(dirname "$helm")"
    mv "$helm.new/helm" "$helm"
    rmdir "$helm.new"
}

# Installed by pip, once.
install_schemas() {
    [ ! -x "$validate" ] || return 0
    local folder
    folder=$(dirname "$(dirname "$validate")")
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet "kubernetes-validate==$schemas_version"
}
