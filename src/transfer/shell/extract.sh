begin extract
stage "$target"
unpack "$source" "$staged/new" "$target" "$compression" || failed $?
succeeded extracted
