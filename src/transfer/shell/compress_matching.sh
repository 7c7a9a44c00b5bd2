begin compress
apart "$directory" "$name" "$target" "$follow" matching || failed $?
# Whatever ends the job, no half archive is left.
trap 'rm -f -- "$temporary" "$list"' EXIT
trap 'exit 143' HUP INT TERM
cd "$directory" || failed $?
# The archive may lie in the directory, and does not hold itself.
if [ -e "$target" ]; then archive=$target; else archive=$temporary; fi
make_temporary
# By way of a file, since a pipe would hide the exit status of find: what it could not read would be missing silently.
find $links "./$name" -type f -regex "$pattern" ! -samefile "$list" ! -samefile "$temporary" ! -samefile "$archive" -print0 >"$list" || failed $?
if [ ! -s "$list" ]; then say "Nothing in it matches the pattern, so that there is nothing to pack" >&2; failed 1; fi
tar --create --force-local --no-unquote --file="$temporary" $compression $follow --null --no-recursion --files-from="$list" || failed $?
put "$temporary" "$target" || failed $?
succeeded compressed
