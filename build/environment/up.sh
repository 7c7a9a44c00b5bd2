#!/usr/bin/env bash
# Starts the components of the live environment in order, each once.
#
#   up.sh [COMPONENT...]     of: openssh slurm openfga oidc keycloak s3 postgres jupyterhub goldcrest; all of them by default
#
# Everything listens on loopback and keeps its state in $GOLDCREST_ENV (default /var/tmp/goldcrest-env).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

order=(openssh slurm openfga oidc keycloak s3 postgres jupyterhub goldcrest)
[ $# -gt 0 ] || set -- "${order[@]}"
for wanted in "$@"; do
    case " ${order[*]} " in *" $wanted "*) ;; *) die "unknown component $wanted: one of ${order[*]}" ;; esac
done

for component in "${order[@]}"; do
    case " $* " in *" $component "*) ;; *) continue ;; esac
    begun=$SECONDS
    say "up: $component"
    "$here/$component/start.sh" || die "$component did not start"
    say "up: $component ($((SECONDS - begun)) s)"
done
