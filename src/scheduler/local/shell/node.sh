# Describes the host: number of slots, 0 for one a CPU.
node() {
    open_state
    begin
    printf 'host %s\n' "$host"
    printf 'cpus %s\n' "$(cpus)"
    running=0
    for entry in queue/slot-*; do
        owner=
        { read -r owner _ <"$entry"; } 2>/dev/null
        if [ -n "$owner" ] && alive "$owner"; then running=$((running + 1)); fi
    done
    printf 'running %s\n' "$running"
    if [ -r /proc/loadavg ]; then
        read -r load _ </proc/loadavg
        printf 'load %s\n' "$load"
    fi
    if [ -r /proc/meminfo ]; then
        while read -r key value _; do
            case $key in MemAvailable:) printf 'free %s\n' "$value" ;; esac
        done </proc/meminfo
    fi
    echo end
}
node "$@"
