#!/usr/bin/env bash
# Moves a large file each way through Goldcrest and by OpenSSH's `sftp`, in turns, and prints a table (Markdown).
#
#   transfer.sh [--size MIB] [--rounds N] [--delay MS] [--folder FOLDER] [--cipher NAME]
#
# It needs openssh and oidc of the environment, and starts a Goldcrest of its own. The file lies in FOLDER (/dev/shm by default,
# which takes disks out of it), and so does its copy, so that twice the size must fit. Each copy is compared with the file.
# With --delay, both go through a proxy that adds so much to a round trip, and `sftp` keeps 256 requests in flight.
# Connections are open before the time is taken: of `sftp`, the time that it takes for nothing is subtracted.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=own.sh
. "$here/own.sh"

size=1024
rounds=3
delay=
folder=/dev/shm
cipher=aes128-gcm@openssh.com
proxy_pid=

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) print_help "${BASH_SOURCE[0]}" && exit ;;
            --size) size=$2 ;;
            --rounds) rounds=$2 ;;
            --delay) delay=$2 ;;
            --folder) folder=$2 ;;
            --cipher) cipher=$2 ;;
            *) die "transfer.sh does not know $1: see --help" ;;
        esac
        shift 2
    done
    [ "$(id -u)" = 0 ] || die "the file belongs to $user: run this as root"
    # shellcheck disable=SC2034  # own.sh reads it
    own_scratch=$folder
    folder=$folder/goldcrest-bench
    [ "$(df --output=avail -m "$(dirname "$folder")" | tail -1)" -gt $((2 * size + 64)) ] || die "twice $size MiB do not fit into $folder"
    port=$(ssh_port stock)
    trap finish EXIT
    [ -z "$delay" ] || start_proxy
    own_start "$port"
    trap finish EXIT
    prepare

    local nothing round way
    nothing=$(median "$(seconds_of sftp_batch pwd)" "$(seconds_of sftp_batch pwd)" "$(seconds_of sftp_batch pwd)")
    declare -A speeds cpu
    peak=0
    for round in $(seq "$rounds"); do
        for way in down up; do
            # Whoever is second finds warmer caches.
            if [ $((round % 2)) = 1 ]; then
                by_goldcrest $way
                by_sftp $way "$nothing"
            else
                by_sftp $way "$nothing"
                by_goldcrest $way
            fi
        done
    done
    report
}

finish() {
    own_stop
    [ -z "$proxy_pid" ] || kill "$proxy_pid" 2>/dev/null || true
    rm -rf "$folder"
}

start_proxy() {
    say "the proxy moves $(python3 "$here/delay.py" --check --delay "$delay") MB/s by itself with a delay of $delay ms"
    local line=$here/delay.py
    coproc PROXY { exec python3 "$line" --to "$port" --delay "$delay"; }
    # shellcheck disable=SC2153  # bash names it after the coprocess
    proxy_pid=$PROXY_PID
    read -r port <&"${PROXY[0]}"
}

prepare() {
    rm -rf "$folder"
    install -d -o "$user" -g "$user" "$folder"
    say "making a file of $size MiB in $folder"
    openssl enc -aes-128-ctr -nosalt -pass pass:goldcrest -md sha256 </dev/zero 2>/dev/null | head -c $((size * 1048576)) >"$folder/file" || true
    [ "$(stat -c %s "$folder/file")" = $((size * 1048576)) ] || die "the file could not be made"
    chown "$user:$user" "$folder/file"
    TOKEN=$(token)
    # A login, and a transfer's session, which waits for the next one.
    head -c 1048576 "$folder/file" >"$folder/warm"
    warm_up
}

warm_up() { ask -o /dev/null -r 0- "$own_url/filesystem/bench/ops/download?path=$folder/warm"; }

by_goldcrest() {
    local before took url=$own_url/filesystem/bench/ops
    # A token lives for minutes, and a large file may take as long.
    TOKEN=$(token)
    warm_up
    reset_peak "$own_pid"
    before=$(cpu_of "$own_pid")
    case $1 in
        down) took=$(seconds_of ask -r 0- -o "$folder/copy" "$url/download?path=$folder/file") ;;
        up) took=$(seconds_of ask -o /dev/null -T "$folder/file" "$url/upload?path=$folder/copy") ;;
    esac
    note goldcrest "$1" "$took" "$(calculate "$(cpu_of "$own_pid") - $before")"
    peak=$(printf '%s\n' "$peak" "$(peak_of "$own_pid")" | sort -g | tail -1)
}

# by_sftp WAY SECONDS_FOR_NOTHING
by_sftp() {
    local took used TIMEFORMAT='%U %S'
    exec 3>&1
    # shellcheck disable=SC2069  # the shell writes the times to standard error
    case $1 in
        down) used=$({ time took_by_sftp "get $folder/file $folder/copy" 2>&3; } 2>&1) ;;
        up) used=$({ time took_by_sftp "put $folder/file $folder/copy" 2>&3; } 2>&1) ;;
    esac
    exec 3>&-
    took=$(cat "$own_folder/took")
    note sftp "$1" "$(calculate "$took - $2" %.3f)" "$(calculate "${used/ / + }")"
}

took_by_sftp() { seconds_of sftp_batch "$1" >"$own_folder/took"; }

sftp_batch() {
    sftp -q ${delay:+-R 256} -c "$cipher" -o UserKnownHostsFile="$own_folder/known_hosts" -o IdentitiesOnly=yes -o IPQoS=none \
        -i "$state_root/openssh/keys/$user" -P "$port" -b - "$user@127.0.0.1" <<<"$1"
}

# note BY WAY SECONDS CPU_SECONDS
note() {
    cmp -s "$folder/file" "$folder/copy" || die "$1 $2: the copy is not the file"
    rm -f "$folder/copy"
    speeds[$1 $2]+=" $(calculate "$size * 1.048576 / $3" %.0f)"
    cpu[$1 $2]+=" $4"
}

report() {
    local way ours theirs
    echo "| $size MiB, $cipher${delay:+, $delay ms added} | Goldcrest MB/s | median | \`sftp${delay:+ -R 256}\` MB/s | median | ratio | CPU s, Goldcrest | CPU s, \`sftp\` |"
    echo "|---|---|---:|---|---:|---:|---:|---:|"
    for way in down up; do
        # shellcheck disable=SC2086  # the numbers are separate words
        {
            ours=$(median ${speeds[goldcrest $way]})
            theirs=$(median ${speeds[sftp $way]})
            echo "| $way |${speeds[goldcrest $way]} | $ours |${speeds[sftp $way]} | $theirs | $(calculate "$ours / $theirs") |" \
                "$(median ${cpu[goldcrest $way]}) | $(median ${cpu[sftp $way]}) |"
        }
    done
    echo
    echo "Peak RSS of Goldcrest: $peak MiB."
}

main "$@"
