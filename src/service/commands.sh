# goldcrest_run SECONDS COMMAND...: runs it in a process group of its own, with this standard input. Exits with its status, or with 124 if it had
# not ended in time. The group ends at the limit, or with SIGTERM: processes that SIGTERM does not end get SIGKILL two seconds later.
goldcrest_run() {
  goldcrest_end=$(($(date +%s) + $1))
  exec 3<&0
  timeout -k 2 "$@" <&3 3<&- &
  goldcrest_group=$!
  exec 3<&-
  trap 'goldcrest_end=0; kill -TERM "$goldcrest_group"' HUP INT TERM
  while :; do
    # Some shells report the signal that ended it.
    { wait "$goldcrest_group"; } 2>/dev/null
    goldcrest_status=$?
    kill -0 "$goldcrest_group" 2>/dev/null || break
  done
  goldcrest_left=$((goldcrest_end - $(date +%s)))
  # The status of a signal in ksh.
  [ "$goldcrest_status" -le 256 ] || goldcrest_status=$((goldcrest_status - 128))
  # timeout itself got the signal.
  case $goldcrest_status in (137 | 143) [ "$goldcrest_left" -gt 0 ] || goldcrest_status=124 ;; esac
  if kill -0 "-$goldcrest_group"; then
    (
      trap '' HUP INT TERM
      while [ "$goldcrest_left" -gt 0 ] && kill -0 "-$goldcrest_group"; do
        sleep 1
        goldcrest_left=$((goldcrest_left - 1))
      done
      kill -TERM "-$goldcrest_group" && sleep 2 && kill -KILL "-$goldcrest_group"
    ) </dev/null >/dev/null 2>&1 &
  fi 2>/dev/null
  exit "$goldcrest_status"
}
