#!/usr/bin/env bash
# Submits jobs with an Idempotency-Key through two replicas of Goldcrest to real Slurm, of two releases. While each request is under way, the
# replica, the SSH connection, the shell or sbatch is killed at a random moment. Each request is sent again until it is answered, every other one to the
# other replica too. At the end each job has to be there exactly once, with the id of its answer. submissions.py describes the steps.
#
#   run.sh GOLDCREST_BINARY [COUNT]     300 by default
#
# It needs openssh, slurm and oidc of the live environment, and uses the ports 18530 and 18531, or those from $GOLDCREST_BENCH_PORT on.
# $SUBMISSIONS_SEED repeats the choices of an earlier run; moments depend on the machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"

binary=$(realpath "$1")
count=${2:-300}
port=${GOLDCREST_BENCH_PORT:-18530}
user=fireuser
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# coordinate COMPONENT NAME
coordinate() { sed -n "s/^  \"$2\": \"\(.*\)\",\$/\1/p" "$state_root/$1/env.json"; }

# system NAME SSH_PORT SLURM_VERSION
system() {
    cat <<YAML
  - name: $1
    ssh:
      host: 127.0.0.1
      port: $2
      host_keys:
        known_hosts: $state_root/openssh/known_hosts
      timeout:
        connection: 3
        login: 5
        command_execution: 10
        keep_alive: 1
    scheduler:
      type: slurm
      version: "$3"
    service_account:
      client_id: $(coordinate oidc checker)
      secret: secret_file:$state_root/oidc/$(coordinate oidc checker).secret
    probing:
      interval: 3600
    file_systems:
      - path: /home
        data_type: users
        default_work_dir: true
YAML
}

# shellcheck source=/dev/null
. "$state_root/openssh/env.sh"
for replica in 0 1; do
    need_free_port $((port + replica))
    cat >"$folder/$replica.yaml" <<YAML
server:
  listen: 127.0.0.1:$((port + replica))
  request_timeout: 60
auth:
  authentication:
    token_url: $(coordinate oidc tokenUrl)
    public_certs: [$(coordinate oidc jwksUrl)]
    issuer: $(coordinate oidc issuer)
    audience: [$(coordinate oidc audience)]
    username_claim: $(coordinate oidc usernameClaim)
ssh_credentials:
  type: SSHStaticKeys
  keys:
    $user:
      private_key: secret_file:$state_root/openssh/keys/$user
clusters:
$(system slurm "$GOLDCREST_SSHD_STOCK_PORT" 22.05)
$(system slurm24 "$GOLDCREST_SSHD_SLURM24_PORT" 24.11)
YAML
done

export SUBMISSIONS_TOKEN_URL SUBMISSIONS_SECRET_FILE=$state_root/oidc/$user.secret
SUBMISSIONS_TOKEN_URL=$(coordinate oidc tokenUrl)
python3 "$here/submissions.py" --binary "$binary" --count "$count" --port "$port" --folder "$folder" --user "$user" \
    --key "$state_root/openssh/keys/$user" --known-hosts "$state_root/openssh/known_hosts" \
    --system "slurm=$GOLDCREST_SSHD_STOCK_PORT" --system "slurm24=$GOLDCREST_SSHD_SLURM24_PORT"
