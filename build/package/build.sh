#!/usr/bin/env bash
# Makes the Debian package and prints its path.
#
#   build.sh [--profile release|dev] [CARGO-DEB]
#
# CARGO-DEB is the program of that name (`cargo install cargo-deb --version 3.8.0`); by default the one on PATH. A package made with `dev`
# is for checking the package, not for use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

profile=release
if [ "${1:-}" = --profile ]; then
    profile=$2
    shift 2
fi
cargo_deb=${1:-cargo-deb}
target=${CARGO_TARGET_DIR:-target}
case $profile in
    release) folder=$target/release fast=() ;;
    dev) folder=$target/debug fast=(--fast --no-strip) ;;
    *)
        echo "unknown profile $profile: release or dev" >&2
        exit 2
        ;;
esac

cargo build --locked --profile "$profile" >&2
# Manual pages and completions are the same whatever the profile.
cargo run --quiet --locked --example cli-files -- "$folder/package"
"$cargo_deb" --no-build --locked --profile "$profile" "${fast[@]}" --output "$folder/package/"
