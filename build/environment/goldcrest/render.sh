#!/usr/bin/env bash
# Prints a Goldcrest configuration for the environment that is up.
#
#   render.sh [--port PORT] [--identity oidc|keycloak] [--keys-url URL] [--keys-refresh SECONDS]
#             [--authorization-url URL] [--authorization-store NAME] [--authorization-by-effect true|false]
#             [--command-timeout SECONDS]
#
# Without --authorization-url the OpenFGA store of this environment is used where it is up, and every caller may use every
# cluster where it is not.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

port=${GOLDCREST_PORT:-18300}
identity=oidc
keys_url=
keys_refresh=300
authorization_url=
authorization_store=goldcrest
authorization_by_effect=false
command_timeout=5

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            --port) port=$2 ;;
            --identity) identity=$2 ;;
            --keys-url) keys_url=$2 ;;
            --keys-refresh) keys_refresh=$2 ;;
            --authorization-url) authorization_url=$2 ;;
            --authorization-store) authorization_store=$2 ;;
            --authorization-by-effect) authorization_by_effect=$2 ;;
            --command-timeout) command_timeout=$2 ;;
            *) die "render.sh does not know $1" ;;
        esac
        shift 2
    done
    [ -s "$state_root/openssh/env.sh" ] || die "start openssh first"
    [ -s "$state_root/$identity/env.json" ] || die "start $identity first"
    # shellcheck source=/dev/null
    . "$state_root/openssh/env.sh"
    if [ -z "$authorization_url" ] && [ -s "$state_root/openfga/url" ]; then
        authorization_url=$(cat "$state_root/openfga/url")
    fi
    render
}

render() {
    local ssh=$state_root/openssh token_url issuer audience
    token_url=$(coordinate tokenUrl)
    [ -n "$keys_url" ] || keys_url=$(coordinate jwksUrl)
    checker=$(coordinate checker)
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
    public_certs: [$keys_url]
    public_certs_refresh: $keys_refresh
    issuer: $issuer
    audience: [$audience]
    username_claim: $(coordinate usernameClaim)
EOF
    if [ -n "$authorization_url" ]; then
        cat <<EOF
  authorization:
    url: $authorization_url
    store: $authorization_store
    by_effect: $authorization_by_effect
    group_type: group
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
    [ ! -d "$state_root/slurm/26.05/bin" ] || cluster slurm26 "$GOLDCREST_SSHD_SLURM26_PORT" known_hosts 26.05 probed
    # Certificates by Goldcrest's own authority. They end soon, so that a test sees one follow the other.
    cluster ca "$GOLDCREST_SSHD_CA_PORT" known_hosts 22.05 "" "
      credentials:
        type: SSHCertificateAuthority
        private_key: secret_file:$ssh/keys/user_ca
        validity: 20
        source_address: [127.0.0.0/8]"
    # The same releases by slurmrestd, alone and with the commands beside it, and a slurmrestd that is not there.
    rest=16820 mode=rest cluster slurm-rest "$GOLDCREST_SSHD_STOCK_PORT" known_hosts 22.05 probed
    rest=16820 mode=hybrid cluster slurm-hybrid "$GOLDCREST_SSHD_STOCK_PORT" known_hosts 22.05 probed
    rest=$GOLDCREST_CLOSED_PORT mode=hybrid cluster slurm-norest "$GOLDCREST_SSHD_STOCK_PORT" known_hosts 22.05 probed
    if [ -d "$state_root/slurm/24.11/bin" ]; then
        rest=26820 mode=rest cluster slurm24-rest "$GOLDCREST_SSHD_SLURM24_PORT" known_hosts 24.11 probed
        rest=26820 mode=hybrid cluster slurm24-hybrid "$GOLDCREST_SSHD_SLURM24_PORT" known_hosts 24.11 probed
    fi
    if [ -d "$state_root/slurm/26.05/bin" ]; then
        rest=27820 mode=rest cluster slurm26-rest "$GOLDCREST_SSHD_SLURM26_PORT" known_hosts 26.05 probed
        rest=27820 mode=hybrid cluster slurm26-hybrid "$GOLDCREST_SSHD_SLURM26_PORT" known_hosts 26.05 probed
    fi
    [ ! -s "$state_root/kubernetes/env.json" ] || "$environment_root/kubernetes/clusters.sh" "$checker" "$state_root/$identity/$checker.secret"
    # What must fail, and how: another host key than the file says, a closed port, a port that never says a word.
    cluster stranger "$GOLDCREST_SSHD_STOCK_PORT" known_hosts.stranger 22.05
    cluster closed "$GOLDCREST_CLOSED_PORT" known_hosts 22.05
    cluster silent "$GOLDCREST_SILENT_PORT" known_hosts 22.05
}

coordinate() { sed -n "s/^  \"$1\": \"\(.*\)\",\$/\1/p" "$state_root/$identity/env.json"; }

# [rest=PORT mode=MODE] cluster NAME PORT KNOWN_HOSTS SLURM_VERSION [probed [MORE_OF_SSH]]
cluster() {
    cat <<EOF
  - name: $1
    ssh:
      host: 127.0.0.1
      port: $2
      host_keys:
        known_hosts: $state_root/openssh/$3${6:-}
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
EOF
    [ -z "${mode:-}" ] || cat <<EOF
      connection_mode: $mode
      api_url: http://127.0.0.1:$rest
      jwt_key_file: $(jwt_key "$4")
EOF
    cat <<EOF
    service_account:
      client_id: $checker
      secret: secret_file:$state_root/$identity/$checker.secret
    probing:
      interval: 10
EOF
    [ -z "${5:-}" ] || cat <<EOF
      services:
        scheduler: { timeout: 10 }
        ssh: { timeout: 5 }
        filesystem: { timeout: 5 }
EOF
    [ -z "${5:-}" ] || ! has_store "$1" || echo '        storage: { timeout: 5 }'
    cat <<EOF
    file_systems:
      - path: /home
        data_type: users
        default_work_dir: true
    data_operation:
      datatransfer_jobs_directives:
        - "#SBATCH --time=0-00:10:00"
EOF
    # Everyone may charge an account of their own name.
    [ "$1" != slurm-nosftp ] || echo '        - "#SBATCH --account={account}"'
    ! has_store "$1" || object_store "$1"
}

# Whether large files of a system go by way of the object store.
has_store() {
    case $1 in
        slurm | slurm24) [ -s "$state_root/s3/env.json" ] ;;
        *) return 1 ;;
    esac
}

# The least parts that S3 allows, so that a file of some megabytes has several. Each system sends them in another way.
object_store() {
    local split=false store=$state_root/s3
    [ "$1" = slurm ] || split=true
    cat <<EOF
      data_transfer:
        - service_type: s3
          name: seaweedfs
          private_url: $(store_coordinate url)
          public_url: $(store_coordinate url)
          access_key_id: secret_file:$store/access_key
          secret_access_key: secret_file:$store/secret_key
          region: $(store_coordinate region)
          ttl: 600
          multipart:
            use_split: $split
            max_part_size: 5242880
        - service_type: streamer
          wait_timeout: 600
EOF
}

store_coordinate() { sed -n "s/^  \"$1\": \"\(.*\)\",\$/\1/p" "$state_root/s3/env.json"; }

# The key with which a release of Slurm verifies tokens; see slurm/start.sh.
jwt_key() {
    case $1 in
        22.05) echo "$state_root/slurm/22.05/jwt/hs256.key" ;;
        *) echo "$state_root/slurm/$1/root/var/lib/goldcrest/jwt/hs256.key" ;;
    esac
}

main "$@"
