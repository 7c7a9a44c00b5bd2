#!/usr/bin/env bash
# Prints a Goldcrest configuration for the environment that is up.
#
#   render.sh [--port PORT] [--authorization-url URL] [--command-timeout SECONDS]
#
# Without --authorization-url the OpenFGA store of this environment is used where it is up, and every caller may use every
# cluster where it is not.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

port=${GOLDCREST_PORT:-18300}
authorization_url=
command_timeout=5

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            --port) port=$2 ;;
            --authorization-url) authorization_url=$2 ;;
            --command-timeout) command_timeout=$2 ;;
            *) die "render.sh does not know $1" ;;
        esac
        shift 2
    done
    [ -s "$state_root/openssh/env.sh" ] || die "start openssh first"
    [ -s "$state_root/oidc/env.json" ] || die "start oidc first"
    # shellcheck source=/dev/null
    . "$state_root/openssh/env.sh"
    if [ -z "$authorization_url" ] && [ -s "$state_root/openfga/url" ]; then
        authorization_url=$(cat "$state_root/openfga/url")
    fi
    render
}

render() {
    local ssh=$state_root/openssh token_url jwks_url issuer audience
    token_url=$(coordinate tokenUrl)
    jwks_url=$(coordinate jwksUrl)
    issuer=$(coordinate issuer)
    audience=$(coordinate audience)
    cat <<EOF
server:
  listen: 127.0.0.1:$port
  request_timeout: 60
  drain_timeout: 20
auth:
  authentication:
    token_url: $token_url
    public_certs: [$jwks_url]
    issuer: $issuer
    audience: [$audience]
    username_claim: preferred_username
EOF
    if [ -n "$authorization_url" ]; then
        cat <<EOF
  authorization:
    url: $authorization_url
    timeout: 2
EOF
        [ ! -s "$state_root/openfga/token" ] || echo "    api_token: secret_file:$state_root/openfga/token"
    fi
    cat <<EOF
ssh_credentials:
  type: SSHStaticKeys
  keys:
    fireuser:
      private_key: secret_file:$ssh/keys/fireuser
    firesrv:
      private_key: secret_file:$ssh/keys/firesrv
    otheruser:
      private_key: secret_file:$ssh/keys/otheruser
      passphrase: secret_file:$ssh/keys/otheruser.passphrase
    certuser:
      private_key: secret_file:$ssh/keys/certuser
      public_cert: "$(cat "$ssh/keys/certuser-cert.pub")"
clusters:
EOF
    # Their names stand in start.sh too, which lets people use them.
    cluster slurm "$GOLDCREST_SSHD_STOCK_PORT" known_hosts 22.05 probed
    cluster slurm-tight "$GOLDCREST_SSHD_TIGHT_PORT" known_hosts 22.05
    cluster slurm-nosftp "$GOLDCREST_SSHD_NOSFTP_PORT" known_hosts 22.05
    [ ! -d "$state_root/slurm/24.11/bin" ] || cluster slurm24 "$GOLDCREST_SSHD_SLURM24_PORT" known_hosts 24.11 probed
    # What must fail, and how: another host key than the file says, a closed port, a port that never says a word.
    cluster stranger "$GOLDCREST_SSHD_STOCK_PORT" known_hosts.stranger 22.05
    cluster closed "$GOLDCREST_CLOSED_PORT" known_hosts 22.05
    cluster silent "$GOLDCREST_SILENT_PORT" known_hosts 22.05
}

coordinate() { sed -n "s/^  \"$1\": \"\(.*\)\",\$/\1/p" "$state_root/oidc/env.json"; }

# cluster NAME PORT KNOWN_HOSTS SLURM_VERSION [probed]
cluster() {
    cat <<EOF
  - name: $1
    ssh:
      host: 127.0.0.1
      port: $2
      host_keys:
        known_hosts: $state_root/openssh/$3
      timeout:
        connection: 3
        login: 5
        command_execution: $command_timeout
        idle_timeout: 60
        keep_alive: 1
    scheduler:
      type: slurm
      version: "$4"
      timeout: 10
    service_account:
      client_id: firesrv
      secret: secret_file:$state_root/oidc/firesrv.secret
    probing:
      interval: 10
EOF
    [ -z "${5:-}" ] || cat <<EOF
      services:
        scheduler: { timeout: 10 }
        ssh: { timeout: 5 }
        filesystem: { timeout: 5 }
EOF
    cat <<EOF
    file_systems:
      - path: /home
        data_type: users
        default_work_dir: true
EOF
}

main "$@"
