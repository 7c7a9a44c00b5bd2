begin receive
completed=no
# Whatever ends the job, no half file is left, nor unusable parts in the store.
finish() {
    rm -f -- "$temporary"
    [ $completed = yes ] || call "$abort_url" --request DELETE --max-time 30 >/dev/null 2>&1 || :
}
trap finish EXIT
trap 'exit 143' HUP INT TERM
if [ -d "$target" ]; then refuse 3 'targetPath must point to a file path: it is a directory'; fi
# Whether the file can be written at all is better known before it was uploaded. It is open to its owner alone if it is to have the rights of $target.
if [ -e "$target" ]; then (umask 077 && touch -- "$temporary") || failed $?; else touch -- "$temporary" || failed $?; fi

# The last status and the length of what is in the store.
look() {
    answer=$(call "$head_url" --head --max-time 60 2>/dev/null) || :
    status=$(printf '%s\n' "$answer" | sed -n 's,^HTTP/[^ ]* \([0-9][0-9]*\).*,\1,p' | tail -n 1)
    length=$(printf '%s\n' "$answer" | sed -n 's,^[Cc]ontent-[Ll]ength: *\([0-9][0-9]*\).*,\1,p' | tail -n 1)
}

say 'Waiting until the file is in the store'
pause=1
look
until [ "$status" = 200 ]; do
    [ "$(date +%s)" -lt "$deadline" ] || refuse 62 "The upload was not completed in its time; the store answered ${status:-nothing} last"
    # In the background, so that a signal is noticed at once.
    sleep $pause &
    wait $!
    [ $pause -ge 30 ] || pause=$((pause * 2))
    look
done
completed=yes
[ "$length" = "$size" ] || refuse 65 "The store has ${length:-an unknown number of} bytes, and fileSize is $size"

say 'Downloading the file from the store'
attempt=0
have=0
while [ "$have" != "$size" ]; do
    attempt=$((attempt + 1))
    status=0
    call "$get_url" --fail --speed-limit 1 --speed-time 120 --continue-at "$have" >>"$temporary" || status=$?
    had=$have
    have=$(size_of "$temporary")
    if [ "$have" = "$size" ]; then break; fi
    [ "$have" -lt "$size" ] || refuse 65 "The store sent more than $size bytes"
    # What goes on is no failure, however often it breaks.
    [ "$have" = "$had" ] || attempt=1
    [ $attempt -lt 5 ] || refuse "$((status > 0 ? status : 1))" "The store sent $have bytes of $size"
    sleep $((attempt * attempt)) &
    wait $!
done
replace_file "$temporary" "$target" || failed $?
# Where this fails the store removes it in its time.
call "$delete_url" --request DELETE --max-time 30 >/dev/null 2>&1 || :
say "File was successfully downloaded (size: $size bytes)"
