#!/usr/bin/env bash
# Measures what the job mirror and the records of submissions are to be good for, and prints a table (Markdown).
#
#   mirror.sh [--jobs N] [--watchers N] [--submissions N] [--seconds N]
#
#   list       the caller's list of 200 jobs, out of the mirror, by 8 clients: at least 10,000 requests/s, p50 under 1 ms
#   long list  N jobs (10,000) in one list: under 100 ms, and under 100 MiB in memory
#   watchers   N clients (9,990) that read the events of jobs: under 200 MiB
#   keys       submissions with an Idempotency-Key beside those without: at most 10 % slower
#
# It needs openssh, slurm and oidc of the environment, and starts a Goldcrest of its own. The jobs wait in a partition that is down, and are
# cancelled at the end. With $GOLDCREST_BIN a debug build the figures say nothing.
set -euo pipefail
# Nobody measures the jobs of this user.
own_user=otheruser
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=own.sh
. "$here/own.sh"
# shellcheck source=queue.sh
. "$here/queue.sh"

jobs=10000
watchers=9990
submissions=100
seconds=5
# shellcheck disable=SC2034  # for queue.sh
name=goldcrest-mirror
reader=

main() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) print_help "${BASH_SOURCE[0]}" && exit ;;
            --jobs) jobs=$2 ;;
            --watchers) watchers=$2 ;;
            --submissions) submissions=$2 ;;
            --seconds) seconds=$2 ;;
            *) die "mirror.sh does not know $1: see --help" ;;
        esac
        shift 2
    done
    [ "$(id -u)" = 0 ] || die "the jobs are submitted as $user: run this as root"
    apt_install wrk curl
    own_command_timeout=60 own_requests_per_user=20000 own_prepare "$(ssh_port stock)"
    trap finish EXIT
    echo "| measured | figures | wanted |"
    echo "|---|---|---|"
    measure list_of_200
    measure long_list
    measure many_watchers
    measure keys
}

# measure FUNCTION: with a process of its own, so that none has the memory of the one before.
measure() {
    own_launch
    TOKEN=$(token)
    printf 'wrk.headers["Authorization"] = "Bearer %s"\n' "$TOKEN" >"$own_folder/token.lua"
    "$1"
    [ -z "$reader" ] || kill "$reader" 2>/dev/null || true
    reader=
    own_end
}

queued() { as_user squeue --noheader --user="$user" --name=$name | wc -l; }

# submit_up_to COUNT
submit_up_to() {
    local absent=$(($1 - $(queued)))
    [ $absent -gt 0 ] || return 0
    queue_jobs "$absent"
}

# Somebody reads events, so that the jobs are observed; then a list comes out of the mirror.
watch_jobs() {
    ask -N -o /dev/null "$own_url/compute/bench/jobs/events" &
    reader=$!
    sleep 7
}

list_of_200() {
    submit_up_to 200
    watch_jobs
    local result
    result=$(wrk --threads 1 --connections 8 --duration "${seconds}s" --latency --script "$own_folder/token.lua" "$own_url/compute/bench/jobs")
    ! grep -q 'Non-2xx' <<<"$result" || die "some lists failed: $result"
    echo "| list of $(queued) jobs | $(awk '/Requests\/sec/ { print $2 }' <<<"$result") requests/s," \
        "p50 $(awk '$1 == "50%" { print $2 }' <<<"$result"), p99 $(awk '$1 == "99%" { print $2 }' <<<"$result") | 10,000 requests/s, p50 1 ms |"
}

long_list() {
    submit_up_to "$jobs"
    watch_jobs
    local before times=() listed
    before=$(resident "$own_pid")
    reset_peak "$own_pid"
    for _ in 1 2 3 4 5 6; do
        times+=("$(ask -o "$own_folder/answer" -w '%{time_total}' "$own_url/compute/bench/jobs")")
        # Not all out of one reading.
        sleep 2.3
    done
    listed=$(grep -o '"jobId"' "$own_folder/answer" | wc -l)
    echo "| list of $listed jobs, $(calculate "$(stat -c %s "$own_folder/answer") / 1e6" %.1f) MB |" \
        "median $(calculate "1000 * $(median "${times[@]}")" %.0f) ms, the slowest $(calculate "1000 * $(printf '%s\n' "${times[@]}" | sort -g | tail -1)" %.0f) ms," \
        "at most $(peak_of "$own_pid") MiB ($before before) | 100 ms, 100 MiB |"
}

many_watchers() {
    local before
    ask -o /dev/null "$own_url/compute/bench/jobs?name=none"
    before=$(resident "$own_pid")
    reset_peak "$own_pid"
    ulimit -n $((watchers + 200)) || die "no process here may open $watchers connections"
    python3 - "$own_port" "$watchers" "$own_folder/token.lua" <<'PYTHON'
import asyncio, re, sys

port, count = int(sys.argv[1]), int(sys.argv[2])
token = re.search(r"Bearer ([^\"]+)", open(sys.argv[3]).read()).group(1)
request = f"GET /compute/bench/jobs/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

async def watch(limit):
    async with limit:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await reader.readuntil(b"retry: ")
        return writer

async def main():
    limit = asyncio.Semaphore(100)
    held = await asyncio.gather(*(watch(limit) for _ in range(count)))
    # Heartbeats come, and the jobs are listed.
    await asyncio.sleep(20)
    for writer in held:
        writer.close()

asyncio.run(main())
PYTHON
    echo "| $watchers watchers | at most $(peak_of "$own_pid") MiB ($before before) | 200 MiB |"
}

# One after the other, with and without a key in turns.
keys() {
    local with=() without=() number ratio
    # The connection is opened, and the folder made.
    submit_one -H 'Idempotency-Key: first' >/dev/null
    submit_one >/dev/null
    for number in $(seq "$submissions"); do
        with+=("$(submit_one -H "Idempotency-Key: $RANDOM-$RANDOM-$RANDOM-$number")")
        without+=("$(submit_one)")
    done
    ratio=$(calculate "$(median "${with[@]}") / $(median "${without[@]}")" %.2f)
    echo "| $submissions submissions with a key, $submissions without | median $(calculate "1000 * $(median "${with[@]}")" %.1f) ms and" \
        "$(calculate "1000 * $(median "${without[@]}")" %.1f) ms: $ratio | 1.10 |"
}

submit_one() {
    local job="{\"job\": {\"name\": \"$name\", \"partition\": \"closed\", \"workingDirectory\": \"/home/$user\", \"standardOutput\": \"/dev/null\", \"script\": \"#!/bin/sh\\ntrue\\n\"}}"
    ask -o /dev/null -w '%{time_total}\n' -H 'Content-Type: application/json' -d "$job" "$@" "$own_url/compute/bench/jobs"
}

main "$@"
