begin extract
stage "$target"
mkdir -- "$staged/new" || failed $?
tar --extract --force-local --no-unquote --file="$source" --directory="$staged/new" $compression || failed $?
merged "$staged/new" "$target" || failed $?
succeeded extracted
