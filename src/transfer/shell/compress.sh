begin compress
stage "${target%/*}/."
pack "$staged/new" "$target" "$directory" "$name" "$links" "$compression" || failed $?
succeeded compressed
