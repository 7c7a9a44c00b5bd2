# shellcheck shell=bash disable=SC2034  # what is set here is used by those that read this file
# Shared by install.sh, start.sh, stop.sh and status.sh of this folder; it is read with `.`, never run.
#
# `select_version VERSION` sets what differs between the instances of 22.05, 24.11 and 26.05. Everything that an
# instance writes lies under $GOLDCREST_ENV, and its ports are those named here. slurmrestd and MariaDB listen on
# loopback alone; slurmctld, slurmdbd and slurmd take every address of the machine, behind munge.
#
#                 slurmctld  slurmdbd  slurmrestd  slurmd (n1, n2, n3)
#   22.05             16817     16819       16820  16821 16822 16823
#   24.11             26817     26819       26820  26821 26822 26823
#   26.05             27817     27819       27820  27821 27822 27823
#   MariaDB (shared by all, one database each)                      13306
#
# A test may have a Slurm 22.05 of its own beside them: with another GOLDCREST_ENV, a GOLDCREST_SLURM_PORTS (for 16800) and a
# GOLDCREST_MARIADB_PORT. /etc/slurm/slurm.conf is then left alone, and the commands are scripts in the folder `bin`.

GOLDCREST_ENV=${GOLDCREST_ENV:-/var/tmp/goldcrest-env}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=$GOLDCREST_ENV/slurm
all_versions="22.05 24.11 26.05"
mariadb_port=${GOLDCREST_MARIADB_PORT:-13306}
# A container has slurmrestd on an address that other containers reach.
listen=${GOLDCREST_ENV_LISTEN:-127.0.0.1}
# A file with the keys of an OpenID provider whose tokens slurmrestd accepts besides its own; none for none.
jwks=${GOLDCREST_SLURM_JWKS:-}
# An address to which the controller sends a record of each job that has ended; none for none.
push=${GOLDCREST_SLURM_PUSH:-}
# A password of a database that only listens on loopback and only holds test data.
database_password=goldcrest-test
# Persons and services of the tests, each with a home and a default account of its own.
test_users=(fireuser firesrv otheruser)
# Nodes with a daemon. n4 is configured without one, so that there is always a node that is down.
node_names=(n1 n2 n3)
# The host name that daemons other than slurmd see, so that no name of the machine reaches an output.
controller=controller

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

say() {
    printf '%s\n' "$*"
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "run it as root: the daemons switch users"
}

# Sets version, state, root, inside, bindir, slurm_conf and the ports. `inside` is the prefix that runs a command where
# this version is installed: nothing for the host's own packages, chroot for the other releases.
select_version() {
    version=$1
    state=$base/$version
    case $version in
        22.05)
            root=
            inside=()
            port_base=${GOLDCREST_SLURM_PORTS:-16800}
            plugin_dir=/usr/lib/$(uname -m)-linux-gnu/slurm-wlm
            ;;
        24.11)
            suite=trixie
            port_base=26800
            in_root
            ;;
        26.05)
            suite=sid
            port_base=27800
            in_root
            ;;
        *) fail "unknown version $version: one of $all_versions" ;;
    esac
    if [ -n "$root" ]; then
        # What both sides must see lies in the root.
        shared=$root/var/lib/goldcrest
    else
        shared=$state
    fi
    slurm_conf=$shared/etc/slurm.conf
    bindir=$state/bin
    slurmctld_port=$((port_base + 17))
    slurmdbd_port=$((port_base + 19))
    slurmrestd_port=$((port_base + 20))
    slurmd_port_before_first=$((port_base + 20))
    database=slurm_${version/./_}
}

# Inside the root its own path is a symbolic link to `/`, so that one path serves on both sides of the chroot.
in_root() {
    root=$base/$version/root
    inside=(chroot "$root")
    plugin_dir=$root/usr/lib/x86_64-linux-gnu/slurm-wlm
}

# The versions named on the command line, or those of GOLDCREST_SLURM, or all.
versions_of() {
    if [ $# = 0 ]; then
        printf '%s\n' "${GOLDCREST_SLURM:-$all_versions}"
    else
        printf '%s\n' "$*"
    fi
}

# The start time of a process in clock ticks, which together with its id names it for good.
start_time_of() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The second field is the name in parentheses and may hold spaces.
    stat=${stat##*) }
    # shellcheck disable=SC2086  # the fields are meant to be split
    set -- $stat
    printf '%s' "${20}"
}

# is_running PIDFILE: whether the process that this file names still is the one that was started.
is_running() {
    local pid started
    [ -f "$1" ] || return 1
    read -r pid started <"$1" || return 1
    [ "$(start_time_of "$pid")" = "$started" ]
}

# start_daemon RUNDIR NAME COMMAND...: runs a foreground daemon in the background, once.
start_daemon() {
    local run=$1 name=$2 pid
    shift 2
    is_running "$run/$name.pid" && return 0
    mkdir -p "$run"
    setsid "$@" >>"$run/$name.out" 2>&1 </dev/null &
    pid=$!
    printf '%s %s\n' "$pid" "$(start_time_of "$pid")" >"$run/$name.pid"
    say "started $name ($pid)"
}

# stop_daemon RUNDIR NAME: stops what start_daemon started, and nothing else.
stop_daemon() {
    local file=$1/$2.pid pid
    if is_running "$file"; then
        read -r pid _ <"$file"
        kill "$pid" 2>/dev/null || true
        wait_until 20 not_running "$file" || kill -KILL "$pid" 2>/dev/null || true
        say "stopped $2 ($pid)"
    fi
    rm -f "$file"
}

not_running() {
    ! is_running "$1"
}

# wait_until SECONDS COMMAND...: asks until the command succeeds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# start_slurm NAME HOSTNAME COMMAND...: starts a Slurm daemon of the selected version under a host name of its own. Several
# slurmd on one machine are told apart by it, where the package was built without support for that.
start_slurm() {
    local name=$1 hostname=$2
    shift 2
    # shellcheck disable=SC2016  # the inner shell expands it
    SLURM_CONF=$slurm_conf start_daemon "$state/run" "$name" unshare --uts -- /bin/sh -c \
        'hostname "$1" && shift && exec "$@"' sh "$hostname" "${inside[@]}" "$@"
}

# slurm_client NAME ARGUMENTS...: a client command of the selected version, as root.
slurm_client() {
    SLURM_CONF=$slurm_conf "${inside[@]}" "$@"
}

# fill FILE: a template with this instance's values.
fill() {
    sed -e "s|@VERSION@|$version|g" -e "s|@CLUSTER@|goldcrest${version/./}|g" -e "s|@CONTROLLER@|$controller|g" \
        -e "s|@SHARED@|$shared|g" -e "s|@PLUGIN_DIR@|$plugin_dir|g" -e "s|@SLURMCTLD_PORT@|$slurmctld_port|g" \
        -e "s|@SLURMDBD_PORT@|$slurmdbd_port|g" -e "s|@MARIADB_PORT@|$mariadb_port|g" \
        -e "s|@JWKS@|${jwks:+,jwks=$jwks}|g" -e "s|@DATABASE@|$database|g" -e "s|@DATABASE_PASSWORD@|$database_password|g" "$1"
}
