begin send
completed=no
folder=
workers=
# Whatever ends the job, nothing is left here, nor unusable parts in the store.
finish() {
    # shellcheck disable=SC2086
    [ -z "$workers" ] || kill $workers 2>/dev/null || :
    [ $completed = yes ] || call "$abort_url" --request DELETE --max-time 30 >/dev/null 2>&1 || :
    [ -z "$folder" ] || rm -rf -- "$folder"
}
trap finish EXIT
trap 'exit 143' HUP INT TERM

unchanged() { [ "$(size_of "$source")" = "$size" ] || refuse 65 'The file has another size than when it was asked for'; }

[ "$(date +%s)" -lt "$deadline" ] || refuse 62 'The job waited for longer than the store may be written to: ask again'
unchanged
[ -f "$source" ] && [ -r "$source" ] || refuse 13 'The file is no regular file, or may not be read'
umask 077
mkdir -p -- "$workplace" || failed $?
folder=$(mktemp -d -- "$workplace/goldcrest-XXXXXXXXXX") || failed $?
printf '%s\n' "$signatures" >"$folder/signatures"
if [ "$split" = yes ]; then
    say "Splitting the file into $parts parts"
    split --bytes="$part_size" --numeric-suffixes=1 --suffix-length=5 -- "$source" "$folder/part." || failed $?
    # An empty file has no parts, and an upload has one.
    touch -- "$folder/part.00001"
fi

# Sends the part $number once.
send_once() {
    part=$folder/part.$(printf '%05d' "$number")
    rm -f -- "$folder/headers.$number"
    if [ "$split" = yes ]; then
        call "$part_url" --fail --speed-limit 1 --speed-time 120 --dump-header "$folder/headers.$number" --upload-file "$part" >/dev/null || return
    else
        # Said beforehand, the length takes the place of chunks, which the store would not take.
        dd if="$source" bs=1048576 iflag=skip_bytes,count_bytes skip="$from" count="$length" status=none |
            call "$part_url" --fail --speed-limit 1 --speed-time 120 --dump-header "$folder/headers.$number" --header "Content-Length: $length" \
                --header 'Transfer-Encoding:' --upload-file - >/dev/null || return
    fi
    tag=$(sed -n 's|^[Ee][Tt][Aa][Gg]: *\("\{0,1\}[A-Za-z0-9+/=_.-]*"\{0,1\}\).*|\1|p' "$folder/headers.$number" | tail -n 1)
    if [ -z "$tag" ]; then
        say "The store gave no ETag for part $number" >&2
        return 1
    fi
    printf '<Part><PartNumber>%s</PartNumber><ETag>%s</ETag></Part>\n' "$number" "$tag" >"$folder/sent.$number"
    [ "$split" != yes ] || rm -f -- "$part"
}

# Whether the store will not take the part $number, however often it is sent.
refused() {
    case $(sed -n 's,^HTTP/[^ ]* \([0-9][0-9]*\).*,\1,p' "$folder/headers.$number" 2>/dev/null | tail -n 1) in
        408 | 429) return 1 ;;
        4*) ;;
        *) return 1 ;;
    esac
}

# Sends the part $1, and each one that is a multiple of $parallel after it, until one of any worker fails.
send_parts() {
    number=$1
    while [ "$number" -le "$parts" ] && [ ! -e "$folder/failed" ]; do
        from=$(((number - 1) * part_size))
        length=$((size - from))
        [ "$length" -le "$part_size" ] || length=$part_size
        part_url=$url_before$number$url_after$(sed -n "${number}{p;q;}" "$folder/signatures")
        attempt=1
        until send_once; do
            if [ $attempt -ge 5 ] || [ -e "$folder/failed" ] || refused; then
                say "Part $number of $parts was not sent" >&2
                touch -- "$folder/failed"
                return 70
            fi
            sleep $((attempt * attempt))
            attempt=$((attempt + 1))
        done
        number=$((number + parallel))
    done
}

say "Sending the file in $parts parts"
worker=1
while [ $worker -le "$parallel" ] && [ $worker -le "$parts" ]; do
    send_parts $worker &
    workers="$workers $!"
    worker=$((worker + 1))
done
status=0
for worker in $workers; do wait "$worker" || status=$?; done
workers=
[ $status -eq 0 ] || failed $status
unchanged

{
    printf '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">\n'
    number=1
    while [ $number -le "$parts" ]; do
        cat -- "$folder/sent.$number"
        number=$((number + 1))
    done
    printf '</CompleteMultipartUpload>\n'
} >"$folder/complete" || failed $?

# A store may answer with 200 before it knows, and tell the failure in the content.
put_together() {
    call "$complete_url" --max-time 3600 --header 'Content-Type: application/xml' --data-binary "@$folder/complete" >"$folder/answer" || return
    grep -q CompleteMultipartUploadResult "$folder/answer" && ! grep -q '<Error' "$folder/answer"
}
attempt=1
until put_together; do
    reason=$(sed -n 's,.*<Code>\([A-Za-z0-9]*\)</Code>.*,\1,p' "$folder/answer" | head -n 1)
    [ $attempt -lt 3 ] || refuse 70 "The store did not put the parts together: ${reason:-it gave no reason}"
    sleep $((attempt * attempt))
    attempt=$((attempt + 1))
done
completed=yes
say 'Multipart file upload successfully completed'
