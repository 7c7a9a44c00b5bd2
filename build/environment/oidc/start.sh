#!/usr/bin/env bash
# Starts the OpenID provider of the live tests on loopback. Coordinates: env.json in the state folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

state=$state_root/oidc
port=${GOLDCREST_OIDC_PORT:-18200}

main() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then apt_install nodejs npm; fi
    mkdir -p "$state"
    chmod 700 "$state"
    install_server
    write_clients
    write_coordinates
    if alive "$state/server.pid" "$state/app/server.js"; then
        say "the OpenID provider runs on port $port"
        return
    fi
    need_free_port "$port"
    # Neither this script's standard streams nor a lock that its caller holds belong to a daemon.
    NODE_ENV=production setsid node "$state/app/server.js" "$state" "$port" </dev/null >"$state/server.log" 2>&1 9>&- &
    echo $! >"$state/server.pid"
    wait_for 30 port_open "$port" || die "the OpenID provider does not listen on port $port: see $state/server.log"
    say "the OpenID provider runs on port $port"
}

# The packages live with the state, so that the source tree stays clean.
install_server() {
    mkdir -p "$state/app"
    cp "$here/server.js" "$state/app/server.js"
    cmp -s "$here/package.json" "$state/app/package.json" && [ -d "$state/app/node_modules/oidc-provider" ] && return
    cp "$here/package.json" "$state/app/package.json"
    say "installing oidc-provider"
    (cd "$state/app" && npm install --omit=dev --no-audit --no-fund --no-package-lock --loglevel=error >npm.log 2>&1) || die "npm install failed: see $state/app/npm.log"
}

# Each client stands for one login name. `email` tells a person's token from a service account's.
write_clients() {
    [ -s "$state/clients.json" ] && return
    (
        umask 077
        {
            echo '['
            client fireuser client_secret_post '"email": "fireuser@example.org",' ,
            client otheruser client_secret_post '"email": "otheruser@example.org",' ,
            client certuser client_secret_post '"email": "certuser@example.org",' ,
            client firesrv client_secret_basic '' ''
            echo ']'
        } >"$state/clients.json"
    )
}

# client NAME AUTH_METHOD EMAIL_MEMBER SEPARATOR
client() {
    local secret
    secret=$(new_secret)
    printf '%s' "$secret" >"$state/$1.secret"
    cat <<EOF
  {
    "client_id": "$1",
    "client_secret": "$secret",
    "token_endpoint_auth_method": "$2",
    "claims": { $3 "preferred_username": "$1", "groups": ["goldcrest-$1"] }
  }$4
EOF
}

write_coordinates() {
    cat >"$state/env.json" <<EOF
{
  "issuer": "http://127.0.0.1:$port",
  "tokenUrl": "http://127.0.0.1:$port/token",
  "jwksUrl": "http://127.0.0.1:$port/jwks",
  "audience": "goldcrest",
  "usernameClaim": "preferred_username",
  "checker": "firesrv",
  "authorizeUrl": "http://127.0.0.1:$port/auth",
  "pidFile": "$state/server.pid",
  "clients": {
    "fireuser": { "secretFile": "$state/fireuser.secret" },
    "otheruser": { "secretFile": "$state/otheruser.secret" },
    "certuser": { "secretFile": "$state/certuser.secret" },
    "firesrv": { "secretFile": "$state/firesrv.secret", "authMethod": "client_secret_basic" }
  }
}
EOF
}

main "$@"
