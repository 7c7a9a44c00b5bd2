begin copy
to=$target
if [ -d "$target" ]; then to=${target%/}/${source##*/}; fi
stage "${to%/*}/."
cp -a $follow -- "$source" "$staged/new" || failed $?
like "$staged/new" "$source" || failed $?
placed "$staged/new" "$to" within || misplaced $?
succeeded copied
