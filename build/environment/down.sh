#!/usr/bin/env bash
# Stops the components of the live environment in reverse order; only what up.sh started. Data and installed packages stay.
#
#   down.sh [COMPONENT...]     all of them by default
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

order=(goldcrest jupyterhub postgres s3 keycloak oidc openfga slurm openssh)
[ $# -gt 0 ] || set -- "${order[@]}"
failed=0
for component in "${order[@]}"; do
    case " $* " in *" $component "*) ;; *) continue ;; esac
    [ -x "$here/$component/stop.sh" ] || continue
    "$here/$component/stop.sh" || {
        say "$component did not stop cleanly"
        failed=1
    }
done
exit $failed
