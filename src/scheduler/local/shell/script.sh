# Prints the script at path $1, at most $2 bytes of it.
script() {
    [ -e "$1" ] || fail 64 "Unable to open file $1: No such file or directory"
    [ -f "$1" ] || fail 64 "Unable to open file $1: not a regular file"
    [ -r "$1" ] || fail 64 "Unable to open file $1: Permission denied"
    begin
    head -c "$2" <"$1"
}
script "$@"
