#!/usr/bin/env bash
# Starts OpenSSH servers on loopback, with users, keys and a certificate authority of their own.
#
# The instances differ in one thing each: `stock` has the limits that sshd has by itself, `tight` allows three sessions a
# connection, `nosftp` offers no sftp subsystem, and `slurm24` and `slurm26` have the commands of another Slurm on their PATH.
# Coordinates: env.json and env.sh in the state folder.
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

state=$state_root/openssh
stock_port=${GOLDCREST_SSHD_STOCK_PORT:-22200}
tight_port=${GOLDCREST_SSHD_TIGHT_PORT:-22201}
nosftp_port=${GOLDCREST_SSHD_NOSFTP_PORT:-22202}
slurm24_port=${GOLDCREST_SSHD_SLURM24_PORT:-22203}
ca_port=${GOLDCREST_SSHD_CA_PORT:-22204}
slurm26_port=${GOLDCREST_SSHD_SLURM26_PORT:-22205}
# Nothing listens on these: one stays closed, a test takes the other and says nothing on it.
closed_port=${GOLDCREST_CLOSED_PORT:-22208}
silent_port=${GOLDCREST_SILENT_PORT:-22209}
users=(fireuser firesrv otheruser certuser)
# A container has one of the instances, on an address that other containers reach.
listen=${GOLDCREST_ENV_LISTEN:-127.0.0.1}
instances=${GOLDCREST_SSHD_INSTANCES:-stock tight nosftp slurm24 slurm26 ca}

main() {
    [ "$(id -u)" = 0 ] || die "sshd must run as root to log other users in"
    apt_install acl openssh-server openssh-client file zstd
    # sshd refuses key files below a folder that others may write to, unless each folder under it is root's alone.
    mkdir -p "$state" /run/sshd
    chmod 755 "$state_root" "$state"
    make_users
    make_keys
    write_coordinates
    start_instance stock "$stock_port" 10 22.05 'Subsystem sftp /usr/lib/openssh/sftp-server'
    start_instance tight "$tight_port" 3 22.05 'Subsystem sftp internal-sftp'
    start_instance nosftp "$nosftp_port" 10 22.05 '# no sftp subsystem'
    start_instance slurm24 "$slurm24_port" 10 24.11 'Subsystem sftp internal-sftp'
    start_instance slurm26 "$slurm26_port" 10 26.05 'Subsystem sftp internal-sftp'
    start_instance ca "$ca_port" 10 22.05 $'Subsystem sftp internal-sftp\nRevokedKeys '"$state/revoked_keys"
}

make_users() {
    local user
    for user in "${users[@]}"; do
        getent passwd "$user" >/dev/null || useradd --create-home --shell /bin/bash "$user"
        # `*` is no password, and unlike `!` it does not lock the account.
        usermod -p '*' -s /bin/bash "$user"
        chmod 700 "$(getent passwd "$user" | cut -d: -f6)"
    done
}

make_keys() {
    local keys=$state/keys
    mkdir -p "$keys" "$state/authorized_keys" "$state/host"
    chmod 700 "$keys"
    key "$state/host/ed25519" -t ed25519 -C goldcrest-host
    key "$state/host/rsa" -t rsa -b 3072 -C goldcrest-host
    key "$state/host/stranger" -t ed25519 -C goldcrest-stranger
    key "$keys/user_ca" -t ed25519 -C goldcrest-user-ca
    [ -s "$keys/otheruser.passphrase" ] || (umask 077 && new_secret >"$keys/otheruser.passphrase")
    key "$keys/fireuser" -t ed25519 -C fireuser
    key "$keys/firesrv" -t rsa -b 3072 -C firesrv
    key "$keys/otheruser" -t ed25519 -C otheruser -N "$(cat "$keys/otheruser.passphrase")"
    key "$keys/certuser" -t ed25519 -C certuser
    # Signed anew at each start, so that it never expires under the tests. This user has no authorized_keys entry.
    ssh-keygen -q -s "$keys/user_ca" -I goldcrest-certuser -n certuser -V -5m:+1d -O clear -O permit-pty "$keys/certuser.pub"
    # A list of revoked keys that revokes nothing yet: without the file sshd would refuse everybody.
    ssh-keygen -q -k -f "$state/revoked_keys" /dev/null
    local user
    for user in fireuser firesrv otheruser; do cp "$keys/$user.pub" "$state/authorized_keys/$user"; done
    chmod 644 "$state/authorized_keys/"*

    local port host_key
    host_key=$(cut -d' ' -f1,2 "$state/host/ed25519.pub")
    : >"$state/known_hosts"
    for port in "$stock_port" "$tight_port" "$nosftp_port" "$slurm24_port" "$slurm26_port" "$ca_port" "$closed_port" "$silent_port"; do
        echo "[127.0.0.1]:$port $host_key" >>"$state/known_hosts"
    done
    echo "[127.0.0.1]:$stock_port $(cut -d' ' -f1,2 "$state/host/stranger.pub")" >"$state/known_hosts.stranger"
}

# key FILE OPTION...: makes a key pair once; without -N it has no passphrase.
key() {
    local file=$1
    shift
    [ -s "$file" ] && return
    case " $* " in *' -N '*) ;; *) set -- "$@" -N '' ;; esac
    ssh-keygen -q -f "$file" "$@"
}

# start_instance NAME PORT MAX_SESSIONS SLURM_VERSION SFTP_LINE
start_instance() {
    local folder=$state/$1 pid_file=$state/$1/sshd.pid
    case " $instances " in *" $1 "*) ;; *) return ;; esac
    if alive "$pid_file" "$folder/sshd_config"; then
        say "sshd $1 runs on port $2"
        return
    fi
    need_free_port "$2"
    mkdir -p "$folder"
    cat >"$folder/sshd_config" <<EOF
ListenAddress $listen:$2
PidFile $pid_file
HostKey $state/host/ed25519
HostKey $state/host/rsa
AuthorizedKeysFile $state/authorized_keys/%u
TrustedUserCAKeys $state/keys/user_ca.pub
# The state folder may lie below a world-writable, sticky one, which StrictModes does not accept.
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
PrintMotd no
X11Forwarding no
AcceptEnv LANG LC_*
LogLevel VERBOSE
MaxSessions $3
MaxStartups 10:30:100
SetEnv PATH=$state_root/slurm/$4/bin:/usr/local/bin:/usr/bin:/bin
$5
EOF
    /usr/sbin/sshd -t -f "$folder/sshd_config"
    # Neither this script's standard streams nor a lock that its caller holds belong to a daemon.
    /usr/sbin/sshd -f "$folder/sshd_config" -E "$folder/sshd.log" </dev/null >/dev/null 2>&1 9>&-
    wait_for 10 port_open "$2" || die "sshd $1 does not listen on port $2: see $folder/sshd.log"
    say "sshd $1 runs on port $2 (MaxSessions $3)"
}

write_coordinates() {
    cat >"$state/env.json" <<EOF
{
  "host": "127.0.0.1",
  "instances": {
    "stock": { "port": $stock_port, "maxSessions": 10, "sftp": true, "pidFile": "$state/stock/sshd.pid", "log": "$state/stock/sshd.log" },
    "tight": { "port": $tight_port, "maxSessions": 3, "sftp": true, "pidFile": "$state/tight/sshd.pid", "log": "$state/tight/sshd.log" },
    "nosftp": { "port": $nosftp_port, "maxSessions": 10, "sftp": false, "pidFile": "$state/nosftp/sshd.pid", "log": "$state/nosftp/sshd.log" },
    "slurm24": { "port": $slurm24_port, "maxSessions": 10, "sftp": true, "pidFile": "$state/slurm24/sshd.pid", "log": "$state/slurm24/sshd.log" },
    "slurm26": { "port": $slurm26_port, "maxSessions": 10, "sftp": true, "pidFile": "$state/slurm26/sshd.pid", "log": "$state/slurm26/sshd.log" },
    "ca": { "port": $ca_port, "maxSessions": 10, "sftp": true, "pidFile": "$state/ca/sshd.pid", "log": "$state/ca/sshd.log" }
  },
  "closedPort": $closed_port,
  "silentPort": $silent_port,
  "knownHosts": "$state/known_hosts",
  "knownHostsStranger": "$state/known_hosts.stranger",
  "userCa": "$state/keys/user_ca",
  "revokedKeys": "$state/revoked_keys",
  "users": {
    "fireuser": { "privateKey": "$state/keys/fireuser", "kind": "ed25519" },
    "firesrv": { "privateKey": "$state/keys/firesrv", "kind": "rsa" },
    "otheruser": { "privateKey": "$state/keys/otheruser", "kind": "ed25519", "passphraseFile": "$state/keys/otheruser.passphrase" },
    "certuser": { "privateKey": "$state/keys/certuser", "kind": "ed25519", "certificate": "$state/keys/certuser-cert.pub" }
  }
}
EOF
    cat >"$state/env.sh" <<EOF
GOLDCREST_SSHD_STATE=$state
GOLDCREST_SSHD_STOCK_PORT=$stock_port
GOLDCREST_SSHD_TIGHT_PORT=$tight_port
GOLDCREST_SSHD_NOSFTP_PORT=$nosftp_port
GOLDCREST_SSHD_SLURM24_PORT=$slurm24_port
GOLDCREST_SSHD_SLURM26_PORT=$slurm26_port
GOLDCREST_SSHD_CA_PORT=$ca_port
GOLDCREST_CLOSED_PORT=$closed_port
GOLDCREST_SILENT_PORT=$silent_port
EOF
}

main "$@"
