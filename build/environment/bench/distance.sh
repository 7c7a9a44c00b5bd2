#!/usr/bin/env bash
# Counts the round trips between Goldcrest and a cluster's sshd that each operation waits for, and prints a table (Markdown).
#
#   distance.sh [--delay MS] [--rounds N]
#
# Between the two is a proxy that adds MS (100) to each round trip. An operation's round trips are what it takes longer by that line than by one
# without a delay, in units of the delay: the median of N (5) requests by each. Lanes are warm but in the last row, which is the
# first request after a start. The wanted figures are the least that the protocol needs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=own.sh
. "$here/own.sh"

delay=100
rounds=5
proxy=
declare -A seconds_at

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) print_help "${BASH_SOURCE[0]}" && exit ;;
            --delay) delay=$2 ;;
            --rounds) rounds=$2 ;;
            *) die "distance.sh does not know $1: see --help" ;;
        esac
        shift 2
    done
    trap finish EXIT
    files=$(as_user mktemp -d /dev/shm/goldcrest-distance.XXXXXX)
    prepare
    own_start "$(ssh_port stock)"
    measure_all near
    own_stop
    start_proxy
    own_start "$port"
    measure_all far
    report
}

finish() {
    own_stop
    [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true
    rm -rf "${files:-}"
}

as_user() { setpriv --reuid "$user" --regid "$user" --init-groups "$@"; }

prepare() {
    mkdir "$files/twenty"
    touch "$files/twenty/"{1..20}
    seq 1000 >"$files/lines"
    head -c 4096 /dev/urandom >"$files/4k"
    head -c 1048576 /dev/urandom >"$files/1m"
    head -c 5242880 /dev/urandom >"$files/5m"
    printf '{"job":{"name":"distance","workingDirectory":"%s","script":"#!/bin/sh\\ntrue\\n"}}' "$files" >"$files/job"
    chown -R "$user:$user" "$files"
    chmod 755 "$files"
}

start_proxy() {
    local line=$here/delay.py
    coproc PROXY { exec python3 "$line" --to "$(ssh_port stock)" --delay "$delay"; }
    # shellcheck disable=SC2153  # set by coproc
    proxy=$PROXY_PID
    read -r port <&"${PROXY[0]}"
}

# measure_all WHERE: the median time of each operation in seconds, into `seconds_at` under "WHERE/OPERATION".
measure_all() {
    local operation
    TOKEN=$(token)
    seconds_at[$1/first]=$(took first)
    for operation in stat ls head tail view download-4k download-1m upload-4k upload-5m mkdir chmod checksum userinfo job submit; do
        seconds_at[$1/$operation]=$(times "$operation")
    done
}

times() {
    local each=()
    took "$1" >/dev/null
    for _ in $(seq "$rounds"); do each+=("$(took "$1")"); done
    median "${each[@]}"
}

number=0

# took OPERATION: its time in seconds.
took() {
    local ops=$own_url/filesystem/bench/ops jobs=$own_url/compute/bench/jobs
    number=$((RANDOM * 32768 + RANDOM))
    case $1 in
        stat | first) timed "$ops/stat?path=$files/lines" ;;
        ls) timed "$ops/ls?path=$files/twenty" ;;
        head | tail) timed "$ops/$1?path=$files/lines&lines=20" ;;
        view) timed "$ops/view?path=$files/lines" ;;
        download-*) timed "$ops/download?path=$files/${1#download-}" ;;
        upload-*) timed -T "$files/${1#upload-}" "$ops/upload?path=$files/up-$number" ;;
        mkdir) timed_json "$ops/mkdir" "{\"path\":\"$files/new-$number\"}" ;;
        chmod) timed_json -X PUT "$ops/chmod" "{\"path\":\"$files/lines\",\"mode\":\"644\"}" ;;
        checksum) timed "$ops/checksum?path=$files/4k" ;;
        userinfo) timed "$own_url/status/bench/userinfo" ;;
        # Each time another one, since answers are kept for a moment.
        job) timed "$jobs/$number" ;;
        submit) timed -H 'content-type: application/json' --data-binary "@$files/job" "$jobs" ;;
    esac
}

timed() {
    local answer
    answer=$(curl -sS --noproxy '*' --config <(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN") -o "$own_folder/answer" -w '%{http_code} %{time_total}' "$@")
    case $answer in
        # No job has such an id.
        2??\ * | 404\ *) echo "${answer#* }" ;;
        *) die "answered with $answer: $(head -c 500 "$own_folder/answer")" ;;
    esac
}

timed_json() { timed -H 'content-type: application/json' --data-binary "${!#}" "${@:1:$#-1}"; }

report() {
    local row operation wanted name
    echo "| operation | round trips | least that the protocol needs |"
    echo "|---|---:|---:|"
    while IFS='|' read -r operation wanted name; do
        row=$(calculate "(${seconds_at[far/$operation]} - ${seconds_at[near/$operation]}) * 1000 / $delay" %.1f)
        echo "| $name | $row | $wanted |"
    done <<'ROWS'
stat|1|stat
ls|2|ls of 20
head|2|head
tail|2|tail
view|2|view
download-4k|2|download of 4 KiB
download-1m|2|download of 1 MiB
upload-4k|3|upload of 4 KiB
upload-5m|3 and the window|upload of 5 MiB
mkdir|1|mkdir
chmod|1|chmod
checksum|2|checksum of 4 KiB
userinfo|1|userinfo
job|1|job
submit|1|submit
first|6|a user's first request
ROWS
}

main "$@"
