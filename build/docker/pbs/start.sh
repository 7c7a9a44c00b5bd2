#!/usr/bin/env bash
# The OpenPBS container's only process of its own: starts sshd and OpenPBS, and stops them when it is told to.
#
#   start.sh         starts, and stays
#   start.sh check   says by its exit code whether everything works: the container's health check
set -euo pipefail
# shellcheck source=../login.sh
. "$(dirname "${BASH_SOURCE[0]}")/../login.sh"
# shellcheck source=../../environment/lib.sh
. "$environment/lib.sh"

host=$(hostname)
home=/var/spool/pbs

main() {
    if [ "${1:-}" = check ]; then
        pbsnodes -v "$host" | grep 'state = \(free\|job-busy\)' >/dev/null && port_open 22200
        return
    fi
    trap stop TERM INT
    start_login
    configure
    /opt/pbs/libexec/pbs_init.d start
    wait_for 60 qmgr -c 'list server' || die 'the PBS server does not answer'
    settle
    # A signal ends the wait, and then stop runs.
    sleep infinity &
    wait $!
}

configure() {
    cat >/etc/pbs.conf <<EOT
PBS_EXEC=/opt/pbs
PBS_HOME=$home
PBS_SERVER=$host
PBS_START_SERVER=1
PBS_START_SCHED=1
PBS_START_COMM=1
PBS_START_MOM=1
PBS_CORE_LIMIT=unlimited
PBS_SCP=/usr/bin/scp
EOT
    if [ ! -d $home/mom_priv ]; then
        /opt/pbs/libexec/pbs_postinstall server
        # Output goes to its place by copying: submission and execution happen on the same file system.
        printf '%s\n' "\$clienthost $host" "\$usecp *:/ /" >$home/mom_priv/config
    fi
}

# What the tests' clusters have: a history of jobs, a second queue, one execution host.
settle() {
    qmgr -c "list node $host" >/dev/null 2>&1 || qmgr -c "create node $host"
    qmgr -c "set node $host resources_available.ncpus = 4"
    qmgr -c 'set server job_history_enable = True'
    qmgr -c 'set server job_history_duration = 24:00:00'
    qmgr -c 'set server flatuid = True'
    qmgr -c 'list queue long' >/dev/null 2>&1 ||
        qmgr -c 'create queue long queue_type = execution, enabled = True, started = True'
}

stop() {
    /opt/pbs/libexec/pbs_init.d stop || true
    "$environment/openssh/stop.sh" || true
    exit 0
}

main "$@"
