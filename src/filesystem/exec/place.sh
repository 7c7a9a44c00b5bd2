# How a finished file or tree gets to its place, for commands and for jobs; its lines are joined to one, so each ends where a blank may follow.
# Rights are set on an open file, never on a name: in a directory that others may write to, the name can lead elsewhere by then. What the
# functions do is what Rights in filesystem/rights.rs says.
#
# acl FILE OTHER: gives FILE the access control list of OTHER; fails where it then has another one.
acl() { getfacl -cnp -- "$2" | setfacl --set-file=- -- "$1" && [ "$(getfacl -cnp -- "$2")" = "$(getfacl -cnp -- "$1")" ]; } 2>/dev/null;
# rights FILE OTHER: gives FILE the group, list and mode of OTHER, narrowed where they cannot be kept.
# shellcheck disable=SC2046
rights() { set -- "$1" "$2" $(stat -L --format="%a %u %g" -- "$2"); [ -n "${5-}" ] || return 1;
[ "$(stat -L --format=%g -- "$1")" = "$5" ] || chgrp -- "$5" "$1" 2>/dev/null;
b=$((0$3 >> 3 & 0$3 & 7)); n=$((0$3 & 0700 | b << 3 | b)); l=$(ls -ldnqL -- "$1" "$2" | cut -c11 | tr -dc +);
if [ "$(stat -L --format=%g -- "$1")" = "$5" ]; then
if [ -z "$l" ] || acl "$1" "$2"; then n=$((0$3)); else n=$((n & 0700)); fi;
elif [ -n "$l" ]; then n=$((n & 0700)); fi;
[ "$(stat -L --format=%u -- "$1")" = "$4" ] || n=$((n & 03777)); chmod -- "$(printf %05o $n)" "$1"; };
# same FILE: fails (8) where the name FILE is not, or not the only one, of the file that is open as 3; so is that of a link.
same() { [ "$(stat -L --format="%h %d %i" /dev/fd/3)" = "1 $(stat --format="%d %i" -- "$1")" ] || return 8; };
# like FILE OTHER: gives FILE, where it is a file, the rights of OTHER.
like() { [ -f "$1" ] || return 0; [ -L "$1" ] || { same "$1" && rights /dev/fd/3 "$2"; } 3<"$1"; };
# put FILE OTHER: puts FILE in the place of OTHER, with its rights.
put() { if [ -f "$2" ]; then like "$1" "$2" || return; fi; mv -f -T -- "$1" "$2"; };
# copied SOURCE NEW TARGET LINKS: copies SOURCE to NEW, which is beside TARGET, with its rights or fewer, and puts that in the place of TARGET.
copied() { cp -R "$4" --preserve=mode,ownership,timestamps,links -T -- "$1" "$2" && like "$2" "$1" && mv -f -T -- "$2" "$3"; };
# moved SOURCE NEW TARGET: moves SOURCE to TARGET. Where they are on two file systems, it is copied to NEW, which is beside TARGET, first. Two
# names of one file are refused: the kernel would keep both, and report success.
moved() { set -- "$1" "$2" "$3" "$(stat --format="%d %i" -- "$1" 2>/dev/null)";
if [ -n "$4" ] && [ "$4" = "$(stat --format="%d %i" -- "$3" 2>/dev/null)" ]; then printf "mv: %s is another name of the same file\n" "$3" >&2; return 1;
elif [ "${4% *}" = "$(stat --format=%d -- "${3%/*}/." 2>/dev/null)" ]; then mv -f -T -- "$1" "$3";
elif [ -w "${1%/*}/." ]; then copied "$1" "$2" "$3" -P && rm -rf -- "$1";
else printf "mv: cannot remove %s: Permission denied\n" "$1" >&2; return 1; fi; };
# merged NEW TARGET: moves NEW to TARGET, on one file system: what is there is replaced whole; directories are merged, and those in TARGET get
# the modes and times of those in NEW, as tar does it.
merged() { if [ -d "$1" ] && [ ! -L "$1" ] && [ -d "$2" ] && [ ! -L "$2" ]; then
set -- "$1" "$2" "${3-}" "$(stat --format=%a -- "$1")" "$(stat --format=%y -- "$1")"; chmod u+rwx -- "$1" || return;
for entry in "$1"/* "$1"/.*; do case ${entry##*/} in . | ..) ;; *) if [ -e "$entry" ] || [ -L "$entry" ]; then
merged "$entry" "$2/${entry##*/}" within || return; fi ;; esac; done; rmdir -- "$1" || return;
if [ -n "$3" ]; then chmod -- "$4" "$2"; touch -d "$5" -- "$2"; fi 2>/dev/null; return 0;
else
if [ -d "$1" ] && [ ! -L "$1" ]; then rm -f -- "$2" || return; fi; mv -f -T -- "$1" "$2"; fi; };
# vacant TOOL TARGET OVERWRITE: fails, in the words of TOOL, where there is something at TARGET and OVERWRITE is 0.
vacant() { [ "$3" = 0 ] || return 0; if [ -e "$2" ] || [ -L "$2" ]; then echo "$1: $2: File exists" >&2; return 1; fi; };
# guarded NEW COMMAND...: runs the command. Where that fails, or is told to end, NEW is removed.
guarded() { new=$1; shift; trap 'cleared "$new"; exit 143' HUP INT TERM; "$@" || { e=$?; cleared "$new"; exit $e; }; };
# cleared NEW: removes what was not moved to its place.
cleared() { [ -L "$1" ] || chmod -R u+rwx -- "$1" 2>/dev/null; rm -rf -- "$1"; };
