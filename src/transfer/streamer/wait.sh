begin transfer
# Whatever ends the job, its report does not stay. Goldcrest learns from the scheduler that the job has ended.
trap 'rm -f -- "$report"' EXIT
trap 'exit 143' HUP INT TERM

# refuse STATUS REASON: ends the job for a reason that is no tool's.
refuse() {
    say "$2" >&2
    failed "$1"
}

# The first line of the report, and what changes with each sign of life.
look() {
    word=
    sign=$(stat -c '%i %y' -- "$report" 2>/dev/null) || sign=
    [ -z "$sign" ] || { IFS= read -r word <"$report"; } 2>/dev/null || :
}

say 'Waiting for the client to connect to Goldcrest'
started=$(date +%s)
changed=$started
known=
missing=0
while :; do
    look
    now=$(date +%s)
    pause=1
    case $word in
        done) break ;;
        failed) refuse 1 "$(sed 1d -- "$report")" ;;
        begun)
            missing=0
            [ -n "$known" ] || say 'The client is connected'
            if [ "$sign" != "$known" ]; then
                known=$sign
                changed=$now
            fi
            [ $((now - changed)) -lt "$silence" ] || refuse 70 "Goldcrest has not reported for $silence seconds: it was stopped, or cannot write here"
            ;;
        *)
            if [ -n "$known" ]; then
                # Where a file system cannot replace a file in one step, it is away for a moment.
                missing=$((missing + 1))
                [ $missing -lt 10 ] || refuse 70 'The transfer ended, and Goldcrest could not write here how'
            else
                [ $((now - started)) -lt "$wait_timeout" ] || refuse 62 "No client connected within $wait_timeout seconds"
                [ $((now - started)) -lt 60 ] || pause=5
            fi
            ;;
    esac
    # In the background, so that a signal is noticed at once.
    sleep $pause &
    wait $!
done
say 'File was successfully transferred'
