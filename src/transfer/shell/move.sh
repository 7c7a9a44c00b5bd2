begin move
to=$target
if [ -d "$target" ]; then to=${target%/}/${source##*/}; fi
stage "${to%/*}/."
moved "$source" "$staged/new" "$to" || failed $?
succeeded moved
