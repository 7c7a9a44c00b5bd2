begin compress
apart "$directory" "$name" "$target" || failed $?
# Whatever ends the job, no half archive is left.
trap 'rm -f -- "$temporary"' EXIT
trap 'exit 143' HUP INT TERM
# Where the target lies in the source, the archive is not to pack itself, nor to change a directory while it is read.
make_temporary
own=$name${temporary#"${directory%/}/$name"}
tar --create --force-local --no-unquote --file="$temporary" $compression $follow --anchored --no-wildcards --exclude="$own" \
    --directory="$directory" --add-file="$name" || failed $?
put "$temporary" "$target" || failed $?
succeeded compressed
