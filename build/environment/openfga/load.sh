#!/bin/sh
# Creates the store "goldcrest" with the model and the tuples beside this file, or others, unless there is one, and prints
# its id.
#
# Usage: load.sh URL TOKEN_FILE [TUPLES_FILE]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
url=$1
token_file=$2
tuples=${3:-$here/tuples.json}

# The token goes to curl on its standard input, so that no process list shows it.
call() {
    printf 'header = "Authorization: Bearer %s"\n' "$(cat "$token_file")" |
        curl -fsS --config - -H 'Content-Type: application/json' "$@"
}

id=$(call "$url/stores?name=goldcrest" | jq -r '[.stores[] | select(.name == "goldcrest")][0].id // empty')
if [ -z "$id" ]; then
    id=$(call "$url/stores" -d '{"name": "goldcrest"}' | jq -r .id)
    call "$url/stores/$id/authorization-models" -d "@$here/model.json" >/dev/null
    jq '{writes: {tuple_keys: .}}' "$tuples" >"${TMPDIR:-/tmp}/openfga-tuples.$$"
    call "$url/stores/$id/write" -d "@${TMPDIR:-/tmp}/openfga-tuples.$$" >/dev/null
    rm -f "${TMPDIR:-/tmp}/openfga-tuples.$$"
fi
echo "$id"
