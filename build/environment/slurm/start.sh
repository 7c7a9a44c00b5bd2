#!/bin/bash
# Starts real Slurm on loopback: `start.sh [22.05|24.11|26.05]...`, all by default. Needs root; installs what is missing.
# Running it again starts only what is not running. `status.sh` waits for health, `stop.sh` stops what this started.
#
#   GOLDCREST_ENV   where all state, logs and pid files go; default /var/tmp/goldcrest-env (see lib.sh for the ports)
#   GOLDCREST_SLURM the versions, where none is on the command line
#
# Test users fireuser, firesrv and otheruser exist afterwards, with homes and with an account each in all instances
# (fireuser also in `shared`, whose jobs otheruser may charge too). Partitions: normal (the default), long, and the
# hidden private. Nodes n1 to n3 have a daemon, n4 has none and is down.
#
# How users reach the commands:
#   22.05  plain `sbatch`, `squeue`, ...: /etc/slurm/slurm.conf is a link to this instance's file. So is any sshd of the host.
#   24.11, 26.05  the same names in $GOLDCREST_ENV/slurm/VERSION/bin: they start the newer programs with the loader, libraries and
#          plugins of their own release, so that any user may call them, without chroot. For an sshd whose users are
#          to find one of these, put that folder first in PATH (`SetEnv PATH=...` in its sshd_config). The jobs themselves run in the
#          chroot, which has the host's /home and /tmp.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need_root

make_users() {
    local user
    for user in "${test_users[@]}"; do
        getent passwd "$user" >/dev/null || useradd --create-home --shell /bin/bash "$user"
    done
    getent passwd slurmrest >/dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin slurmrest
}

start_mariadb() {
    local data=$base/mariadb
    if [ ! -d "$data/mysql" ]; then
        install -d -o mysql -g mysql -m 700 "$data"
        mariadb-install-db --user=mysql --datadir="$data" --auth-root-authentication-method=socket --skip-test-db >/dev/null
    fi
    install -d -o mysql -g mysql -m 755 "$base/mariadb-run"
    start_daemon "$base/run" mariadb mariadbd --no-defaults --user=mysql --datadir="$data" --bind-address=127.0.0.1 \
        --port="$mariadb_port" --socket="$base/mariadb-run/socket" --innodb-buffer-pool-size=64M \
        --innodb-lock-wait-timeout=900 --performance-schema=OFF
    wait_until 30 mariadb_client -e 'SELECT 1' || fail "MariaDB does not answer: see $base/run/mariadb.out"
}

mariadb_client() {
    mariadb --no-defaults --socket="$base/mariadb-run/socket" --user=root "$@"
}

make_database() {
    mariadb_client -e "CREATE DATABASE IF NOT EXISTS $database;
        CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY '$database_password';
        CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY '$database_password';
        GRANT ALL ON $database.* TO slurm@'127.0.0.1';
        GRANT ALL ON $database.* TO slurm@localhost;"
}

# The root gets its own path as a link to itself, the host's users, its own names, and the file systems that jobs need.
prepare_root() {
    local entry user
    # The controller looks up the address of every caller. A name server would be asked otherwise, and each answer that is lost
    # holds the caller up for 5 s.
    printf '%s\n' "127.0.0.1 localhost $controller ${node_names[*]} n4" '0.0.0.0 any' >"$root/etc/hosts"
    sed -i 's/^hosts:.*/hosts: files/' "$root/etc/nsswitch.conf"
    mkdir -p "$root$(dirname "$root")"
    [ -L "$root$root" ] || ln -s / "$root$root"
    for user in "${test_users[@]}" slurmrest; do
        for entry in passwd group; do
            grep -q "^$user:" "$root/etc/$entry" || getent "$entry" "$user" >>"$root/etc/$entry"
        done
    done
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    for entry in dev home tmp; do
        mountpoint -q "$root/$entry" || mount --bind "/$entry" "$root/$entry"
    done
}

id_in_root() {
    "${inside[@]}" id "$1" "$2"
}

make_folders() {
    local slurm_uid munge_uid rest_gid
    slurm_uid=$(id_in_root -u slurm)
    munge_uid=$(id_in_root -u munge)
    rest_gid=$(id_in_root -g slurmrest)
    mkdir -p "$state/run" "$shared/etc" "$bindir"
    install -d -o "$slurm_uid" -m 755 "$shared/log" "$shared/slurmctld" "$shared/slurmdbd"
    install -d -o "$munge_uid" -m 755 "$shared/munge"
    install -d -o "$slurm_uid" -m 711 "$shared/jwt"
    if [ ! -s "$shared/munge/key" ]; then
        head -c 1024 /dev/urandom >"$shared/munge/key"
    fi
    chown "$munge_uid" "$shared/munge/key"
    chmod 400 "$shared/munge/key"
    if [ ! -s "$shared/jwt/hs256.key" ]; then
        head -c 32 /dev/urandom >"$shared/jwt/hs256.key"
    fi
    chown "$slurm_uid:$rest_gid" "$shared/jwt/hs256.key"
    chmod 640 "$shared/jwt/hs256.key"
}

write_configuration() {
    local folder=$here number=0 node
    fill "$folder/slurm.conf.in" >"$slurm_conf.new"
    {
        for node in "${node_names[@]}" n4; do
            number=$((number + 1))
            printf 'NodeName=%s NodeAddr=127.0.0.1 NodeHostname=%s Port=%s CPUs=2 CoresPerSocket=2 RealMemory=1000 Feature=%s Weight=%s\n' \
                "$node" "$node" "$((slurmd_port_before_first + number))" "$([ "$number" = 1 ] && echo fast,gpu || echo slow)" "$number"
        done
        printf 'PartitionName=normal Nodes=n[1-2] Default=YES MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP\n'
        printf 'PartitionName=long Nodes=n[1-3] MaxTime=UNLIMITED DefaultTime=01:00:00 State=UP\n'
        printf 'PartitionName=private Nodes=n[3-4] Hidden=YES MaxTime=01:00:00 State=UP\n'
        printf 'PartitionName=closed Nodes=n3 MaxTime=01:00:00 State=DOWN\n'
        [ -z "$push" ] || printf 'JobCompType=jobcomp/elasticsearch\nJobCompLoc=%s\n' "$push"
    } >>"$slurm_conf.new"
    mv "$slurm_conf.new" "$slurm_conf"
    printf 'CgroupPlugin=%s\n' "$([ "$version" = 22.05 ] && echo cgroup/v1 || echo disabled)" >"$shared/etc/cgroup.conf"
    # It holds the password of the database: slurmdbd refuses to read it when others may.
    (umask 077 && fill "$folder/slurmdbd.conf.in" >"$shared/etc/slurmdbd.conf")
    chown "$(id_in_root -u slurm)" "$shared/etc/slurmdbd.conf"
}

# Where the programs look when no SLURM_CONF is set.
link_configuration() {
    local link=${root}/etc/slurm/slurm.conf
    [ -z "${GOLDCREST_SLURM_PORTS:-}" ] || return 0
    mkdir -p "${root}/etc/slurm"
    if [ -e "$link" ] && [ ! -L "$link" ]; then
        fail "$link exists and is not ours: this machine has a Slurm of its own"
    fi
    ln -sfn "$slurm_conf" "$link"
}

# A command of the other release as a script for users of the host: the loader of that release, its libraries, its plugins.
write_wrappers() {
    local program libraries
    libraries=$root/usr/lib/x86_64-linux-gnu
    for program in sacct sacctmgr salloc sattach sbatch sbcast scancel scontrol sdiag sinfo sprio squeue sreport srun sshare sstat; do
        if [ -z "$root" ]; then
            ln -sfn "/usr/bin/$program" "$bindir/$program"
            [ -z "${GOLDCREST_SLURM_PORTS:-}" ] || write_script "$program"
            continue
        fi
        cat >"$bindir/$program.new" <<WRAPPER
#!/bin/sh
export SLURM_CONF=$slurm_conf
exec $root/lib64/ld-linux-x86-64.so.2 --argv0 $program --library-path $libraries:$plugin_dir $root/usr/bin/$program "\$@"
WRAPPER
        chmod 755 "$bindir/$program.new"
        mv "$bindir/$program.new" "$bindir/$program"
    done
}

# The same of the host's release, where another configuration is that of the host.
write_script() {
    rm -f "$bindir/$1"
    printf '#!/bin/sh\nSLURM_CONF=%s exec /usr/bin/%s "$@"\n' "$slurm_conf" "$1" >"$bindir/$1"
    chmod 755 "$bindir/$1"
}

start_instance() {
    local run=$state/run node
    start_daemon "$run" munged "${inside[@]}" setpriv --reuid "$(id_in_root -u munge)" --regid "$(id_in_root -g munge)" --clear-groups \
        /usr/sbin/munged --foreground --key-file="$shared/munge/key" --socket="$shared/munge/socket" \
        --pid-file="$shared/munge/pid" --log-file="$shared/munge/log" --seed-file="$shared/munge/seed"
    wait_until 10 test -S "$shared/munge/socket" || fail "munged made no socket: see $run/munged.out"

    start_slurm slurmdbd "$controller" slurmdbd -D
    wait_until 60 slurm_client sacctmgr --noheader --parsable2 show cluster || fail "slurmdbd does not answer: see $shared/log/slurmdbd.log"
    make_associations

    start_slurm slurmctld "$controller" slurmctld -D
    wait_until 30 controller_is_up || fail "slurmctld does not answer: see $shared/log/slurmctld.log"
    for node in "${node_names[@]}"; do
        mkdir -p "$shared/slurmd-$node"
        start_slurm "slurmd-$node" "$node" slurmd -D -N "$node"
    done
    start_slurm slurmrestd "$controller" setpriv --reuid "$(id_in_root -u slurmrest)" \
        --regid "$(id_in_root -g slurmrest)" --clear-groups env SLURM_JWT=daemon /usr/sbin/slurmrestd -a rest_auth/jwt "$listen:$slurmrestd_port"
    printf '{"controllerPort": %s}\n' "$slurmctld_port" >"$state/env.json"
}

controller_is_up() {
    slurm_client scontrol ping | grep UP >/dev/null
}

# Associations must be there before the controller starts: it then knows them at once.
make_associations() {
    local user manager=(slurm_client sacctmgr --immediate)
    "${manager[@]}" add cluster "goldcrest${version/./}" >/dev/null || true
    for user in "${test_users[@]}" shared; do
        "${manager[@]}" add account "$user" Cluster="goldcrest${version/./}" Description=test Organization=test >/dev/null || true
    done
    for user in "${test_users[@]}"; do
        "${manager[@]}" add user "$user" Account="$user" DefaultAccount="$user" >/dev/null || true
    done
    for user in fireuser otheruser; do
        "${manager[@]}" add user "$user" Account=shared >/dev/null || true
    done
}

"$here/install.sh" "$@"
mkdir -p "$base"
chmod 755 "$GOLDCREST_ENV" "$base"
make_users
start_mariadb
for wanted in $(versions_of "$@"); do
    select_version "$wanted"
    [ ! -e "$state/elsewhere" ] || continue
    [ -z "$root" ] || prepare_root
    make_folders
    write_configuration
    link_configuration
    write_wrappers
    make_database
    start_instance
done
"$here/status.sh" "$@"
