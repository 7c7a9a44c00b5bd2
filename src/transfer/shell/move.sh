begin move
to=$target
if [ -d "$target" ]; then to=${target%/}/${source##*/}; fi
stage "${to%/*}/."
move_to "$source" "$staged/new" "$to" || failed $?
succeeded moved
