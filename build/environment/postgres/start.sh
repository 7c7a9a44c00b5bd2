#!/usr/bin/env bash
# Starts PostgreSQL of Debian 12 with a database `goldcrest`, on loopback. Coordinates: env.json in the state folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

state=$state_root/postgres
port=${GOLDCREST_POSTGRES_PORT:-18540}
programs=/usr/lib/postgresql/15/bin

main() {
    [ -x $programs/postgres ] || apt_install postgresql-15
    mkdir -p "$state"
    # The server refuses to run as root, and its account has to reach its folder.
    chown postgres: "$state"
    chmod a+x "$state_root" "$state"
    write_secret
    [ -s "$state/data/PG_VERSION" ] || initialise
    write_certificate
    write_coordinates
    if alive "$state/server.pid" "$state/data"; then
        say "PostgreSQL runs on port $port"
        return
    fi
    need_free_port "$port"
    (cd / && exec setsid runuser -u postgres -- $programs/postgres -D "$state/data" -p "$port" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c max_connections=100 -c shared_buffers=32MB \
        -c ssl=on -c ssl_cert_file="$state/server.crt" -c ssl_key_file="$state/server.key" </dev/null >"$state/server.log" 2>&1 9>&-) &
    echo $! >"$state/server.pid"
    wait_for 30 ready || die "PostgreSQL does not answer on port $port: see $state/server.log"
    as_owner -d postgres -tAc "SELECT 1 FROM pg_database WHERE datname = 'goldcrest'" | grep -q 1 ||
        as_owner -d postgres -qc 'CREATE DATABASE goldcrest'
    say "PostgreSQL answers on 127.0.0.1:$port"
}

as_owner() { PGPASSWORD=$(cat "$state/secret") $programs/psql -h 127.0.0.1 -p "$port" -U goldcrest "$@"; }

ready() { as_owner -d postgres -c 'SELECT 1'; }

write_secret() {
    [ -s "$state/secret" ] || (umask 077 && new_secret >"$state/secret")
}

initialise() {
    rm -rf "$state/data"
    install -m 600 -o postgres "$state/secret" "$state/secret.initial"
    runuser -u postgres -- $programs/initdb -D "$state/data" -U goldcrest --pwfile="$state/secret.initial" --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 >"$state/initdb.log" 2>&1 || die "the database could not be made: see $state/initdb.log"
    rm -f "$state/secret.initial"
}

# An authority, and a certificate of the server that it signed.
write_certificate() {
    [ ! -s "$state/server.crt" ] || return 0
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj '/CN=Goldcrest test authority' \
        -keyout "$state/ca.key" -out "$state/ca.crt" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout "$state/server.key" \
        -out "$state/server.csr" 2>/dev/null
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$state/server.ext"
    openssl x509 -req -in "$state/server.csr" -CA "$state/ca.crt" -CAkey "$state/ca.key" -CAcreateserial -days 3650 \
        -extfile "$state/server.ext" -out "$state/server.crt" 2>/dev/null
    chmod 600 "$state"/*.key
    chown postgres: "$state/server.key"
}

write_coordinates() {
    cat >"$state/env.json" <<JSON
{
  "host": "127.0.0.1",
  "port": $port,
  "user": "goldcrest",
  "database": "goldcrest",
  "secretFile": "$state/secret",
  "authorityFile": "$state/ca.crt",
  "pidFile": "$state/server.pid",
  "log": "$state/server.log"
}
JSON
}

main "$@"
