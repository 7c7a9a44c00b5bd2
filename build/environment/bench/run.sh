#!/usr/bin/env bash
# Measures the live environment's Goldcrest beside the same work without it, and prints tables (Markdown): `run.sh --help`.
#
# operations.sh has what is asked for, floors.sh what bounds it, tables.sh the tables, request.lua the load of one cell.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=../sections.sh
. "$here/../sections.sh"
# shellcheck source=operations.sh
. "$here/operations.sh"
# shellcheck source=floors.sh
. "$here/floors.sh"
# shellcheck source=tables.sh
. "$here/tables.sh"

help() {
    cat <<EOF
Measures Goldcrest against the live environment's sshd and Slurm, beside the same work without it, and prints Markdown.

    cargo build --release
    GOLDCREST_BIN=\$PWD/target/release/goldcrest build/environment/up.sh openssh slurm openfga oidc goldcrest
    build/environment/bench/run.sh --seconds 1 --clients "1 8" >table.md      a first look, in two minutes
    build/environment/bench/run.sh >table.md                                  everything, in ten

  --system NAME          the system that is used (slurm)
  --seconds N            the longest time of a cell, 1 to 60 (5); one of submissions ends after 100 jobs, and waits for those before
  --clients "N ..."      connections that ask at the same time, each again as soon as it has its answer (1 8 32 64)
  --operations "NAME ..."  of: $all_operations
  --no-floors            only Goldcrest; needs no cargo
  --peer URL             puts the same load on another server of this machine, in turns with Goldcrest: FirecREST v2, say, or another
                         Goldcrest. Only what FirecREST v2 has is asked of it.
  --peer-token TOKEN     for the peer (or BENCH_PEER_TOKEN in the environment, which no process list shows); ours otherwise. It must
                         let its owner act as the login $user.
  --peer-system NAME     the same cluster, as the peer calls it (as --system)
  --peer-pid PID         the peer's process, for its CPU time

Each request does this, on a cluster over SSH:
  systems                nothing there: the list of systems
  stat, ls, head         one file; a folder of 20; the first 20 of 1000 lines
  batch                  100 times stat in one request
  find                   100 of 200 files in 20 folders, by name
  download, download-5m  a file of 1 MiB, of 5 MiB
  upload, upload-form    a file of 1 MiB, as the body (PUT) and as a form (POST, which FirecREST v2 has)
  jobs                   the caller's job list over and over, which is answered from memory for a second (read_freshness)
  jobs-uncached          the same, each time by another name, so that Slurm is asked for all of it each time; no job is called so, and
                         the answer is empty. The peer is asked for the whole list: FirecREST remembers none.
  job                    one waiting task of an array of $held_tasks, each time another, so that Slurm is asked each time; of the peer the array
  submit                 a job that does nothing, and runs

How to read it:
  requests/s, p50, p99   of wrk, which shares the cores with everything else; only answers without a failure count as requests/s
  CPU                    from /proc: of Goldcrest, and of the sshd with everything below it (shells, sftp-server, squeue). It depends little
                         on what else the machine does. Slurm's own daemons are in no column.
  floors                 the same work one at a time without Goldcrest: benches/floors.rs on an open SSH connection, OpenSSH's sftp and scp
                         over an open connection, and Slurm's commands in a shell on the machine. "requests/s ÷ floor's": at one client, 0.5
                         means that a request takes twice as long as its floor; at more, how many times one after the other.
                         "CPU ÷ floor's": Goldcrest and sshd, by the floor's client and sshd.
The exit status is 1 when any request failed.
EOF
}

system=slurm
seconds=5
clients='1 8 32 64'
operations=$all_operations
with_floors=yes
work=''
user=fireuser
folder=/home/$user/goldcrest-bench
# Of the servers that are put under load, `goldcrest` and perhaps `peer`.
declare -A base system_of token_of pid_of

main() {
    read_options "$@"
    [ "$(id -u)" = 0 ] || die "the benchmark acts as several users, and so must run as root"
    apt_install wrk curl
    base[goldcrest]=$(coordinate goldcrest url)
    on_loopback "${base[goldcrest]}"
    pid_of[goldcrest]=$(cat "$(coordinate goldcrest pidFile)")
    case $(coordinate goldcrest binary) in */debug/*) say "WARNING: this Goldcrest is a debug build: its figures say nothing" ;; esac
    find_cluster
    [ "$with_floors" = no ] || build_floors
    work=$(mktemp -d)
    trap clean EXIT
    prepare
    case " $operations " in *' job '*) hold_tasks ;; esac
    [ "$with_floors" = no ] || open_floors

    print_heading
    print_operations_head
    local operation
    for operation in $operations; do measure "$operation"; done
    print_circumstances
    [ "$with_floors" = no ] || print_floors
    [ -z "${base[peer]:-}" ] || print_peer
    print_failures
}

read_options() {
    local number name
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) help && exit ;;
            --no-floors) with_floors=no && shift && continue ;;
        esac
        [ $# -ge 2 ] || die "$1 needs a value, or is not known: see --help"
        case $1 in
            --system) system=$2 ;;
            --seconds) seconds=$2 ;;
            --clients) clients=$2 ;;
            --operations) operations=$2 ;;
            --peer) base[peer]=${2%/} ;;
            --peer-token) BENCH_PEER_TOKEN=$2 ;;
            --peer-system) system_of[peer]=$2 ;;
            --peer-pid) pid_of[peer]=$2 ;;
            *) die "$1 is not known: see --help" ;;
        esac
        shift 2
    done
    within "$seconds" 60 || die "--seconds takes a number from 1 to 60"
    for number in $clients; do within "$number" 256 || die "--clients takes numbers from 1 to 256"; done
    if [ -z "$clients" ] || [ -z "$operations" ]; then die "there is nothing to do"; fi
    system_of[goldcrest]=$system
    for name in $operations; do plan goldcrest "$name"; done
    pid_of[peer]=${pid_of[peer]:-} system_of[peer]=${system_of[peer]:-$system}
    [ -z "${base[peer]:-}" ] || on_loopback "${base[peer]}"
}

# within TEXT MOST: whether it is a number from 1 to that.
within() { [[ $1 =~ ^[1-9][0-9]{0,3}$ ]] && [ "$1" -le "$2" ]; }

# Refuses to put any other machine under load.
on_loopback() {
    [[ $1 =~ ^http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$ ]] ||
        die "only a server on this machine is put under load, by plain HTTP, not $1"
}

# The sshd behind the system, and where its users find Slurm.
find_cluster() {
    port=$(awk -v name="$system" '$1 == "-" && $2 == "name:" { ours = $3 == name } ours && $1 == "port:" { print $2; exit }' "$(coordinate goldcrest config)")
    [ -n "$port" ] || die "Goldcrest has no system $system"
    local sshd
    sshd=$(grep -lx "ListenAddress 127\.0\.0\.1:$port" "$state_root"/openssh/*/sshd_config) || die "no sshd of this environment is behind $system"
    sshd=${sshd%/*}
    server=$(cat "$sshd/sshd.pid")
    cluster_path=$(sed -n 's/^SetEnv PATH=//p' "$sshd/sshd_config")
}

# as_user COMMAND...: on the machine, with the environment of a login.
as_user() { setpriv --reuid "$user" --regid "$user" --init-groups env -i "HOME=/home/$user" "PATH=$cluster_path" "$@"; }

# A token lives for minutes, so that each operation has a new one.
token() {
    curl -fsS --data-urlencode "client_secret@$state_root/oidc/$user.secret" -d grant_type=client_credentials -d "client_id=$user" \
        "$(coordinate oidc tokenUrl)" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'
}

# measure OPERATION: its floors, then its cells, on Goldcrest and on the peer in turns. Who is first changes from cell to cell.
measure() {
    local count target floor targets=(goldcrest)
    token_of[goldcrest]=$(token)
    token_of[peer]=${BENCH_PEER_TOKEN:-${token_of[goldcrest]}}
    if [ "$with_floors" = yes ]; then
        for floor in $(floors_of "$1"); do floor "$floor"; done
    fi
    try goldcrest "$1" || die "$refusal"
    if [ -n "${base[peer]:-}" ] && [ "$firecrest" = yes ]; then
        if try peer "$1"; then targets+=(peer); else left_out+=("$refusal"); fi
        case $refusal in *' with 401:'*) die "$refusal (see --peer-token)" ;; esac
    fi
    for count in $clients; do
        for target in "${targets[@]}"; do
            say "$target: $1, $count clients"
            cell "$target" "$1" "$count"
        done
        print_operation "$1" "$count"
        [ ${#targets[@]} = 1 ] || targets=("${targets[1]}" "${targets[0]}")
    done
}

clean() {
    [ "$with_floors" = no ] || close_floors
    [ "$held_array" = 0 ] || as_user scancel "$held_array" || true
    rm -rf "$folder" "$work"
}

main "$@"
