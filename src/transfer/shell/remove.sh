begin delete
# Not -f, for which a path that does not exist is no error. A job has no terminal, so nothing is asked.
rm -r -- "$path" || failed $?
succeeded deleted
