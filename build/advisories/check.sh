#!/usr/bin/env bash
# Checks Cargo.lock against the RustSec advisory database, with the exceptions of deny.toml.
#
#   check.sh CARGO_DENY [CLONE]
#
# CLONE is a clone of the database. Without one, what rustsec.tsv beside this file kept of it is used: no package registry carries
# the database, so a machine that reaches nothing else checks against that. Only versions are in it; the text of an advisory is at
# https://rustsec.org/advisories/ID. `update.py CLONE` renews it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

deny=$1
clone=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What cargo-deny calls the database whose address it has by default.
database=$work/advisory-db-3157b0e258782691

main() {
    if [ -n "$clone" ]; then
        git clone --quiet --no-local --depth 1 "file://$(cd "$clone" && pwd)" "$database"
    else
        from_table "$here/rustsec.tsv"
    fi
    # A database counts as old by when it was fetched.
    touch "$database/.git/FETCH_HEAD"
    sed "s|^\[advisories\]\$|&\ndb-path = \"$work\"|" "$here/../../deny.toml" >"$work/deny.toml"
    (cd "$here/../.." && "$deny" --frozen --config "$work/deny.toml" check --hide-inclusion-graph advisories)
}

# from_table FILE: a database of the advisories in the table.
from_table() {
    local date age
    date=$(sed -n '1s/.* on \([0-9-]*\):.*/\1/p' "$1")
    age=$((($(date +%s) - $(date -d "$date" +%s)) / 86400))
    echo "advisories as of $date, $age days ago"
    [ "$age" -le 90 ] || echo "warning: build/advisories/update.py would renew them"
    mkdir -p "$database/crates"
    awk -F '\t' -v root="$database/crates" '
        /^#/ { next }
        {
            folder = root "/" $2
            if (!(folder in made)) { system("mkdir -p " folder); made[folder] = 1 }
            file = folder "/" $1 ".md"
            print "```toml\n[advisory]\nid = \"" $1 "\"\npackage = \"" $2 "\"\ndate = \"" $3 "\"" >file
            if ($4 != "vulnerability") print "informational = \"" $4 "\"" >file
            print "\n[versions]\nunaffected = [" $5 "]\npatched = [" $6 "]\n```\n\n# " $1 "\n\nSee https://rustsec.org/advisories/" $1 >file
            close(file)
        }' "$1"
    git -C "$database" init --quiet
    git -C "$database" add --all
    git -C "$database" -c user.name=goldcrest -c user.email=goldcrest@localhost commit --quiet --message "$date"
}

main
