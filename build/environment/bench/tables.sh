# shellcheck shell=bash disable=SC2154
# The benchmark's tables, in Markdown. Source it; see run.sh. It reads `measured`, `floor_*`, `clients` and `operations`.

print_heading() {
    local model
    model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
    echo "$(date -u '+%F %R') UTC, system \`$system\`, $(nproc) cores (${model:-unknown}), load average" \
        "$(cut -d' ' -f1 /proc/loadavg) before, at most $seconds s a cell."
    echo
}

# print_operations_head, then print_operation for each cell as it ends.
print_operations_head() {
    echo '| operation | clients | requests | failed | requests/s | p50 ms | p99 ms | goldcrest CPU ms/1000 | sshd CPU ms/1000 | RSS MiB |'
    echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|'
}

# print_operation OPERATION CLIENTS
print_operation() {
    local key=goldcrest/$1/$2
    printf '| %s | %d | %d | %s | %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "${measured[$key/requests]}" \
        "$(emphasised "${measured[$key/failed]}")" "${measured[$key/rate]}" "${measured[$key/p50]}" "${measured[$key/p99]}" \
        "$(thousand "${measured[$key/proxy]}")" "$(thousand "${measured[$key/server]}")" "${measured[$key/rss]}"
}

# What the figures depend on beside the machine.
print_circumstances() {
    echo
    echo "Load average $(cut -d' ' -f1 /proc/loadavg) after. The job list had" \
        "$(as_user sacct --allocations --noheader --starttime now-24hours | wc -l) jobs at the end."
}

# How each operation stands to its floors, at each number of clients.
print_floors() {
    local operation floor
    echo
    echo "| operation | floor, one at a time | ms each | CPU ms each | requests/s ÷ floor's, at ${clients// / / } clients | CPU ÷ floor's |"
    echo '|---|---|---:|---:|---:|---:|'
    for operation in $operations; do
        for floor in $(floors_of "$operation"); do print_floor "$operation" "$floor"; done
    done
}

# print_floor OPERATION FLOOR
print_floor() {
    local key count figures=''
    for count in $clients; do
        key=goldcrest/$1/$count
        figures+="${measured[$key/rate]} ${measured[$key/proxy]} ${measured[$key/server]} "
    done
    awk -v operation="$1" -v title="${floor_title[$2]}" -v unit="$(unit_of "$1")" -v ms="${floor_ms[$2]}" -v cpu="${floor_cpu[$2]}" \
        -v figures="$figures" 'BEGIN {
            cells = split(figures, figure, " ") / 3
            for (cell = 0; cell < cells; cell++) {
                between = cell > 0 ? " / " : ""
                rates = rates between sprintf("%.2f", figure[3 * cell + 1] * unit * ms / 1000)
                proxy = figure[3 * cell + 2]
                server = figure[3 * cell + 3]
                known = cpu > 0 && proxy >= 0 && server >= 0
                cpus = cpus between (known ? sprintf("%.2f", (proxy + server) / unit / cpu) : "-")
            }
            if (unit > 1) title = unit " times: " title
            printf "| %s | %s | %.3f | %s | %s | %s |\n", operation, title, ms, (cpu < 0 ? "-" : sprintf("%.3f", cpu)), rates, cpus
        }'
}

# The same cells on the peer, as ratios.
print_peer() {
    local operation count refusal
    echo
    echo "The peer at \`${base[peer]}\`, cell by cell in turns. A ratio above 1 is in Goldcrest's favour."
    echo
    echo "| operation | clients | requests/s | peer's | ratio | p50 ms | peer's | ratio | p99 ms | peer's | failed | peer's |" \
        "proxy CPU ms/1000 | peer's | sshd CPU ms/1000 | peer's |"
    echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|'
    for operation in $operations; do
        for count in $clients; do
            [ -n "${measured[peer/$operation/$count/rate]:-}" ] || continue
            printf '| %s | %d | %s | %s | %s | %s | %s | %s |\n' "$operation" "$count" \
                "$(compared rate ratio)" "$(compared p50 inverse)" "$(compared p99)" "$(compared failed)" "$(compared proxy)" "$(compared server)"
        done
    done
    [ ${#left_out[@]} = 0 ] || echo
    for refusal in "${left_out[@]}"; do echo "- Not compared: $refusal"; done
}

# compared FIGURE [ratio|inverse]: ours, the peer's, and how they stand to one another.
compared() {
    local ours=${measured[goldcrest/$operation/$count/$1]} theirs=${measured[peer/$operation/$count/$1]}
    case $1 in
        failed) echo "$(emphasised "$ours") | $(emphasised "$theirs")" ;;
        proxy) echo "$(thousand "$ours") | $(if [ -n "${pid_of[peer]}" ]; then thousand "$theirs"; else echo -; fi)" ;;
        server) echo "$(thousand "$ours") | $(thousand "$theirs")" ;;
        *)
            awk -v ours="$ours" -v theirs="$theirs" -v ratio="${2:-}" '
                function by(a, b) { return a > 0 && b > 0 ? sprintf(" | %.2f", a / b) : " | -" }
                BEGIN { print ours " | " theirs (ratio == "ratio" ? by(ours, theirs) : ratio == "inverse" ? by(theirs, ours) : "") }'
            ;;
    esac
}

# What failed, where everybody who reads the tables sees it. Fails when anything did.
print_failures() {
    [ ${#failures[@]} -gt 0 ] || return 0
    local failure
    echo
    echo '> **REQUESTS FAILED. These cells count the others in requests/s; their percentiles and CPU time are of no use:**'
    for failure in "${failures[@]}"; do
        echo '>'
        echo "> - $failure"
        say "FAILED: $failure"
    done
    return 1
}

# emphasised COUNT: a number that should be 0, in bold where it is not.
emphasised() { if [ "$1" = 0 ]; then echo 0; else echo "**$1**"; fi; }

# What a thousand of them take, where it is known.
thousand() { awk -v each="$1" 'BEGIN { if (each < 0) printf "-"; else printf "%.0f", each * 1000 }'; }
