# shellcheck shell=bash disable=SC2034,SC2154
# What the benchmark's operations are, and how one of them is put on a server. Source it; see run.sh.
#
# run.sh sets `folder`, `seconds`, `work`, `server`, and of the targets, which are `goldcrest` and perhaps `peer`: `base`, `system_of`,
# `token_of` and `pid_of`.

# What was found, by "target/operation/clients/figure", and what failed, in words.
declare -A measured
failures=()
# What the peer does not do at all.
left_out=()

# Slurm's jobs disturb what comes after them, so that submissions come last.
all_operations='systems stat ls head batch find download download-5m upload upload-form jobs jobs-uncached job submit'
# The number of the last request that had one.
last_number=0

# plan TARGET OPERATION: says in variables what is asked for. `firecrest` says whether FirecREST v2 has it.
plan() {
    method=GET body='' type=application/json limit=20000 modulo=1 firecrest=yes
    local files=/filesystem/${system_of[$1]}/ops jobs=/compute/${system_of[$1]}/jobs
    case $2 in
        systems) path=/status/systems ;;
        stat) path="$files/stat?path=$folder/lines.txt" ;;
        ls) path="$files/ls?path=$folder/twenty" ;;
        head) path="$files/head?path=$folder/lines.txt&lines=20" ;;
        batch) method=POST path=$files/batch body=$work/batch.json firecrest=no ;;
        find) path="$files/find?path=$folder/tree&name=*.txt" firecrest=no ;;
        download) path="$files/download?path=$folder/1m" limit=0 ;;
        download-5m) path="$files/download?path=$folder/5m" limit=0 ;;
        upload)
            method=PUT path="$files/upload?path=$folder/up/{n}/1m" modulo=$upload_folders limit=2000
            body=$folder/1m type=application/octet-stream firecrest=no
            ;;
        upload-form)
            method=POST path="$files/upload?path=$folder/up/{n}" modulo=$upload_folders limit=2000
            body=$work/form type='multipart/form-data; boundary=goldcrest-bench'
            ;;
        jobs) path=$jobs ;;
        # Answers about jobs are given again for a moment, by what was asked. No two of these ask for the same name, and none of the
        # names is passed on to Slurm, because it holds a space: each request is the whole squeue and the whole sacct. FirecREST would
        # pass the name on, and has no such memory: there it is the list without a name.
        jobs-uncached)
            path=$jobs modulo=1000000000
            if [ "$1" = goldcrest ]; then path+="?name=uncached%20{n}"; fi
            ;;
        # Another task in each request, so that none is answered from memory either. FirecREST has no such ids: there it is the
        # array, of which Slurm has one row too.
        job)
            path=$jobs/$held_array modulo=$held_tasks
            if [ "$1" = goldcrest ]; then path+="_{n}"; fi
            ;;
        # Every one of them is a real job.
        submit) method=POST path=$jobs body=$work/job.json limit=100 ;;
        *) die "no operation is called $2: there are $all_operations" ;;
    esac
}

upload_folders=128
held_tasks=1000
held_array=0

# The files that the operations read, on the cluster and here.
prepare() {
    local number
    rm -rf "$folder"
    mkdir -p "$folder/twenty" "$folder/tree" "$folder/up"
    for number in $(seq 20); do
        echo "file $number" >"$folder/twenty/file-$number.txt"
        mkdir "$folder/tree/$number"
        touch "$folder/tree/$number/"{1..5}.txt "$folder/tree/$number/"{1..5}.dat
    done
    mkdir "$folder/up/"{0..127}
    seq 1000 >"$folder/lines.txt"
    head -c 1048576 /dev/urandom >"$folder/1m"
    head -c 5242880 /dev/urandom >"$folder/5m"
    chown -R "$user:$user" "$folder"

    seq 100 | awk -v path="$folder/lines.txt" 'BEGIN { printf "{\"operations\":[" }
        { printf "%s{\"op\":\"stat\",\"path\":\"%s\"}", (NR > 1 ? "," : ""), path } END { print "]}" }' >"$work/batch.json"
    printf '{"job":{"name":"bench","workingDirectory":"%s","script":"#!/bin/sh\\n#SBATCH --output=/dev/null\\ntrue\\n"}}' "$folder" \
        >"$work/job.json"
    {
        printf -- '--goldcrest-bench\r\nContent-Disposition: form-data; name="file"; filename="1m"\r\n'
        printf 'Content-Type: application/octet-stream\r\n\r\n'
        cat "$folder/1m"
        printf '\r\n--goldcrest-bench--\r\n'
    } >"$work/form"
}

# Tasks that wait until they are cancelled: to Slurm one job, of which one row stands in the list.
hold_tasks() {
    held_array=$(as_user sbatch --parsable --hold --array="0-$((held_tasks - 1))" --job-name=bench-held --chdir="$folder" \
        --output=/dev/null --wrap=true)
}

# Until the jobs of the submissions before have ended.
settle() { wait_for 180 no_jobs_of_ours || die "jobs of the benchmark are still there after three minutes"; }

no_jobs_of_ours() { ! as_user squeue --me --noheader --name=bench,wrap --states=PENDING,RUNNING,COMPLETING | grep . >/dev/null; }

# try TARGET OPERATION: one request, before a load of them; it logs in and opens sessions too. Where it is refused, `refusal` says how.
try() {
    plan "$1" "$2"
    local status options=(-sS --globoff --max-time 60 -o "$work/answer" -w '%{http_code}' -X "$method" --config -)
    [ -z "$body" ] || options+=(-H "Content-Type: $type" --data-binary "@$body")
    refusal=''
    : >"$work/answer"
    # The token goes in by standard input, so that no process list shows it.
    status=$(printf 'header = "Authorization: Bearer %s"\n' "${token_of[$1]}" |
        curl "${options[@]}" "${base[$1]}${path//'{n}'/0}") || status="no answer"
    case $status in 2??) return ;; esac
    refusal="$1 answered $2 with $status: $(head -c 300 "$work/answer" | tr -dc '[:print:]')"
    return 1
}

# Until what the load before left behind has ended: a server goes on with requests whose client is gone.
calm() { wait_for 60 is_calm || say "WARNING: the servers do not come to rest; other work is in the next figures"; }

# Whether sshd and the servers use less than a tenth of a core.
is_calm() {
    local before
    before=$(cpu_of_all)
    sleep 0.3
    [ $(($(cpu_of_all) - before)) -le $((3 * $(getconf CLK_TCK) / 100)) ]
}

cpu_of_all() {
    local pid total=0
    for pid in "$server" "${pid_of[@]}"; do
        if [ -n "$pid" ]; then total=$((total + $(cpu_of "$pid"))); fi
    done
    echo "$total"
}

# cell TARGET OPERATION CLIENTS: the load.
cell() {
    local key=$1/$2/$3 origin proxy_before=0 proxy_after=0 server_before server_after requests failed rate p50 p99
    plan "$1" "$2"
    if [ "$2" = submit ]; then settle; fi
    calm
    origin=${base[$1]#http://} origin=http://${origin%%/*}
    if [ -n "${pid_of[$1]}" ]; then proxy_before=$(cpu_of "${pid_of[$1]}"); fi
    server_before=$(cpu_of "$server")
    BENCH_METHOD=$method BENCH_PATH=${base[$1]#"$origin"}$path BENCH_TOKEN=${token_of[$1]} BENCH_BODY=$body BENCH_TYPE=$type \
        BENCH_LIMIT=$limit BENCH_FIRST=$last_number BENCH_MODULO=$modulo timeout $((seconds + 60)) \
        wrk --threads 1 --connections "$3" --duration "${seconds}s" --timeout 30s --script "$here/request.lua" "$origin" \
        >"$work/wrk" 2>&1 || true
    server_after=$(cpu_of "$server")
    if [ -n "${pid_of[$1]}" ]; then proxy_after=$(cpu_of "${pid_of[$1]}"); fi
    read -r requests failed rate p50 p99 < <(sed -n 's/^RESULT //p' "$work/wrk") ||
        die "wrk gave no result for $2 with $3 clients: $(cat "$work/wrk")"
    last_number=$((last_number + requests + $3))
    if [ "$failed" -gt 0 ]; then
        failures+=("$1, $2 with $3 clients: $failed, beside or among $requests answers: $(sed -n 's/^FAILED //p' "$work/wrk")")
    elif [ "$requests" = 0 ]; then
        failures+=("$1, $2 with $3 clients: no answer within $seconds s")
    fi
    measured[$key/requests]=$requests measured[$key/failed]=$failed measured[$key/rate]=$rate
    measured[$key/p50]=$p50 measured[$key/p99]=$p99
    measured[$key/proxy]=$(ms_each $((proxy_after - proxy_before)) "$requests")
    measured[$key/server]=$(ms_each $((server_after - server_before)) "$requests")
    measured[$key/rss]=-
    if [ -n "${pid_of[$1]}" ]; then measured[$key/rss]=$(resident "${pid_of[$1]}"); fi
}

# ms_each TICKS TIMES: milliseconds of CPU for each time; negative where they are not known, because a process has ended that nobody
# waited for, and its time with it.
ms_each() {
    awk -v ticks="$1" -v times="$2" -v hertz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.5f", (ticks < 0 ? -1 : times > 0 ? ticks * 1000 / hertz / times : 0) }'
}

# The CPU time in clock ticks that a process and everything below it has used, those that have ended included (proc(5), stat).
cpu_of() {
    local pid
    for pid in $(process_tree "$1"); do cat "/proc/$pid/stat" 2>/dev/null || true; done |
        awk '{ sub(/.*\) /, ""); ticks += $12 + $13 + $14 + $15 } END { printf "%d", ticks }'
}

# The memory of a process and everything below it, in MiB.
resident() {
    local pid
    for pid in $(process_tree "$1"); do cat "/proc/$pid/status" 2>/dev/null || true; done |
        awk '/^VmRSS:/ { kib += $2 } END { printf "%.1f", kib / 1024 }'
}
