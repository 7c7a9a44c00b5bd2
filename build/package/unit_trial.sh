# shellcheck shell=sh
# What check.sh does with the unit inside a container that systemd has started. Each line begins with `good:` or `BAD:`.
address=http://127.0.0.1:8000/status/liveness/
file=/etc/goldcrest/goldcrest.yaml

# tried NAME COMMAND...
tried() {
    name=$1
    shift
    if "$@"; then echo "good: $name"; else echo "BAD: $name"; fi
}
refused() { ! "$@"; }
shows() { [ "$(systemctl show goldcrest --property="$1" --value)" = "$2" ]; }
# logged TEXT: within ten seconds.
logged() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        if journalctl --unit goldcrest --output cat --no-pager | grep "$1" >/dev/null; then return 0; fi
        sleep 1
    done
    return 1
}

tried 'it starts' systemctl start goldcrest
# With Type=notify systemd waits until it is told, so the API answers at once.
tried 'it answers when systemctl returns' goldcrest health --url $address
tried 'systemd is told that it serves' shows StatusText serving
tried 'it runs as its own user' shows User goldcrest
process=$(systemctl show goldcrest --property=MainPID --value)
sed -i 's/drain_timeout: 5/drain_timeout: 5, maintenance: "back soon"/' $file
tried 'it reloads' systemctl reload goldcrest
tried 'the reload is logged' logged 'the configuration was reloaded'
tried 'it is the same process' shows MainPID "$process"
sed -i 's/maintenance:/maintenence:/' $file
tried 'a configuration with a mistake is refused by systemctl reload' refused systemctl reload goldcrest
tried 'the mistake is told in the journal' logged 'server.maintenence: unknown key'
kill -HUP "$process"
tried 'and by the process' logged 'refused whole'
tried 'it goes on' goldcrest health --url $address
tried 'still the same process' shows MainPID "$process"
tried 'it stops' systemctl stop goldcrest
tried 'without an error' shows Result success
tried 'with the status 0' shows ExecMainStatus 0
if grep -q '^BAD' /trial.log; then journalctl --unit goldcrest --output cat --no-pager; fi
echo 'trial: over'
