begin copy
cp -f -a $follow -- "$source" "$target" || failed $?
succeeded copied
