#!/usr/bin/env bash
# Measures how long Goldcrest takes to start, and what it holds in memory with many clients. Prints tables (Markdown).
#
#   footprint.sh [--starts N] [--clients N] [--seconds N]
#
# It needs openssh and oidc of the environment, and starts a Goldcrest of its own: anew for each row, so that none has the memory
# of the one before. Memory is what the process holds at most during the row (VmHWM), and what it holds five seconds after it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=own.sh
. "$here/own.sh"

starts=20
clients=64
seconds=5
folder=/dev/shm/goldcrest-bench

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) print_help "${BASH_SOURCE[0]}" && exit ;;
            --starts) starts=$2 ;;
            --clients) clients=$2 ;;
            --seconds) seconds=$2 ;;
            *) die "footprint.sh does not know $1: see --help" ;;
        esac
        shift 2
    done
    [ "$(id -u)" = 0 ] || die "the files belong to $user: run this as root"
    apt_install wrk curl
    own_prepare "$(ssh_port stock)"
    trap finish EXIT
    install -d -o "$user" -g "$user" "$folder"
    head -c 1M /dev/urandom >"$folder/mebibyte"
    head -c 64M /dev/urandom >"$folder/large"
    chown -R "$user:$user" "$folder"
    TOKEN=$(token)
    # No process list shows what stands in a file.
    printf 'wrk.headers["Authorization"] = "Bearer %s"\n' "$TOKEN" >"$own_folder/token.lua"

    cold_starts
    echo
    echo "| $clients clients | RSS before MiB | at most | 5 s after | failed |"
    echo "|---|---:|---:|---:|---:|"
    row 'stat' by_wrk "stat?path=$folder/large"
    row 'ls of the folder' by_wrk "ls?path=$folder"
    row 'download of 1 MiB' by_wrk "download?path=$folder/mebibyte"
    row 'download of 64 MiB, as fast as it goes' by_curl -r 0- -o /dev/null "download?path=$folder/large"
    row "download of 64 MiB, clients that take 1 MB/s, for $seconds s" by_curl -r 0- -o /dev/null --limit-rate 1M --max-time "$seconds" "download?path=$folder/large"
    row 'upload of 1 MiB' by_curl -T "$folder/mebibyte" 'upload?path=COPY'
    row 'upload of 64 MiB, as fast as it goes' by_curl -T "$folder/large" 'upload?path=COPY'
}

finish() {
    own_stop
    rm -rf "$folder"
}

# From the exec to the first answer, with the program in the page cache and without.
cold_starts() {
    local number times
    mkfifo "$own_folder/pause"
    exec 9<>"$own_folder/pause"
    echo "| start | first answer (\`/status/liveness/\`) ms, median of $starts | slowest |"
    echo "|---|---:|---:|"
    for cache in warm cold; do
        times=()
        for number in $(seq "$starts"); do
            [ $cache = warm ] || dd if="$own_binary" iflag=nocache count=0 status=none
            times+=("$(start_once)")
        done
        echo "| $cache page cache | $(median "${times[@]}") | $(printf '%s\n' "${times[@]}" | sort -g | tail -1) |"
    done
    exec 9<&-
}

start_once() {
    local begun=$EPOCHREALTIME pid status
    YAML_CONFIG_FILE=$own_folder/goldcrest.yaml "$own_binary" serve </dev/null >/dev/null 2>&1 9>&- &
    pid=$!
    until { exec 8<>"/dev/tcp/127.0.0.1/$own_port"; } 2>/dev/null; do
        # A pause of a millisecond without a process for it.
        read -rt 0.001 -u 9 || true
    done
    printf 'GET /status/liveness/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&8
    read -r status <&8
    calculate "1000 * ($EPOCHREALTIME - $begun)" %.1f
    exec 8<&-
    kill $pid
    wait $pid || true
    case $status in *' 200 '*) ;; *) die "goldcrest answered $status" ;; esac
}

# row NAME COMMAND...: the command prints how many requests failed.
row() {
    local name=$1 before most failed
    shift
    own_launch
    ask -o /dev/null "$own_url/filesystem/bench/ops/stat?path=$folder"
    before=$(resident "$own_pid")
    reset_peak "$own_pid"
    failed=$("$@")
    most=$(peak_of "$own_pid")
    sleep 5
    echo "| $name | $before | $most | $(resident "$own_pid") | $failed |"
    own_end
}

by_wrk() {
    wrk --threads 1 --connections "$clients" --duration "${seconds}s" --timeout 30s --script "$own_folder/token.lua" "$own_url/filesystem/bench/ops/$1" |
        awk '/Non-2xx/ { failed += $NF } /Socket errors/ { gsub(",", ""); failed += $4 + $6 + $8 + $10 } END { print failed + 0 }'
}

# by_curl OPTION... OPERATION?path=PATH, once for each client; COPY becomes a file of the client's own.
by_curl() {
    local number pids=() failed=0 status
    for number in $(seq "$clients"); do
        ask "${@:1:$#-1}" "$own_url/filesystem/bench/ops/${!#/COPY/$folder/copy-$number}" 2>/dev/null &
        pids+=($!)
    done
    for number in "${pids[@]}"; do
        status=0
        wait "$number" || status=$?
        # 28: the time that it was given is over.
        [ $status = 0 ] || [ $status = 28 ] || failed=$((failed + 1))
    done
    rm -f "$folder"/copy-*
    echo "$failed"
}

main "$@"
