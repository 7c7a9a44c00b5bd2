#!/usr/bin/env bash
# Stops the OpenSSH servers that start.sh started, with their sessions. Keys and users stay.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

for instance in stock tight nosftp slurm24 slurm26 ca; do
    stop_process "$state_root/openssh/$instance/sshd.pid" "$state_root/openssh/$instance/sshd_config"
done
say "sshd stopped"
