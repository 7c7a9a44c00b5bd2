#!/usr/bin/env bash
# Lints openapi/openapi.json with three tools, makes a client from it in three languages, and lets each of them call `goldcrest demo`.
#
#   run.sh GOLDCREST_BINARY
#
# The tools are installed below $GOLDCREST_TOOLS (default ~/.cache/goldcrest-tools) with pip, npm and go, once for each set of versions.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
# shellcheck source=../start_demo.sh
. "$here/../start_demo.sh"

binary=$1
document=$repository_root/openapi/openapi.json
tools=${GOLDCREST_TOOLS:-$HOME/.cache/goldcrest-tools}/openapi
oapi_codegen=v2.8.2
passed=0

main() {
    install_tools
    start_demo "$binary"
    local url
    url=$(member url "$demo_greeting")
    curl -fsS -o "$work/token" -u "$(member clientId "$demo_greeting"):$(member clientSecret "$demo_greeting")" \
        -d grant_type=client_credentials "$(member tokenUrl "$demo_greeting")"
    GOLDCREST_TEST_TOKEN=$(member access_token "$work/token")
    export GOLDCREST_TEST_URL=$url GOLDCREST_TEST_TOKEN GOLDCREST_TEST_WORKDIR=$demo_home
    # What the site serves differs from the file in the addresses and examples.
    curl -fsS -o "$work/served.json" "$url/openapi.json"

    local each
    for each in "$document" "$work/served.json"; do
        check "openapi-spec-validator: $(basename "$each")" "$tools/venv/bin/openapi-spec-validator" "$each"
        check "redocly: $(basename "$each")" "$tools/node/node_modules/.bin/redocly" lint --config "$here/redocly.yaml" "$each"
        check "spectral: $(basename "$each")" "$tools/node/node_modules/.bin/spectral" lint --display-only-failures --ruleset "$here/spectral.yaml" "$each"
    done
    check 'Swagger UI sends the example of a submission as it stands' example_of_a_submission
    check 'oapi-codegen' go_client
    check 'openapi-python-client' python_client
    check 'openapi-typescript' typescript_client
    echo "generated clients: $passed passed, 0 failed"
}

# check NAME COMMAND...
check() {
    local name=$1
    shift
    echo "--- $name"
    "$@"
    passed=$((passed + 1))
}

install_tools() {
    python_environment "$here/python" "$tools/venv"
    if ! cmp -s "$here/typescript/package.json" "$tools/node/installed.json"; then
        say 'installing redocly, spectral and openapi-typescript'
        rm -rf "$tools/node"
        mkdir -p "$tools/node"
        cp "$here/typescript/package.json" "$tools/node/"
        npm install --prefix "$tools/node" --no-audit --no-fund --no-package-lock --ignore-scripts --silent
        cp "$here/typescript/package.json" "$tools/node/installed.json"
    fi
    [ -x "$tools/oapi-codegen-$oapi_codegen" ] || {
        GOBIN=$tools/new go install "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@$oapi_codegen"
        mv "$tools/new/oapi-codegen" "$tools/oapi-codegen-$oapi_codegen"
    }
}

# The body that the page shows is sent unchanged, to the system that it names.
example_of_a_submission() {
    jq -c '.components.schemas.PostJobSubmitRequest.example' "$work/served.json" >"$work/example.json"
    local system
    system=$(jq -r '.paths["/compute/{system_name}/jobs"].post.parameters[] | select(.name == "system_name").example' "$work/served.json")
    curl -fsS -H "Authorization: Bearer $GOLDCREST_TEST_TOKEN" -H 'Content-Type: application/json' --data "@$work/example.json" \
        "$GOLDCREST_TEST_URL/compute/$system/jobs"
    echo
    wait_for 20 test -s "$demo_home/example.out"
}

go_client() {
    cp -r "$here/go" "$work/go"
    mkdir "$work/go/client"
    "$tools/oapi-codegen-$oapi_codegen" -generate types,client -package client -o "$work/go/client/client.go" "$document"
    (cd "$work/go" && go vet ./... && go run .)
}

python_client() {
    # Formatting what is thrown away takes tools that are not needed.
    "$tools/venv/bin/openapi-python-client" generate --path "$document" --output-path "$work/python" \
        --config "$here/python/generator.yaml" --fail-on-warning
    PYTHONPATH=$work/python "$tools/venv/bin/python" "$here/python/main.py"
}

typescript_client() {
    mkdir "$work/typescript"
    cp "$here/typescript/main.ts" "$here/typescript/tsconfig.json" "$work/typescript/"
    ln -s "$tools/node/node_modules" "$work/typescript/node_modules"
    printf '{"type": "module"}\n' >"$work/typescript/package.json"
    # Otherwise what has a default must be given, in requests too.
    "$tools/node/node_modules/.bin/openapi-typescript" "$document" --default-non-nullable false --output "$work/typescript/schema.d.ts"
    (cd "$work/typescript" && node_modules/.bin/tsc && node out/main.js)
}

main
