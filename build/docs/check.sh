#!/usr/bin/env bash
# Builds the book of docs/, and checks what its pages refer to, and the diagrams.
#
#   check.sh MDBOOK
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 "$here/draw.py" --check
"$1" build "$here/../../docs" --dest-dir "$work/book" 2>&1 | tee "$work/log"
# mdbook only warns where it finds something odd.
if grep -qE '(WARN|ERROR)' "$work/log"; then exit 1; fi
python3 "$here/links.py" "$work/book"
