# shellcheck shell=bash
# A Goldcrest of a measurement's own, in front of the environment's sshd, and what /proc says of it. Source it after lib.sh.
#
# It has one system, `bench`, which every caller may use. The environment's own Goldcrest is not touched.

: "${state_root:?source lib.sh first}" "${repository_root:?}" "${environment_root:?}"
# shellcheck source=../sections.sh
. "$environment_root/sections.sh"

# shellcheck disable=SC2034  # for the scripts that read this file
user=${own_user:-fireuser}
own_port=${GOLDCREST_BENCH_PORT:-18500}
# shellcheck disable=SC2034
own_url=http://127.0.0.1:$own_port
own_folder=
own_pid=

# own_start SSH_PORT: writes the configuration and starts the binary: $GOLDCREST_BIN, or the release build.
own_start() {
    own_prepare "$1"
    own_launch
}

own_prepare() {
    own_binary=${GOLDCREST_BIN:-${CARGO_TARGET_DIR:-$repository_root/target}/release/goldcrest}
    [ -x "$own_binary" ] || die "no release build at $own_binary: run cargo build --release, or set GOLDCREST_BIN"
    need_free_port "$own_port"
    own_folder=$(mktemp -d)
    trap own_stop EXIT
    # Also the proxy's port shows the host key of the sshd behind it.
    sed "s/^\[127\.0\.0\.1\]:[0-9]* /[127.0.0.1]:$1 /" "$state_root/openssh/known_hosts" >"$own_folder/known_hosts"
    cat >"$own_folder/goldcrest.yaml" <<YAML
server:
  listen: 127.0.0.1:$own_port
  max_requests_per_user: ${own_requests_per_user:-512}
$(identity_sections "$user" "$state_root/openssh/keys")
clusters:
  - name: bench
    ssh:
      host: 127.0.0.1
      port: $1
      host_keys:
        known_hosts: $own_folder/known_hosts
      timeout:
        command_execution: ${own_command_timeout:-10}
    scheduler:
      type: slurm
      version: "22.05"
$(system_members)
      - path: ${own_scratch:-/dev/shm}
        data_type: scratch
YAML
}

own_launch() {
    YAML_CONFIG_FILE=$own_folder/goldcrest.yaml "$own_binary" serve </dev/null >"$own_folder/log" 2>&1 &
    own_pid=$!
    wait_for 20 port_open "$own_port" || die "goldcrest does not listen: see $own_folder/log"
}

own_stop() {
    own_end
    [ -z "$own_folder" ] || rm -rf "$own_folder"
}

own_end() {
    [ -n "$own_pid" ] || return 0
    kill "$own_pid" 2>/dev/null || true
    wait "$own_pid" 2>/dev/null || true
    own_pid=
}

# The port of an sshd of the environment.
ssh_port() { sed -n 's/^ListenAddress 127\.0\.0\.1://p' "$state_root/openssh/$1/sshd_config"; }

token() {
    curl -fsS --data-urlencode "client_secret@$state_root/oidc/$user.secret" -d grant_type=client_credentials -d "client_id=$user" \
        "$(coordinate oidc tokenUrl)" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'
}

# Asks Goldcrest with the token in $TOKEN, which no process list shows.
ask() { curl -sS --noproxy '*' --fail --config <(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN") "$@"; }

# The CPU time in seconds that a process has used itself (proc(5), stat).
cpu_of() { awk -v hertz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%.2f", ($12 + $13) / hertz }' "/proc/$1/stat"; }

# Memory in MiB: what a process holds, and the most that it has held since `reset_peak`.
resident() { awk '/^VmRSS:/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
peak_of() { awk '/^VmHWM:/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
reset_peak() { echo 5 >"/proc/$1/clear_refs"; }

# The wall clock's seconds that a command takes. Its output is thrown away.
seconds_of() {
    local begun=$EPOCHREALTIME
    "$@" >/dev/null
    calculate "$EPOCHREALTIME - $begun" %.3f
}

# calculate EXPRESSION [FORMAT]
calculate() { awk "BEGIN { printf \"${2:-%.2f}\", $1 }"; }

median() { printf '%s\n' "$@" | sort -g | awk '{ all[NR] = $1 } END { print NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'; }
