#!/usr/bin/env bash
# Makes the secrets that the containers of docker-compose.yml share, each once: nothing of them is in the source tree.
#
#   keys.sh PROXY_FOLDER CLUSTER_FOLDER
#
# The first folder is for Goldcrest: private keys, known_hosts, the key that signs tokens for slurmrestd. The second is for
# the clusters: their host key, whose keys may log in, the same key for slurmrestd.
set -euo pipefail

proxy=$1
cluster=$2
# The account of the Goldcrest image.
proxy_user=65532:65532

key() { [ -s "$1" ] || ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$1"; }

umask 077
mkdir -p "$proxy" "$cluster"
for user in fireuser firesrv; do
    key "$proxy/$user" "$user"
    install -m 644 "$proxy/$user.pub" "$cluster/$user.pub"
done
key "$cluster/host" demo-only-host
printf '[slurm]:22200,[pbs]:22200 %s\n' "$(cut -d' ' -f1,2 "$cluster/host.pub")" >"$proxy/known_hosts"
[ -s "$cluster/slurm_jwt" ] || head -c 32 /dev/urandom >"$cluster/slurm_jwt"
install -m 600 "$cluster/slurm_jwt" "$proxy/slurm_jwt"
chmod 700 "$proxy" "$cluster"
chown -R "$proxy_user" "$proxy"
