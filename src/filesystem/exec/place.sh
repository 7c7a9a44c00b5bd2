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
# renamed NEW TARGET: gives NEW the name TARGET, and replaces what has it. Where `only_new` is 1, it replaces nothing and fails, in the words of mv:
# a second name is made in one step, for a directory by the kernel (RENAME_NOREPLACE of rename(2), GNU coreutils 8.30).
renamed() { if [ "${only_new-0}" = 0 ]; then mv -f -T -- "$1" "$2"; return; fi;
if { [ ! -d "$1" ] || [ -L "$1" ]; } && ln -P -T -- "$1" "$2" 2>/dev/null; then rm -f -- "$1" || { rm -f -- "$2"; return 1; }; return 0; fi;
if [ ! -e "$2" ] && [ ! -L "$2" ]; then mv -n -T -- "$1" "$2" 2>/dev/null; fi;
if [ ! -e "$1" ] && [ ! -L "$1" ]; then return 0; fi; if [ -e "$2" ] || [ -L "$2" ]; then printf "mv: %s: File exists\n" "$2" >&2; return 1; fi;
mv -n -T -- "$1" "$2"; };
# copied SOURCE NEW TARGET LINKS: copies SOURCE to NEW, which is beside TARGET, with its rights or fewer, and gives it the name TARGET.
copied() { cp -R "$4" --preserve=mode,ownership,timestamps,links -T -- "$1" "$2" && like "$2" "$1" && renamed "$2" "$3"; };
# one FILE OTHER: whether both names are there and lead to one file.
one() { set -- "$(stat -L --format="%d %i" -- "$1" 2>/dev/null)" "$(stat -L --format="%d %i" -- "$2" 2>/dev/null)"; [ -n "$1" ] && [ "$1" = "$2" ]; };
# leads LINK TARGET: whether one of the links from LINK on names TARGET.
leads() { set -- "$1" "$2" 0; while [ -L "$1" ] && [ "$3" -lt 40 ]; do set -- "$1" "$2" "$3" "$(readlink -n -- "$1" && echo .)"; [ -n "$4" ] || return;
case $4 in /*) set -- "${4%.}" "$2" $(($3 + 1)) ;; *) set -- "${1%/*}/${4%.}" "$2" $(($3 + 1)) ;; esac;
if [ "${1##*/}" = "${2##*/}" ] && one "${1%/*}/." "${2%/*}/."; then return 0; fi; done; return 1; };
# itself TOOL SOURCE TARGET: fails, in the words of TOOL, where SOURCE is a link to TARGET, a file or another link: in its place it would lead to
# itself, and the content would be lost.
itself() { if [ -L "$2" ] && { leads "$2" "$3" || { [ ! -L "$3" ] && one "$2" "$3"; }; }; then printf "%s: %s is what the link leads to: they are the same file\n" "$1" "$3" >&2; return 1; fi; };
# moved SOURCE NEW TARGET: moves SOURCE to TARGET. Where they are on two file systems, it is copied to NEW, which is beside TARGET, first. Two
# names of one file are refused: the kernel would keep both, and report success.
moved() { itself mv "$1" "$3" || return; set -- "$1" "$2" "$3" "$(stat --format="%d %i" -- "$1" 2>/dev/null)";
if [ -n "$4" ] && [ "$4" = "$(stat --format="%d %i" -- "$3" 2>/dev/null)" ]; then printf "mv: %s is another name of the same file\n" "$3" >&2; return 1;
elif [ "${4% *}" = "$(stat --format=%d -- "${3%/*}/." 2>/dev/null)" ]; then renamed "$1" "$3";
elif [ -w "${1%/*}/." ]; then copied "$1" "$2" "$3" -P || return;
rm -rf -- "$1" 2>/dev/null || { printf "mv: %s: its copy is complete, and it could not be removed whole\n" "$1" >&2; return 1; };
else printf "mv: cannot remove %s: Permission denied\n" "$1" >&2; return 1; fi; };
# placed NEW TARGET [within]: moves NEW to TARGET: a file or link there is replaced by one, directories are merged. Where something of it cannot get to
# its place, `unplaced` has the name of that place, and the status is 11 where other parts of NEW are in theirs by then, 12 where nothing was changed.
placed() { aside=${1%/new}; aside=${aside##*/}; placing=12; fits "$1" "$2" "${3-}" && merged "$1" "$2" "${3-}" || return $placing; };
# into NEW TARGET [within]: whether the content of NEW goes into TARGET: both are directories. A link to one is kept and followed, as tar and the shell
# do it; within the target of the request only where the link is of the user or of root: others may have laid it there.
into() { [ -d "$1" ] && [ ! -L "$1" ] && [ -d "$2" ] || return;
[ ! -L "$2" ] || [ -z "${3-}" ] || case $(stat --format=%u -- "$2") in 0 | "$(id -u)") ;; *) return 1 ;; esac; };
# fits NEW TARGET [within]: fails, in the words of mv, where something of NEW cannot get to its place, as far as that shows beforehand.
fits() { unplaced=$2; if into "$1" "$2" "${3-}"; then
set -- "$1" "$2"; if [ ! -r "$1" ] || [ ! -w "$1" ] || [ ! -x "$1" ]; then set -- "$1" "$2" "$(stat --format=%a -- "$1")"; chmod u+rwx -- "$1" || return; fi;
for entry in "$1"/* "$1"/.*; do case ${entry##*/} in . | ..) ;; *) if [ -e "$entry" ] || [ -L "$entry" ]; then
fits "$entry" "$2/${entry##*/}" within || return; fi ;; esac; done; [ -z "${3-}" ] || chmod -- "$3" "$1";
elif [ -d "$2" ] && [ ! -L "$2" ]; then printf "mv: cannot overwrite directory %s with non-directory\n" "$2" >&2; return 1;
elif [ -d "$1" ] && [ ! -L "$1" ] && { [ -e "$2" ] || [ -L "$2" ]; }; then
printf "mv: cannot overwrite non-directory %s with directory\n" "$2" >&2; return 1;
elif [ ! -w "${2%/*}/." ] || [ ! -x "${2%/*}/." ]; then printf "mv: cannot create %s: Permission denied\n" "$2" >&2; return 1; fi; };
# began DIR: notes when DIR was made, before an archive is unpacked in it.
began() { begun=$(stat --format=%.9Y -- "$1") && begun=${begun%.*}${begun#*.}; };
# implied DIR: whether the archive that was unpacked since `began` has no entry for DIR. Then tar has made it for what is below, and its time is
# that of now and not one of the archive.
implied() { [ -n "${begun-}" ] && set -- "$(stat --format=%.9Y -- "$1")" && [ "${1%.*}${1#*.}" -ge "$begun" ]; };
# merged NEW TARGET [within DEVICE DEVICE]: does what `placed` says, where NEW fits; the numbers are those of the file systems of NEW and TARGET.
# Directories in TARGET get the modes and times of those in NEW, as tar does it, but for those that are implied.
# shellcheck disable=SC2034,SC2046
merged() { unplaced=$2; if into "$1" "$2" "${3-}"; then
set -- "$1" "$2" "${3-}" "$(stat --format=%y -- "$1")" $(stat --format="%a %d" -- "$1") "$(stat -L --format=%d -- "$2")" "$(implied "$1" && echo implied)"; chmod u+rwx -- "$1" || return;
for entry in "$1"/* "$1"/.*; do case ${entry##*/} in . | ..) ;; *) if [ -e "$entry" ] || [ -L "$entry" ]; then
merged "$entry" "$2/${entry##*/}" within "$6" "$7" || return; fi ;; esac; done; unplaced=$2; rmdir -- "$1" || return;
if [ -n "$3" ] && [ -z "$8" ] && [ ! -L "$2" ]; then chmod -- "$5" "$2"; touch -d "$4" -- "$2"; fi 2>/dev/null; return 0; fi;
if [ -d "$1" ] && [ ! -L "$1" ]; then
if [ ! -w "$1" ]; then set -- "$1" "$2" "$(stat --format=%a -- "$1")" "${4-}" "${5-}"; chmod u+w -- "$1" || return; else set -- "$1" "$2" "" "${4-}" "${5-}"; fi;
else set -- "$1" "$2" "" "${4-}" "${5-}"; fi;
if [ "$4" = "$5" ]; then mv -f -T -- "$1" "$2" || return;
elif copied "$1" "${2%/*}/$aside" "$2" -P; then cleared "$1"; else cleared "${2%/*}/$aside"; return 1; fi; placing=11;
[ -z "$3" ] || chmod -- "$3" "$2"; };
# vacant TOOL TARGET OVERWRITE: fails, in the words of TOOL, where there is something at TARGET and OVERWRITE is 0.
vacant() { [ "$3" = 0 ] || return 0; if [ -e "$2" ] || [ -L "$2" ]; then echo "$1: $2: File exists" >&2; return 1; fi; };
# apart DIR NAME TARGET FOLLOW [matching]: fails, in the words of tar, where TARGET, the archive of NAME in DIR, is NAME in DIR itself by whatever
# path, is the file that NAME leads to, or would lie in the directory NAME although that is packed whole, not only the files in it that match an
# expression; FOLLOW is empty or -P where NAME itself is packed if it is a link.
apart() { if [ "${3##*/}" = "$2" ] && [ -e "$3" ] && one "${3%/*}/." "$1/."; then
printf "tar: %s: the archive cannot take the place of what it is to hold\n" "$3" >&2; return 1; fi; itself tar "$1/$2" "$3" || return;
[ -z "${5-}" ] && [ -d "$1/$2" ] || return 0; if [ -L "$1/$2" ]; then case ${4-} in "" | -P) return 0 ;; esac; fi;
set -- "$3" "$(readlink -f -n -- "$1/$2" && echo .)" "$(readlink -f -n -- "${3%/*}/." && echo .)"; [ -n "$2" ] && [ -n "$3" ] || return 0; set -- "$1" "${2%.}" "${3%.}";
case ${3%/}/ in "${2%/}"/*) printf "tar: %s: the archive would lie in what it is to hold\n" "$1" >&2; return 1 ;; esac; };
# guarded NEW COMMAND...: runs the command. Where that fails, or is told to end, NEW is removed.
guarded() { new=$1; shift; trap 'cleared "$new"; exit 143' HUP INT TERM; "$@" || { e=$?; cleared "$new"; exit $e; }; };
# cleared NEW: removes what was not moved to its place.
cleared() { [ -L "$1" ] || chmod -R u+rwx -- "$1" 2>/dev/null; rm -rf -- "$1"; };
