begin move
mv -f -- "$source" "$target" || failed $?
succeeded moved
