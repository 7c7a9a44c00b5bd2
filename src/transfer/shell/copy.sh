begin copy
to=$target
if [ -d "$target" ]; then to=${target%/}/${source##*/}; fi
refuse_same_file cp "$source" "$to" "$follow" || failed $?
stage "${to%/*}/."
cp -a $follow -- "$source" "$staged/new" || failed $?
copy_permissions "$staged/new" "$source" || failed $?
merge "$staged/new" "$to" within || failed $?
succeeded copied
