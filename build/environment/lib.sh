# shellcheck shell=bash
# What the start and stop scripts of the components share. Source it; it runs nothing by itself.

environment_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034  # for the scripts that read this file
repository_root=$(cd "$environment_root/../.." && pwd)
# shellcheck disable=SC2034  # for the scripts that read this file
state_root=${GOLDCREST_ENV:-/var/tmp/goldcrest-env}

# A progress line, on standard error so that a script's output stays its own.
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

# print_help SCRIPT: the comment at the head of a script, as its help.
print_help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1"; }

die() {
    say "error: $*"
    exit 1
}

# Installs the Debian packages that are missing.
apt_install() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    local options=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    export DEBIAN_FRONTEND=noninteractive
    # Services are started by the scripts here, on their own ports, not by the packages.
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made=$policy
    fi
    local status=0
    apt-get "${options[@]}" -qq install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
        { apt-get "${options[@]}" -qq update && apt-get "${options[@]}" -qq install -y --no-install-recommends "${missing[@]}" >/dev/null; } ||
        status=$?
    [ -z "$made" ] || rm -f "$made"
    return $status
}

# python_environment FOLDER VENV: installs what the folder's requirements.txt names into a virtual environment, once; who comes meanwhile waits.
python_environment() (
    mkdir -p "$(dirname "$2")"
    exec {lock}>"$2.lock"
    flock "$lock"
    cmp -s "$1/requirements.txt" "$2/requirements.txt" && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "installing $(head -1 "$1/requirements.txt")"
    python3 -m venv --clear "$2"
    "$2/bin/pip" install --quiet --disable-pip-version-check -r "$1/requirements.txt"
    cp "$1/requirements.txt" "$2/requirements.txt"
)

# wait_for SECONDS COMMAND...: runs the command until it succeeds; fails when the time is over.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
}

# Whether something accepts connections on a loopback port.
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Refuses to start a server on a port that another program has: it would seem to be up.
need_free_port() { ! port_open "$1" || die "port $1 is in use by a process that was not started here"; }

# alive PID_FILE WORD: whether the process of the file runs and is ours: its command line holds the word.
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$2"
}

# Every process below the given one, the given one last.
process_tree() {
    local child
    # shellcheck disable=SC2013
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null || true); do process_tree "$child"; done
    echo "$1"
}

# stop_process PID_FILE WORD: ends the process of the file and all below it, when it is ours; then forgets the file.
stop_process() {
    local pid tree
    if alive "$1" "$2"; then
        pid=$(cat "$1")
        tree=$(process_tree "$pid")
        # shellcheck disable=SC2086
        kill -TERM $tree 2>/dev/null || true
        # shellcheck disable=SC2086
        kill -CONT $tree 2>/dev/null || true
        # shellcheck disable=SC2086
        wait_for "${GOLDCREST_STOP_SECONDS:-10}" all_gone $tree || kill -KILL $tree 2>/dev/null || true
    fi
    rm -f "$1"
}

all_gone() {
    local pid
    for pid in "$@"; do
        case $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) in '' | Z) ;; *) return 1 ;; esac
    done
}

# A random secret that needs no quoting anywhere.
new_secret() { head -c 24 /dev/urandom | base64 | tr '+/' 'xy' | tr -d '=\n'; }
