#!/usr/bin/env bash
# Checks the chart in helm/goldcrest: lints it, renders it for each file in helm/goldcrest/ci, validates what comes out against
# the schemas of Kubernetes, and lets Goldcrest read the configuration that the pods would get.
#
#   check.sh GOLDCREST_BINARY
#
# It speaks to no cluster. helm and the schemas are installed below $GOLDCREST_TOOLS (default ~/.cache/goldcrest-tools) by go
# and pip, once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
chart=$here/../../helm/goldcrest

# The oldest release that the chart is for, and the newest that the schemas know.
kubernetes_versions=(1.25.0 1.37.0)

binary=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0

main() {
    install_helm
    install_schemas
    local values kubernetes
    for values in "$chart"/ci/*-values.yaml; do
        "$helm" lint --quiet --strict "$chart" --values "$values"
        for kubernetes in "${kubernetes_versions[@]}"; do
            render "$kubernetes" --values "$values" >"$work/rendered.yaml"
            "$validate" --quiet --strict --kubernetes-version "$kubernetes" "$work/rendered.yaml"
        done
        configuration "$work/rendered.yaml" "$work/$(basename "$values" .yaml)"
        passed=$((passed + 1))
        echo "$(basename "$values"): good"
    done
    refused 'a value that the chart does not know' --set replica=3
    refused 'an address that the chart is to set' --set config.server.listen=127.0.0.1:8000
    refused 'metrics on an address that the chart is to set' --set config.metrics.listen=127.0.0.1:9090
    refused 'metrics on the port of the API' --set metrics.enabled=true --set metrics.port=8000
    refused 'a secret that nobody mounts' --set secretMounts.idp=null
    refused 'an ingress without a host' --set ingress.enabled=true
    echo "chart: $passed passed, 0 failed"
}

# render KUBERNETES_VERSION OPTION...
render() {
    local kubernetes=$1
    shift
    "$helm" template site "$chart" --namespace hpc --kube-version "$kubernetes" "$@"
}

# configuration RENDERED FOLDER: what the pods would find below /etc/goldcrest and /run/secrets, with the paths moved into the
# folder, is a configuration that Goldcrest accepts.
configuration() {
    mkdir -p "$2"
    "$validate_python" - "$1" "$2" <<'PROGRAM'
import pathlib, re, sys
import yaml

rendered, folder = sys.argv[1], pathlib.Path(sys.argv[2])
documents = [each for each in yaml.safe_load_all(open(rendered)) if each]
data = next(each for each in documents if each["kind"] == "ConfigMap")["data"]
pod = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]["spec"]
mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
text = data.pop("goldcrest.yaml")
for path in re.findall(r"/(?:run/secrets|etc/goldcrest)/[^\s\"']+", text):
    assert any(path.startswith(mount + "/") for mount in mounts), f"{path} is mounted nowhere"
    file = folder / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("not a secret")
for name, content in data.items():
    (folder / "etc/goldcrest" / name).write_text(content)
(folder / "goldcrest.yaml").write_text(re.sub(r"/(run/secrets|etc/goldcrest)/", rf"{folder}/\1/", text))
PROGRAM
    "$binary" check-config --config "$2/goldcrest.yaml" >"$2/said" 2>&1 || {
        cat "$2/said" >&2
        return 1
    }
}

# refused WHAT OPTION...: the smallest values file with these options is not rendered.
refused() {
    local what=$1
    shift
    if render "${kubernetes_versions[1]}" --values "$chart/ci/minimal-values.yaml" "$@" >/dev/null 2>&1; then
        echo "$what was not refused" >&2
        return 1
    fi
    passed=$((passed + 1))
}

main
