#!/usr/bin/env bash
# Starts Keycloak on loopback with the realm beside this file. Coordinates: env.json in the state folder.
#
# Every start begins with an empty database and imports the realm anew, so that what a test changed is gone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

# The last line of releases that still runs on the Java 17 of Debian 12. docker-compose.yml names the same one.
version=26.4.5
realm=kcrealm
state=$state_root/keycloak
app=$state/keycloak-$version
port=${GOLDCREST_KEYCLOAK_PORT:-18400}
management_port=$((port + 1))
url=http://127.0.0.1:$port/auth

main() {
    mkdir -p "$state"
    chmod 700 "$state"
    write_coordinates
    if alive "$state/server.pid" "$app/bin/kc.sh"; then
        say "Keycloak runs on port $port"
        return
    fi
    need_free_port "$port"
    need_free_port "$management_port"
    need_java
    install_server
    rm -rf "$app/data"
    mkdir -p "$app/data/import"
    cp "$here/realm.json" "$app/data/import/$realm.json"
    # Neither this script's standard streams nor a lock that its caller holds belong to a daemon.
    KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=$(cat "$state/admin.secret") \
        JAVA_OPTS_KC_HEAP='-Xms64m -Xmx448m' JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1 \
        setsid bash "$app/bin/kc.sh" start --optimized --import-realm --cache=local \
        --http-enabled=true --http-host=127.0.0.1 --http-port="$port" --http-management-port="$management_port" \
        --hostname="$url" </dev/null >"$state/server.log" 2>&1 9>&- &
    echo $! >"$state/server.pid"
    # Beside a build on a machine of two cores the first start was seen to take more than three minutes.
    if ! wait_for 900 ready_or_gone || ! ready >/dev/null 2>&1; then
        tail -20 "$state/server.log" >&2
        die "Keycloak does not answer on port $port: see $state/server.log"
    fi
    say "Keycloak runs on port $port"
}

ready() { curl -fsS --max-time 2 "$url/realms/$realm/.well-known/openid-configuration"; }

# A server that ended is not waited for.
ready_or_gone() { ready || ! alive "$state/server.pid" "$app/bin/kc.sh"; }

need_java() {
    local release
    release=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
    [ "${release:-0}" -ge 17 ] || apt_install openjdk-17-jre-headless
}

# Unpacked once, and built once: the build fixes the options that would otherwise cost half a minute at each start.
install_server() {
    [ -s "$state/admin.secret" ] || (umask 077 && new_secret >"$state/admin.secret")
    [ ! -e "$app/built" ] || return 0
    command -v unzip >/dev/null || apt_install unzip
    command -v mvn >/dev/null || apt_install maven
    say "installing Keycloak $version"
    rm -rf "$app"
    mvn -B -q dependency:copy -Dartifact="org.keycloak:keycloak-quarkus-dist:$version:zip" \
        -DoutputDirectory="$state/download" -Dmdep.overWriteReleases=false >"$state/install.log" 2>&1 ||
        die "Keycloak could not be had: see $state/install.log"
    unzip -q -d "$state" "$state/download/keycloak-quarkus-dist-$version.zip"
    rm -rf "$state/download"
    bash "$app/bin/kc.sh" build --db=dev-file --health-enabled=true --http-relative-path=/auth >>"$state/install.log" 2>&1 ||
        die "Keycloak could not be built: see $state/install.log"
    touch "$app/built"
}

# The secrets stand in the realm file: they are for demonstrations and protect nothing.
write_coordinates() {
    local client
    for client in firecrest-test-client firecrest-health-check; do
        (umask 077 && jq -j --arg id "$client" '.clients[] | select(.clientId == $id).secret' "$here/realm.json" >"$state/$client.secret")
    done
    cat >"$state/env.json" <<JSON
{
  "issuer": "$url/realms/$realm",
  "tokenUrl": "$url/realms/$realm/protocol/openid-connect/token",
  "jwksUrl": "$url/realms/$realm/protocol/openid-connect/certs",
  "audience": "goldcrest",
  "usernameClaim": "username",
  "checker": "firecrest-health-check",
  "authorizeUrl": "$url/realms/$realm/protocol/openid-connect/auth",
  "url": "$url",
  "realm": "$realm",
  "adminSecretFile": "$state/admin.secret",
  "realmFile": "$here/realm.json",
  "pidFile": "$state/server.pid",
  "clients": {
    "firecrest-test-client": { "secretFile": "$state/firecrest-test-client.secret" },
    "firecrest-health-check": { "secretFile": "$state/firecrest-health-check.secret" }
  }
}
JSON
}

main "$@"
