#!/usr/bin/env bash
# Submits jobs with an Idempotency-Key through two replicas of Goldcrest to real Slurm, of two releases. While each request is under way, the
# replica, the SSH connection, the shell or sbatch is killed at a random moment. Each request is sent again until it is answered, every other one to the
# other replica too. At the end each job has to be there exactly once, with the id of its answer. submissions.py describes the steps, and removes what
# they have left in the home directory of the user, also where they failed.
#
#   run.sh GOLDCREST_BINARY [COUNT [SCHEDULER]]     300 by default; slurm (two releases), local, pbs (played by a script, tests/it/pbs/pbs.sh)
#                                                   or kubernetes, where the API server is killed too
#
# It needs openssh, slurm and oidc of the live environment, or kubernetes instead of slurm, and uses the ports 18530 to 18532, or those from $GOLDCREST_BENCH_PORT on. For PBS it starts
# an sshd of its own, on 22241.
# $SUBMISSIONS_SEED repeats the choices of an earlier run; moments depend on the machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
# shellcheck source=../../../build/environment/sections.sh
. "$here/../../../build/environment/sections.sh"

binary=$(realpath "$1")
count=${2:-300}
scheduler=${3:-slurm}
port=${GOLDCREST_BENCH_PORT:-18530}
user=fireuser
folder=$(mktemp -d)
trap finish EXIT

finish() {
    [ "$scheduler" != pbs ] || stop_process "$folder/openssh/stock/sshd.pid" "$folder" || true
    [ "$scheduler" != pbs ] || rm -rf "/home/$user/pbs"
    rm -rf "$folder"
}

# system NAME SSH_PORT TYPE VERSION
system() {
    cat <<YAML
  - name: $1
    ssh:
      host: 127.0.0.1
      port: $2
      host_keys:
        known_hosts: $ssh_state/known_hosts
      timeout:
        connection: 3
        login: 5
        command_execution: 10
        keep_alive: 1
    scheduler:
      type: $3
      version: "$4"
$(system_members)
YAML
}

# The system of Kubernetes, whose API server is reached through a relay on this port.
kubernetes_system() {
    sed "s/127.0.0.1:$(sed -n 's/^  "port": \([0-9]*\),$/\1/p' "$state_root/kubernetes/env.json")/127.0.0.1:$1/" \
        "$(coordinate kubernetes kubeconfig)" >"$folder/kubeconfig"
    cat <<YAML
  - name: kubernetes
    scheduler:
      type: kubernetes
      version: "$(coordinate kubernetes version)"
      timeout: 10
      kubernetes:
        kubeconfig_file: $folder/kubeconfig
        default_image: $(coordinate kubernetes image)
        profiles: [{ name: small, memory: 32M, time_limit: 600 }]
$(account_members)
YAML
}

# shellcheck source=/dev/null
. "$state_root/openssh/env.sh"
ssh_state=$state_root/openssh

# An sshd whose users find this PBS where those of the environment find Slurm.
start_pbs() {
    local programs=$folder/slurm/22.05/bin program
    chmod 755 "$folder"
    mkdir -p "$programs/pbs"
    install -m 755 "$here/qsub.sh" "$programs/qsub"
    install -m 755 "$here/../../it/pbs/pbs.sh" "$programs/pbs/qsub"
    for program in qstat qselect qdel pbsnodes; do cp "$programs/pbs/qsub" "$programs/$program"; done
    GOLDCREST_ENV=$folder GOLDCREST_SSHD_INSTANCES=stock GOLDCREST_SSHD_STOCK_PORT=22241 "$environment_root/openssh/start.sh"
    ssh_state=$folder/openssh
}

case $scheduler in
    slurm)
        clusters="$(system slurm "$GOLDCREST_SSHD_STOCK_PORT" slurm 22.05)
$(system slurm24 "$GOLDCREST_SSHD_SLURM24_PORT" slurm 24.11)"
        systems=(--system "slurm=$GOLDCREST_SSHD_STOCK_PORT=slurm" --system "slurm24=$GOLDCREST_SSHD_SLURM24_PORT=slurm")
        ;;
    local)
        clusters=$(system local "$GOLDCREST_SSHD_STOCK_PORT" local 1)
        systems=(--system "local=$GOLDCREST_SSHD_STOCK_PORT=local")
        ;;
    pbs)
        start_pbs
        clusters=$(system pbs 22241 pbs 23.06)
        systems=(--system pbs=22241=pbs)
        ;;
    kubernetes)
        need_free_port $((port + 2))
        clusters=$(kubernetes_system $((port + 2)))
        systems=(--system "kubernetes=$((port + 2))=kubernetes" --kubernetes "$state_root/kubernetes/env.json" --environment "$environment_root")
        ;;
    *) die "there is no scheduler $scheduler: slurm, local, pbs or kubernetes" ;;
esac
for replica in 0 1; do
    need_free_port $((port + replica))
    cat >"$folder/$replica.yaml" <<YAML
server:
  listen: 127.0.0.1:$((port + replica))
  request_timeout: 60
$(identity_sections "$user" "$ssh_state/keys")
clusters:
$clusters
YAML
done

export SUBMISSIONS_TOKEN_URL SUBMISSIONS_SECRET_FILE=$state_root/oidc/$user.secret
SUBMISSIONS_TOKEN_URL=$(coordinate oidc tokenUrl)
python3 "$here/submissions.py" --binary "$binary" --count "$count" --port "$port" --folder "$folder" --user "$user" \
    --key "$ssh_state/keys/$user" --known-hosts "$ssh_state/known_hosts" "${systems[@]}"
