# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# The same work without Goldcrest, one at a time: what bounds it from below. Source it; see run.sh.
#
# A floor is measured once, just before the first operation that it bounds. CPU time is that of the client and of sshd with
# everything below it; Slurm's daemons are in no figure.

# By the floor's name: what it is, milliseconds each, milliseconds of CPU each.
declare -A floor_title floor_ms floor_cpu

# floors_of OPERATION: what bounds it.
floors_of() {
    case $1 in
        stat | batch) echo lstat ;;
        ls) echo list ;;
        head) echo read ;;
        find) echo find ;;
        download) echo get sftp-get scp-get ;;
        download-5m) echo get-5m sftp-get-5m scp-get-5m ;;
        upload | upload-form) echo put sftp-put scp-put ;;
        jobs) echo squeue ;;
        jobs-uncached) echo true squeue sacct squeue-here sacct-here ;;
        job) echo squeue sacct ;;
        submit) echo true sbatch sbatch-here ;;
    esac
}

# How often an operation does what its floor does once.
unit_of() { if [ "$1" = batch ]; then echo 100; else echo 1; fi; }

# floor NAME: measures it, unless it was.
floor() {
    [ -z "${floor_ms[$1]:-}" ] || return 0
    local sacct=(sacct --allocations --starttime now-24hours) sbatch=(sbatch --parsable "--chdir=$folder" --output=/dev/null --wrap=true)
    say "floor: $1"
    case $1 in sbatch*) settle ;; esac
    calm
    case $1 in
        lstat) over_a_connection "$1" 'one SFTP request, LSTAT, on an open channel' 20000 stat "$folder/lines.txt" ;;
        list) over_a_connection "$1" 'OPENDIR, READDIR to the end, CLOSE on an open channel' 20000 list "$folder/twenty" ;;
        read) over_a_connection "$1" 'OPEN, READ, CLOSE on an open channel' 20000 read "$folder/lines.txt" ;;
        get) over_a_connection "$1" 'OPEN, FSTAT, all READs, CLOSE on an open channel' 20000 get "$folder/1m" ;;
        get-5m) over_a_connection "$1" 'OPEN, FSTAT, all READs, CLOSE on an open channel' 20000 get "$folder/5m" ;;
        put) over_a_connection "$1" 'OPEN, all WRITEs, CLOSE on an open channel' 20000 put "$folder/put" ;;
        true) over_a_connection "$1" 'one exec, `true`, on an open connection' 1000 exec true ;;
        find) over_a_connection "$1" 'exec of `find`' 1000 exec "find $folder/tree -name '*.txt'" ;;
        squeue) over_a_connection "$1" 'exec of `squeue --me`' 1000 exec 'squeue --me' ;;
        sacct) over_a_connection "$1" 'exec of `sacct` for a day' 1000 exec "${sacct[*]}" ;;
        sbatch) over_a_connection "$1" 'exec of `sbatch`' 50 exec "${sbatch[*]}" ;;
        squeue-here) on_the_machine "$1" '`squeue --me` on the machine itself' 1000 squeue --me ;;
        sacct-here) on_the_machine "$1" '`sacct` for a day on the machine itself' 1000 "${sacct[@]}" ;;
        sbatch-here) on_the_machine "$1" '`sbatch` on the machine itself' 50 "${sbatch[@]}" ;;
        sftp-get) in_one_session "$1" '`sftp`, each of 50 `get` in one session' "get $folder/1m $work/got" ;;
        sftp-get-5m) in_one_session "$1" '`sftp`, each of 50 `get` in one session' "get $folder/5m $work/got" ;;
        sftp-put) in_one_session "$1" '`sftp`, each of 50 `put` in one session' "put $folder/1m $folder/put" ;;
        scp-get) by_openssh "$1" '`scp` of the file' 20 scp "$remote:$folder/1m" "$work/got" ;;
        scp-get-5m) by_openssh "$1" '`scp` of the file' 20 scp "$remote:$folder/5m" "$work/got" ;;
        scp-put) by_openssh "$1" '`scp` of the file' 20 scp "$folder/1m" "$remote:$folder/put" ;;
    esac
}

# The client that keeps a connection.
build_floors() {
    floors_client=${BENCH_FLOORS:-}
    if [ -z "$floors_client" ]; then
        command -v cargo >/dev/null || die "the floors need cargo, or their client's path as BENCH_FLOORS; --no-floors does without"
        say "building benches/floors.rs, which takes minutes the first time"
        floors_client=$(cargo bench --quiet --locked --manifest-path "$repository_root/Cargo.toml" --bench floors --no-run \
            --message-format=json | sed -n 's/.*"executable":"\([^"]*\/floors-[^"]*\)".*/\1/p' | tail -1)
    fi
    [ -x "$floors_client" ] || die "there is no client for the floors at '$floors_client'"
}

# A connection of OpenSSH's own for its programs, and what the other client needs for one.
open_floors() {
    key=$state_root/openssh/keys/$user
    known_hosts=$state_root/openssh/known_hosts
    remote=$user@127.0.0.1
    # The cipher that Goldcrest takes where the processor has AES.
    ssh_options=(-q -c aes128-gcm@openssh.com -i "$key" -o IdentitiesOnly=yes -o "UserKnownHostsFile=$known_hosts"
        -o "ControlPath=$work/socket" -o "Port=$port")
    ssh "${ssh_options[@]}" -o ControlMaster=yes -o ControlPersist=600 "$remote" true
    master=$(ssh "${ssh_options[@]}" -O check "$remote" 2>&1 | sed -n 's/.*pid=\([0-9]*\).*/\1/p')
}

close_floors() { [ ! -S "$work/socket" ] || ssh "${ssh_options[@]}" -O exit "$remote" || true; }

# note NAME TITLE MILLISECONDS CPU_MILLISECONDS
note() { floor_title[$1]=$2 floor_ms[$1]=$3 floor_cpu[$1]=$4; }

# over_a_connection NAME TITLE TIMES THING WHAT: by benches/floors.rs, which waits for a line before and after what counts.
over_a_connection() {
    local name=$1 title=$2 times=$3 from to client before after word count each
    shift 3
    coproc floors { exec "$floors_client" "127.0.0.1:$port" "$user" "$key" "$known_hosts" "$seconds" "$times" "$@"; }
    client=$!
    exec {from}<&"${floors[0]}" {to}>&"${floors[1]}"
    { read -r -t 60 word <&"$from" && [ "$word" = ready ]; } || die "the floor $name could not begin"
    before=$(($(cpu_of "$server") + $(cpu_of "$client")))
    echo >&"$to"
    { read -r -t $((seconds + 60)) word count each <&"$from" && [ "$word" = RESULT ]; } || die "the floor $name came to no end"
    after=$(($(cpu_of "$server") + $(cpu_of "$client")))
    echo >&"$to"
    wait "$client" || die "the floor $name failed"
    exec {from}<&- {to}>&-
    note "$name" "$title" "$each" "$(ms_each $((after - before)) "$count")"
}

# on_the_machine NAME TITLE TIMES COMMAND...: as the user, in one shell, without SSH.
on_the_machine() {
    local name=$1 title=$2 times=$3 each cpu
    shift 3
    read -r each cpu < <(as_user bash -c "$(declare -f repeat)"$'\nrepeat "$@"' repeat "$seconds" "$times" "$@" | of_each) ||
        die "the floor $name failed"
    note "$name" "$title" "$each" "$cpu"
}

# in_one_session NAME TITLE COMMAND: 50 times by one sftp over the open connection.
in_one_session() {
    for _ in {1..50}; do echo "$3"; done >"$work/batch"
    by_openssh "$1" "$2" 1 sftp -b "$work/batch" "$remote"
    note "$1" "$2" "$(divided "${floor_ms[$1]}" 50)" "$(divided "${floor_cpu[$1]}" 50)"
}

# by_openssh NAME TITLE TIMES PROGRAM ARGUMENT...: over the open connection, whose process enciphers for the program.
by_openssh() {
    local name=$1 title=$2 times=$3 program=$4 before after each cpu count
    shift 4
    before=$(($(cpu_of "$server") + $(cpu_of "$master")))
    read -r each cpu count < <(repeat "$seconds" "$times" "$program" "${ssh_options[@]}" "$@" | of_each) || die "the floor $name failed"
    after=$(($(cpu_of "$server") + $(cpu_of "$master")))
    note "$name" "$title" "$each" "$(sum "$cpu" "$(ms_each $((after - before)) "$count")")"
}

# repeat SECONDS TIMES COMMAND...: does it one time after the other, and says how long and how often that was.
repeat() {
    local count=0 end=$((SECONDS + $1)) times=$2 TIMEFORMAT='%R %U %S'
    shift 2
    {
        time while [ "$count" -lt "$times" ] && [ "$SECONDS" -lt "$end" ]; do
            "$@" </dev/null >/dev/null 2>&3 || return 1
            count=$((count + 1))
        done
    } 3>&2 2>&1
    echo "$count"
}

# What `repeat` says, as milliseconds and CPU milliseconds of each, and the number of times.
of_each() {
    awk 'NR == 1 { real = $1; cpu = $2 + $3 } NR == 2 && $1 > 0 { printf "%.5f %.5f %d\n", real * 1000 / $1, cpu * 1000 / $1, $1 }'
}

sum() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.5f", (a < 0 || b < 0 ? -1 : a + b) }'; }

divided() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.5f", a / b }'; }
