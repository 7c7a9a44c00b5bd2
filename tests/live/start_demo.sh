# shellcheck shell=bash
# How a demonstration is started that ends with the script. Source it behind lib.sh.

# start_demo GOLDCREST_BINARY: starts `goldcrest demo` and waits until it is up. Sets `demo`, its process; `demo_home`, its home directory;
# `demo_greeting`, the file with what it said first; and `demo_log`, the file with its log. All of it is in the folder `work`, where there
# is room for more, and which is removed at the end.
start_demo() {
    work=$(mktemp -d)
    demo_home=$work/home
    demo_greeting=$work/greeting
    demo_log=$work/log
    # Both file systems of the demonstration are in the folder: its home directory, and the one for temporary files.
    mkdir -p "$demo_home" "$work/tmp"
    TMPDIR=$work/tmp "$1" demo --port 0 --output json --home "$demo_home" >"$demo_greeting" 2>"$demo_log" </dev/null &
    demo=$!
    trap stop_demo EXIT
    wait_for 30 grep -q '"url"' "$demo_greeting" || {
        cat "$demo_log" >&2
        die "goldcrest demo did not start"
    }
}

# Jobs outlive the program that took them. Here they write to a folder that is removed, so they are ended first.
stop_demo() {
    local jobs
    if kill "$demo" 2>/dev/null; then wait "$demo" || true; fi
    while jobs=$(processes_at_home) && [ -n "$jobs" ]; do
        xargs kill -KILL <<<"$jobs" 2>/dev/null || true
        sleep 0.1
    done
    rm -rf "$work"
}

# Those whose home directory is the demonstration's. That others cannot be read is no failure.
processes_at_home() { grep -lszxF "HOME=$demo_home" /proc/[0-9]*/environ | cut -d/ -f3 || true; }

# member NAME FILE: a text of a JSON document that is on one line.
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2"; }
