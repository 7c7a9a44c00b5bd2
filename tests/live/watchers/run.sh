#!/usr/bin/env bash
# Watches the jobs of a real Slurm while it is disturbed. It starts a Slurm 22.05 and an sshd of its own, so that nobody else's are restarted, and
# stops them at the end. watchers.py describes the phases:
#
#   push       from the end of a job to its event, where slurmctld sends records of ended jobs (jobcomp/elasticsearch)
#   pollers    what 1,000 clients that poll cost the controller and accounting, by sdiag and sacctmgr, beside what one costs
#   restarts   50 watchers over restarts of the proxy, slurmctld and slurmdbd: each is told the end of its job, once, as accounting has it
#   webhooks   the end of a job as a signed message
#
#   run.sh GOLDCREST_BINARY [PHASE...]     all by default
#
# It needs oidc of the live environment and root, and uses the ports 46817 to 46823, 13316, 22240 and 18560 to 18562.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../build/environment/lib.sh
. "$here/../../../build/environment/lib.sh"
# shellcheck source=../../../build/environment/sections.sh
. "$here/../../../build/environment/sections.sh"

binary=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- push pollers restarts webhooks
user=fireuser
port=18560
push_port=18561
sshd_port=22240
own=$(mktemp -d /var/tmp/goldcrest-watchers.XXXXXX)
secret=$(new_secret)

# in_own COMMAND...: a script of the environment, for the servers of this run.
in_own() {
    env GOLDCREST_ENV="$own" GOLDCREST_SLURM=22.05 GOLDCREST_SLURM_PORTS=46800 GOLDCREST_MARIADB_PORT=13316 \
        GOLDCREST_SLURM_PUSH="http://127.0.0.1:$push_port/$secret" GOLDCREST_SSHD_INSTANCES=stock GOLDCREST_SSHD_STOCK_PORT=$sshd_port "$@"
}

finish() {
    in_own "$environment_root/slurm/stop.sh" >/dev/null 2>&1 || say "Slurm did not stop: see $own"
    stop_process "$own/openssh/stock/sshd.pid" "$own" || true
    rm -rf "$own"
}

# config NAME INTERVAL MORE_OF_THE_MIRROR
config() {
    cat >"$own/$1.yaml" <<YAML
server:
  listen: 127.0.0.1:$port
  request_timeout: 60
  max_requests_per_user: 5000
$(identity_sections "$user" "$own/openssh/keys")
store:
  type: sqlite
  state_dir: $own/$1.state
webhooks:
  allow_http: true
  allowed_networks: [127.0.0.0/8]
clusters:
  - name: slurm
    ssh:
      host: 127.0.0.1
      port: $sshd_port
      host_keys:
        known_hosts: $own/openssh/known_hosts
    scheduler:
      type: slurm
      version: "22.05"
      job_mirror:
        interval: $2$3
$(system_members)
YAML
}

[ "$(id -u)" = 0 ] || die "daemons switch users: run this as root"
apt_install slurm-wlm-elasticsearch-plugin
trap finish EXIT
chmod 755 "$own"
for needed in $port $push_port $sshd_port 46817 46819 46820 13316; do need_free_port "$needed"; done
in_own "$environment_root/openssh/start.sh"
in_own "$environment_root/slurm/start.sh" 22.05 >&2
config push 30 "
        push: {listen: \"127.0.0.1:$push_port\", secret: $secret}"
config plain 5 ''

export WATCHERS_TOKEN_URL WATCHERS_SECRET_FILE=$state_root/oidc/$user.secret
WATCHERS_TOKEN_URL=$(coordinate oidc tokenUrl)
in_own python3 "$here/watchers.py" --binary "$binary" --folder "$own" --port $port --user "$user" \
    --slurm "$environment_root/slurm/start.sh" "$@"
