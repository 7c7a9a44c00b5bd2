#!/usr/bin/env bash
# Checks docker-compose.yml and what it mounts, as far as that goes without an engine: the file's form, that every image from
# elsewhere has a fixed version, and that Goldcrest accepts its configuration.
#
#   check.sh GOLDCREST_BINARY
#
# It needs docker-compose, or docker with its compose plugin.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..

binary=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

main() {
    compose config >"$work/compose"
    local image
    # What is built here has no version of its own.
    sed -n 's/^ *image: //p' "$work/compose" | sort -u | while read -r image; do
        case $image in
            goldcrest | goldcrest-slurm | goldcrest-pbs) ;;
            *:*[0-9].*[0-9]) ;;
            *) refuse "$image has no fixed version" ;;
        esac
    done
    # The keys are made when the containers start.
    mkdir "$work/keys"
    for file in fireuser firesrv known_hosts; do echo 'not a secret' >"$work/keys/$file"; done
    sed "s|/run/secrets/goldcrest|$work/keys|" "$here/goldcrest/goldcrest.yaml" >"$work/goldcrest.yaml"
    "$binary" check-config --config "$work/goldcrest.yaml"
    python3 -m json.tool "$here/openfga/tuples.json" >/dev/null
    python3 -m json.tool "$here/s3/s3.json" >/dev/null
    python3 -m json.tool "$root/build/environment/keycloak/realm.json" >/dev/null
}

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --file "$root/docker-compose.yml" "$@"
    else
        docker-compose --file "$root/docker-compose.yml" "$@"
    fi
}

refuse() {
    echo "$*" >&2
    return 1
}

main
