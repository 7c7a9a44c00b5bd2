begin compress
stage "${target%/*}/."
pack_matching "$staged/new" "$target" "$directory" "$name" "$links" "$compression" "$pattern" || failed $?
succeeded compressed
