begin extract
stage "$target"
mkdir -- "$staged/new" && began "$staged/new" || failed $?
tar --extract --ignore-zeros --force-local --no-unquote --file="$source" --directory="$staged/new" $compression || failed $?
placed "$staged/new" "$target" || misplaced $?
succeeded extracted
