begin compress
apart "$directory" "$name" "$target" "$follow" || failed $?
# Whatever ends the job, no half archive is left.
trap 'rm -f -- "$temporary"' EXIT
trap 'exit 143' HUP INT TERM
make_temporary
tar --create --force-local --no-unquote --file="$temporary" $compression $follow --directory="$directory" --add-file="$name" || failed $?
put "$temporary" "$target" || failed $?
succeeded compressed
