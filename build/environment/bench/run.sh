#!/usr/bin/env bash
# Puts a load on the live environment's Goldcrest and prints a table (Markdown).
#
#   run.sh [--system NAME] [--seconds N] [--clients "1 8 32 64"] [--operations "systems stat ..."]
#
# Each cell ends after N seconds or a fixed number of requests, whichever comes first, and only ever asks this machine.
# CPU time is that of the Goldcrest process and of the cluster's sshd with everything below it, from /proc; RSS is
# Goldcrest's after the cell. A second table has the floors: the same work on the same cluster without Goldcrest.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

system=slurm
seconds=5
clients='1 8 32 64'
operations='systems stat ls head download jobs submit'
user=fireuser
folder=/home/$user/goldcrest-bench

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            --system) system=$2 ;;
            --seconds) seconds=$2 ;;
            --clients) clients=$2 ;;
            --operations) operations=$2 ;;
            *) die "run.sh does not know $1" ;;
        esac
        shift 2
    done
    apt_install wrk curl
    url=$(coordinate goldcrest url)
    case $url in http://127.0.0.1:*) ;; *) die "only a Goldcrest on loopback is put under load, not $url" ;; esac
    proxy=$(cat "$(coordinate goldcrest pidFile)")
    server=$(cat "$state_root/openssh/$(instance)/sshd.pid")
    BENCH_TOKEN=$(token)
    export BENCH_TOKEN
    trap 'rm -rf "$folder"' EXIT
    prepare

    local operation count
    echo "| operation | clients | requests | failed | requests/s | p50 ms | p99 ms | goldcrest CPU ms/1000 | sshd CPU ms/1000 | RSS MiB |"
    echo "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for operation in $operations; do
        for count in $clients; do cell "$operation" "$count"; done
    done
    floors
}

coordinate() { sed -n "s/^ *\"$2\": \"\(.*\)\",\{0,1\}\$/\1/p" "$state_root/$1/env.json" | head -1; }

# The sshd behind the system.
instance() {
    case $system in
        slurm) echo stock ;;
        slurm-*) echo "${system#slurm-}" ;;
        *) echo "$system" ;;
    esac
}

token() {
    curl -fsS --data-urlencode "client_secret@$state_root/oidc/$user.secret" -d grant_type=client_credentials -d "client_id=$user" \
        "$(coordinate oidc tokenUrl)" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'
}

prepare() {
    local number
    rm -rf "$folder"
    install -d -o "$user" -g "$user" "$folder"
    mkdir -p "$folder/twenty"
    for number in $(seq 20); do echo "file $number" >"$folder/twenty/file-$number.txt"; done
    head -c 1048576 /dev/urandom >"$folder/mebibyte"
    seq 1000 >"$folder/lines.txt"
    chown -R "$user:$user" "$folder"
}

# cell OPERATION CLIENTS
cell() {
    local method=GET path limit=20000 body='' result proxy_before proxy_after server_before server_after
    case $1 in
        systems) path=/status/systems ;;
        stat) path="/filesystem/$system/ops/stat?path=$folder/lines.txt" ;;
        ls) path="/filesystem/$system/ops/ls?path=$folder/twenty" ;;
        head) path="/filesystem/$system/ops/head?path=$folder/lines.txt&lines=20" ;;
        download)
            path="/filesystem/$system/ops/download?path=$folder/mebibyte"
            limit=2000
            ;;
        jobs) path="/compute/$system/jobs" ;;
        submit)
            method=POST
            path="/compute/$system/jobs"
            body="{\"job\":{\"name\":\"bench\",\"workingDirectory\":\"$folder\",\"script\":\"#!/bin/sh\\n#SBATCH --output=/dev/null\\ntrue\\n\"}}"
            # Every one of them is a real job.
            limit=100
            ;;
        *) die "unknown operation $1" ;;
    esac
    proxy_before=$(cpu_of "$proxy")
    server_before=$(cpu_of "$server")
    result=$(BENCH_METHOD=$method BENCH_BODY=$body BENCH_LIMIT=$limit \
        wrk --threads 1 --connections "$2" --duration "${seconds}s" --timeout 30s --script "$here/request.lua" "$url$path" | sed -n 's/^RESULT //p')
    proxy_after=$(cpu_of "$proxy")
    server_after=$(cpu_of "$server")
    # shellcheck disable=SC2086  # the result's numbers are separate fields
    row "$1" "$2" $((proxy_after - proxy_before)) $((server_after - server_before)) "$(resident "$proxy")" $result
}

# row OPERATION CLIENTS PROXY_TICKS SERVER_TICKS RSS_KIB REQUESTS FAILED RATE P50 P99
row() {
    [ $# = 10 ] || die "wrk gave no result for $1 with $2 clients"
    awk -v operation="$1" -v clients="$2" -v proxy="$3" -v server="$4" -v rss="$5" -v requests="$6" -v failed="$7" -v rate="$8" \
        -v p50="$9" -v p99="${10}" -v hertz="$(getconf CLK_TCK)" 'BEGIN {
            each = requests > 0 ? 1000 * 1000 / hertz / requests : 0
            printf "| %s | %d | %d | %d | %s | %s | %s | %.0f | %.0f | %.1f |\n",
                operation, clients, requests, failed, rate, p50, p99, proxy * each, server * each, rss / 1024
        }'
}

# What the cluster needs for the same work when OpenSSH's own client asks, over a connection that is open already.
floors() {
    local port control
    port=$(sed -n 's/^ListenAddress 127\.0\.0\.1://p' "$state_root/openssh/$(instance)/sshd_config")
    control=$(mktemp -d)
    ssh_options=(-q -o "ControlPath=$control/socket" -o "UserKnownHostsFile=$state_root/openssh/known_hosts"
        -i "$state_root/openssh/keys/$user" -o IdentitiesOnly=yes)
    ssh "${ssh_options[@]}" -o ControlMaster=yes -o ControlPersist=60 -p "$port" "$user@127.0.0.1" true
    echo
    echo "| floor, one at a time | ms each | sshd CPU ms/1000 |"
    echo "|---|---:|---:|"
    floor 'exec of true' 100 ssh "${ssh_options[@]}" -p "$port" "$user@127.0.0.1" true
    floor 'exec of squeue' 50 ssh "${ssh_options[@]}" -p "$port" "$user@127.0.0.1" squeue --me
    seq 2000 | sed "s|.*|ls -l $folder/lines.txt|" >"$control/batch"
    # One run, so its figures are those of 2,000 requests.
    floor '2,000 times ls -l of a file in one sftp' 1 sftp "${ssh_options[@]}" -P "$port" -b "$control/batch" "$user@127.0.0.1"
    ssh "${ssh_options[@]}" -O exit -p "$port" "$user@127.0.0.1"
    rm -rf "$control"
}

# floor NAME TIMES COMMAND...
floor() {
    local name=$1 times=$2 number start end before after
    shift 2
    before=$(cpu_of "$server")
    start=$(date +%s%N)
    for number in $(seq "$times"); do "$@" >/dev/null; done
    end=$(date +%s%N)
    after=$(cpu_of "$server")
    awk -v name="$name" -v times="$times" -v nanoseconds=$((end - start)) -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" \
        'BEGIN { printf "| %s | %.2f | %.0f |\n", name, nanoseconds / times / 1e6, ticks * 1e6 / hertz / times }'
}

# The CPU time in clock ticks that a process and everything below it has used, those that have ended included (proc(5), stat).
cpu_of() {
    local pid
    for pid in $(process_tree "$1"); do cat "/proc/$pid/stat" 2>/dev/null || true; done |
        awk '{ sub(/.*\) /, ""); ticks += $12 + $13 + $14 + $15 } END { printf "%d", ticks }'
}

resident() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

main "$@"
