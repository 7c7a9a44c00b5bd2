begin copy
to=$target
if [ -d "$target" ]; then to=${target%/}/${source##*/}; fi
if [ -z "$follow" ]; then itself cp "$source" "$to" || failed $?; fi
stage "${to%/*}/."
cp -a $follow -- "$source" "$staged/new" || failed $?
like "$staged/new" "$source" || failed $?
placed "$staged/new" "$to" within || misplaced $?
succeeded copied
