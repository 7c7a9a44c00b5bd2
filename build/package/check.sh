#!/usr/bin/env bash
# Checks what build/package/ holds: makes the Debian package, installs it into a Debian 12 made by debootstrap, and looks at it there; the unit
# by systemd-analyze, and started, reloaded and stopped by a real systemd in a container; the examples for proxies by nginx and HAProxy, with
# requests through both; the alerts and the metrics by promtool and a Prometheus.
#
#   check.sh GOLDCREST_BINARY [PACKAGE]
#
# Without PACKAGE one is made of the development build.
#
# Root is needed for the installation. cargo-deb and the folder of debootstrap are kept below $GOLDCREST_TOOLS (default
# ~/.cache/goldcrest-tools).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../environment/lib.sh
. "$here/../environment/lib.sh"
# shellcheck source=../../tests/live/start_demo.sh
. "$here/../../tests/live/start_demo.sh"

tools=${GOLDCREST_TOOLS:-$HOME/.cache/goldcrest-tools}
cargo_deb_version=3.8.0
debian=$tools/debian-12
passed=0

main() {
    apt_install debootstrap dpkg-dev haproxy jq nginx-light openssl prometheus systemd-container
    install_tools
    binary=$1
    start_demo "$binary"
    trap 'stop_servers; stop_demo' EXIT
    package=${2:-$("$here/build.sh" --profile dev "$tools/bin/cargo-deb" | tail -1)}
    # It needs the rights to boot a container, which not every machine of CI gives: .ci/full asks for it.
    [ -z "${GOLDCREST_TRY_UNIT:-}" ] || check 'the unit starts, reloads and stops under systemd' unit_runs
    check 'the package installs, runs and is removed' installation
    check 'the alerts are rules of Prometheus' promtool check rules "$here/monitoring/alerts.yaml"
    check 'Prometheus reads the metrics and evaluates the alerts' prometheus_reads
    certificate
    check 'nginx passes requests on' nginx_passes
    check 'HAProxy passes requests on' haproxy_passes
    echo "package: $passed passed, 0 failed"
}

# check NAME COMMAND...
check() {
    local name=$1
    shift
    "$@"
    echo "$name: good"
    passed=$((passed + 1))
}

install_tools() {
    [ -x "$tools/bin/cargo-deb" ] || {
        CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --version "$cargo_deb_version" --root "$tools" cargo-deb
        rm -rf "$tools/build"
    }
    if [ ! -f "$debian/complete" ]; then
        rm -rf "$debian"
        mkdir -p "$debian"
        # systemd, so that there are the units that ours names.
        debootstrap --variant=minbase --include=systemd --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
            bookworm "$debian" ${GOLDCREST_DEBIAN_MIRROR:+"$GOLDCREST_DEBIAN_MIRROR"} >"$debian.log" 2>&1 || die "debootstrap failed: see $debian.log"
        touch "$debian/complete"
    fi
}

installation() {
    local file unit=/usr/lib/systemd/system/goldcrest.service
    dpkg --root="$debian" --purge goldcrest >/dev/null 2>&1 || true
    rm -rf "$debian/etc/goldcrest"
    dpkg --root="$debian" --install "$package" >"$work/installed" 2>&1 || {
        cat "$work/installed"
        return 1
    }
    chroot "$debian" goldcrest --version
    chroot "$debian" getent passwd goldcrest >/dev/null
    [ "$(chroot "$debian" stat -c '%U:%G %a' /etc/goldcrest)" = 'root:goldcrest 750' ]
    for file in 'usr/share/man/man1/goldcrest-serve.1*' usr/share/bash-completion/completions/goldcrest \
        usr/share/zsh/vendor-completions/_goldcrest usr/share/fish/vendor_completions.d/goldcrest.fish etc/default/goldcrest \
        usr/share/goldcrest/monitoring/alerts.yaml usr/share/goldcrest/proxy/nginx.conf usr/share/doc/goldcrest/operations.md; do
        [ -n "$(find "$debian/${file%/*}" -name "${file##*/}" -size +0)" ] || die "the package lacks $file"
    done
    zcat -f "$debian"/usr/share/man/man1/goldcrest.1* | grep 'check\\-config' >/dev/null
    bash -c ". '$debian/usr/share/bash-completion/completions/goldcrest' && complete -p goldcrest" >/dev/null

    # Any word of it is a complaint.
    systemd-analyze verify --man=no --recursive-errors=no --root="$debian" "$debian$unit" >"$work/verify" 2>&1 || true
    [ ! -s "$work/verify" ] || {
        cat "$work/verify"
        return 1
    }
    systemd-analyze security --offline=true --threshold=30 --no-pager "$debian$unit" | tail -1
    [ ! -e "$debian/etc/systemd/system/multi-user.target.wants/goldcrest.service" ] || die 'it is enabled before it was configured'

    # The user of the unit can read a configuration there, and nobody else can.
    sed "s|secret_file:[^\"]*|x|" "$debian/etc/goldcrest/goldcrest.example.yaml" >"$debian/etc/goldcrest/goldcrest.yaml"
    chroot "$debian" chgrp goldcrest /etc/goldcrest/goldcrest.yaml /etc/goldcrest/goldcrest.example.yaml
    chmod 640 "$debian/etc/goldcrest/goldcrest.yaml"
    if chroot --userspec=nobody "$debian" cat /etc/goldcrest/goldcrest.yaml >/dev/null 2>&1; then die 'others may read the configuration'; fi
    chroot --userspec=goldcrest "$debian" cat /etc/goldcrest/goldcrest.yaml >/dev/null
    rm "$debian/etc/goldcrest/goldcrest.yaml"
    dpkg --root="$debian" --purge goldcrest >/dev/null 2>&1
    [ ! -e "$debian/usr/bin/goldcrest" ] && [ ! -e "$debian/etc/default/goldcrest" ]
}

# configuration PORT METRICS_PORT: the least that serves, without a cluster.
configuration() {
    cat <<EOF
server: { listen: "127.0.0.1:$1", drain_timeout: 5 }
metrics: { listen: "127.0.0.1:$2" }
auth:
  authentication:
    token_url: http://127.0.0.1:1/token
    public_certs: ["file:///etc/goldcrest/certs.json"]
    issuer: http://127.0.0.1:1
    audience: [goldcrest]
ssh_credentials: { type: SSHStaticKeys, keys: {} }
clusters: []
EOF
}

# A real systemd starts the unit, in a container of the folder with the package. What the trial there says is compared.
unit_runs() {
    local keep=()
    dpkg --root="$debian" --install "$package" >/dev/null 2>&1
    configuration 8000 9090 >"$debian/etc/goldcrest/goldcrest.yaml"
    chroot "$debian" chgrp goldcrest /etc/goldcrest/goldcrest.yaml
    chmod 640 "$debian/etc/goldcrest/goldcrest.yaml"
    cp "$here/unit_trial.sh" "$debian/trial.sh"
    cat >"$debian/etc/systemd/system/trial.service" <<'EOF'
[Unit]
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/bin/sh /trial.sh
StandardOutput=truncate:/trial.log
StandardError=inherit
TimeoutStartSec=90
EOF
    mkdir -p "$debian/etc/systemd/system/multi-user.target.wants"
    ln -sf ../trial.service "$debian/etc/systemd/system/multi-user.target.wants/trial.service"
    rm -f "$debian/trial.log"
    # Where no systemd runs, there is none that could give the container a unit of its own.
    [ -d /run/systemd/system ] || keep=(--keep-unit)
    timeout 150 systemd-nspawn --quiet --register=no "${keep[@]}" --private-network --console=pipe --directory="$debian" --boot \
        </dev/null >"$work/container" 2>&1 || true
    rm -f "$debian/trial.sh" "$debian/etc/systemd/system/trial.service" "$debian/etc/systemd/system/multi-user.target.wants/trial.service" \
        "$debian/etc/goldcrest/goldcrest.yaml"
    if ! grep -qx 'trial: over' "$debian/trial.log" || grep -q '^BAD' "$debian/trial.log"; then
        tail -20 "$work/container"
        cat "$debian/trial.log"
        return 1
    fi
}

# The metrics in the older text format by promtool, and both formats and the alerts by a Prometheus that scrapes them.
prometheus_reads() {
    local api=18393 metrics=18394 own=18395 rules port
    for port in $api $metrics $own; do need_free_port "$port"; done
    configuration $api $metrics >"$work/serve.yaml"
    "$binary" serve --config "$work/serve.yaml" </dev/null >"$work/serve.log" 2>&1 &
    serve=$!
    wait_for 20 curl -fsS -o /dev/null "http://127.0.0.1:$api/status/liveness/"
    curl -s -o /dev/null "http://127.0.0.1:$api/status/systems"
    curl -fsS "http://127.0.0.1:$metrics/metrics" >"$work/metrics"
    promtool check metrics <"$work/metrics"
    cat >"$work/prometheus.yml" <<EOF
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["$here/monitoring/alerts.yaml"]
scrape_configs: [{ job_name: goldcrest, static_configs: [{ targets: ["127.0.0.1:$metrics"] }] }]
EOF
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" --web.listen-address="127.0.0.1:$own" \
        --log.level=warn </dev/null >"$work/prometheus.log" 2>&1 &
    prometheus=$!
    rules=http://127.0.0.1:$own/api/v1
    wait_for 30 told "$rules/targets" '[.data.activeTargets[] | .health == "up"] == [true]'
    wait_for 30 told "$rules/rules" '[.data.groups[].rules[].health] | length > 5 and all(. == "ok")'
}

# told URL CONDITION: whether the JSON there is as jq says.
told() { curl -fsS "$1" | jq -e "$2" >/dev/null; }

certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hpc.example.org \
        -addext subjectAltName=DNS:hpc.example.org -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
    cat "$work/cert.pem" "$work/key.pem" >"$work/both.pem"
    curl -fsS -o "$work/token" -u "$(member clientId "$demo_greeting"):$(member clientSecret "$demo_greeting")" \
        -d grant_type=client_credentials "$(member tokenUrl "$demo_greeting")"
    token=$(member access_token "$work/token")
    api=$(member url "$demo_greeting")
    api=${api#http://}
}

nginx_passes() {
    local port=18391
    need_free_port $port
    mkdir -p "$work/nginx"
    sed -e "s|127.0.0.1:8000|$api|" -e "s|listen 443|listen 127.0.0.1:$port|" -e "s|/etc/ssl/certs/hpc.example.org.pem|$work/cert.pem|" \
        -e "s|/etc/ssl/private/hpc.example.org.key|$work/key.pem|" "$here/proxy/nginx.conf" >"$work/nginx/site.conf"
    cat >"$work/nginx/nginx.conf" <<EOF
pid $work/nginx/pid;
error_log $work/nginx/error.log;
daemon off;
events {}
http {
    access_log off;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    include $work/nginx/site.conf;
}
EOF
    nginx -t -q -c "$work/nginx/nginx.conf" -e "$work/nginx/error.log"
    nginx -c "$work/nginx/nginx.conf" -e "$work/nginx/error.log" </dev/null >/dev/null 2>&1 &
    nginx=$!
    requests $port
}

haproxy_passes() {
    local port=18392
    need_free_port $port
    sed -e "s|127.0.0.1:8000|$api|" -e "s|bind :443|bind 127.0.0.1:$port|" -e "s|/etc/haproxy/hpc.example.org.pem|$work/both.pem|" \
        "$here/proxy/haproxy.cfg" >"$work/haproxy.cfg"
    haproxy -c -q -f "$work/haproxy.cfg"
    haproxy -db -f "$work/haproxy.cfg" </dev/null >"$work/haproxy.log" 2>&1 &
    haproxy=$!
    requests $port
}

# requests PORT: a small one, one with a long header, an upload and a download of 20 MB, and events that come as they are sent.
requests() {
    local url=https://hpc.example.org:$1 file=$demo_home/through-$1 ask
    ask=(curl -fsS --max-time 60 --cacert "$work/cert.pem" --resolve "hpc.example.org:$1:127.0.0.1" -H "Authorization: Bearer $token")
    wait_for 10 "${ask[@]}" -o /dev/null "$url/status/liveness/"
    "${ask[@]}" "$url/status/systems" | grep '"name":"local"' >/dev/null
    "${ask[@]}" -o /dev/null -H "X-Long: $(head -c 14000 /dev/zero | tr '\0' a)" "$url/status/systems"
    head -c 20000000 /dev/urandom >"$work/content"
    "${ask[@]}" -o /dev/null -T "$work/content" "$url/filesystem/local/ops/upload?path=$file"
    cmp "$work/content" "$file"
    "${ask[@]}" -r 0- "$url/filesystem/local/ops/download?path=$file" | cmp - "$work/content"
    # A proxy that collects an answer would hand out nothing while the file is followed.
    echo first >"$file"
    "${ask[@]}" --no-buffer --max-time 5 "$url/filesystem/local/ops/follow?path=$file&offset=0" >"$work/followed" 2>/dev/null || true
    grep -q 'first\|Zmlyc3Q' "$work/followed"
    rm "$file"
}

stop_servers() {
    local each
    for each in "${nginx:-}" "${haproxy:-}" "${prometheus:-}" "${serve:-}"; do
        [ -z "$each" ] || kill "$each" 2>/dev/null || true
    done
}

main "$@"
