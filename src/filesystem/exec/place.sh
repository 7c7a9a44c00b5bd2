# How a finished file or tree gets to its place, for commands and for jobs. Commands get the lines joined to one, so each ends where a blank may follow.
# Rights are set on an open file or directory, never on a name: in a directory that others may write to, the name can lead elsewhere by then. The
# policy is that of Rights in filesystem/rights.rs. Variables are global: a job must not have one of a name that is used here.
#
# copy_acl FILE OTHER: gives FILE the access control list of OTHER; fails if it then has a different one.
copy_acl() { getfacl -cnp -- "$2" | setfacl --set-file=- -- "$1" && [ "$(getfacl -cnp -- "$2")" = "$(getfacl -cnp -- "$1")" ]; } 2>/dev/null;
# copy_rights FILE OTHER: gives FILE the group, access control list and mode of OTHER, or fewer rights if they cannot be kept.
# shellcheck disable=SC2046
copy_rights() { set -- "$1" "$2" $(stat -L --format="%a %u %g" -- "$2"); [ -n "${5-}" ] || return 1;
[ "$(stat -L --format=%g -- "$1")" = "$5" ] || chgrp -- "$5" "$1" 2>/dev/null;
both=$((0$3 >> 3 & 0$3 & 7)); mode=$((0$3 & 0700 | both << 3 | both)); lists=$(ls -ldnqL -- "$1" "$2" | cut -c11 | tr -dc +);
if [ "$(stat -L --format=%g -- "$1")" = "$5" ]; then
if [ -z "$lists" ] || copy_acl "$1" "$2"; then mode=$((0$3)); else mode=$((mode & 0700)); fi;
elif [ -n "$lists" ]; then mode=$((mode & 0700)); fi;
[ "$(stat -L --format=%u -- "$1")" = "$4" ] || mode=$((mode & 03777)); chmod -- "$(printf %05o $mode)" "$1"; };
# is_only_name FILE: exit status 8 unless FILE is the only name of the file that is open as descriptor 3. A symbolic link fails too.
is_only_name() { [ "$(stat -L --format="%h %d %i" /dev/fd/3)" = "1 $(stat --format="%d %i" -- "$1")" ] || return 8; };
# copy_permissions FILE OTHER: if FILE is a regular file, gives it the rights of OTHER.
copy_permissions() { [ -f "$1" ] || return 0; [ -L "$1" ] || { is_only_name "$1" && copy_rights /dev/fd/3 "$2"; } 3<"$1"; };
# replace_file FILE OTHER: renames FILE to OTHER; if OTHER is a file, FILE gets its rights first.
replace_file() { if [ -f "$2" ]; then copy_permissions "$1" "$2" || return; fi; mv -f -T -- "$1" "$2"; };
# set_directory DIR INODE MODE [TIME]: sets the modification time and the mode of the directory DIR if its device and inode are still INODE.
set_directory() ( cd -P -- "$1" && [ "$(stat --format="%d %i" .)" = "$2" ] && { [ -z "${4-}" ] || touch -d "$4" .; } && chmod -- "$3" . );
# rename_to TOOL FILE TARGET [OVERWRITE]: renames FILE to TARGET. If OVERWRITE is 0, it fails, with a message of TOOL, if TARGET exists by then: a file
# gets a second name in one step (link(2), which NFS has too), a directory by RENAME_NOREPLACE of rename(2) (mv of GNU coreutils 8.30).
rename_to() { if [ "${4-1}" != 0 ]; then mv -f -T -- "$2" "$3"; return; fi;
if { [ ! -d "$2" ] || [ -L "$2" ]; } && ln -P -T -- "$2" "$3" 2>/dev/null; then rm -f -- "$2" || { rm -f -- "$3"; return 1; }; return 0; fi;
if [ -e "$3" ] || [ -L "$3" ]; then echo "$1: $3: File exists" >&2; return 1; fi; mv -n -T -- "$2" "$3"; set -- $? "$@";
if [ -e "$3" ] || [ -L "$3" ]; then [ "$1" != 0 ] || echo "$2: $4: File exists" >&2; return 1; fi; return "$1"; };
# copy_to SOURCE NEW TARGET LINKS [OVERWRITE]: copies SOURCE to NEW, which is beside TARGET, and renames that to TARGET. A single file gets the rights of
# SOURCE, or fewer; in a tree, cp keeps the modes also where it cannot keep owner and group.
copy_to() { cp -R "$4" --preserve=mode,ownership,timestamps,links -T -- "$1" "$2" && copy_permissions "$2" "$1" && rename_to cp "$2" "$3" "${5-1}"; };
# same_inode FILE OTHER: whether both names exist and lead to the same file, with links followed.
same_inode() { set -- "$(stat -L --format="%d %i" -- "$1" 2>/dev/null)" "$(stat -L --format="%d %i" -- "$2" 2>/dev/null)"; [ -n "$1" ] && [ "$1" = "$2" ]; };
# link_chain_names LINK TARGET: whether one of the links that begin with LINK names TARGET.
link_chain_names() { set -- "$1" "$2" 0; while [ -L "$1" ] && [ "$3" -lt 40 ]; do set -- "$1" "$2" "$3" "$(readlink -n -- "$1" && echo .)"; [ -n "$4" ] || return;
case $4 in /*) set -- "${4%.}" "$2" $(($3 + 1)) ;; *) set -- "${1%/*}/${4%.}" "$2" $(($3 + 1)) ;; esac;
while :; do case $1 in ?*/ | ?*/.) set -- "${1%.}" "$2" "$3"; set -- "${1%/}" "$2" "$3" ;; *) break ;; esac; done;
if [ "${1##*/}" = "${2##*/}" ] && same_inode "${1%/*}/." "${2%/*}/."; then return 0; fi; done; return 1; };
# refuse_self_reference TOOL SOURCE TARGET: fails, with a message of TOOL, if SOURCE is a symbolic link to TARGET, a file or another link: after the
# replacement it would refer to itself, and the content would be lost.
refuse_self_reference() { if [ -L "$2" ] && { link_chain_names "$2" "$3" || { [ ! -L "$3" ] && same_inode "$2" "$3"; }; }; then
printf "%s: %s is what the link leads to: they are the same file\n" "$1" "$3" >&2; return 1; fi; };
# refuse_same_file TOOL SOURCE TARGET [-L]: fails, with a message of TOOL, if SOURCE, followed where -L is given, and TARGET are the same file, or
# directory, by whatever path, and as refuse_self_reference. A rename would keep both names and report success; a copy would replace each file by
# itself, under programs that have it open.
refuse_same_file() { [ "${4-}" = -L ] || refuse_self_reference "$1" "$2" "$3" || return; set -- "$1" "$2" "$3" "${4-}" "$(stat --format="%d %i" -- "$2" 2>/dev/null)";
if { [ -n "$5" ] && [ "$5" = "$(stat --format="%d %i" -- "$3" 2>/dev/null)" ]; } ||
{ { [ "$4" = -L ] || [ ! -L "$2" ]; } && { [ ! -L "$3" ] || [ -d "$3" ]; } && same_inode "$2" "$3"; }; then
printf "%s: %s is another name of the same file\n" "$1" "$3" >&2; return 1; fi; };
# move_to SOURCE NEW TARGET [OVERWRITE]: moves SOURCE to TARGET. Between two file systems, it is copied to NEW first, which is beside TARGET.
move_to() { refuse_same_file mv "$1" "$3" || return;
if [ "$(stat --format=%d -- "$1" 2>/dev/null)" = "$(stat --format=%d -- "${3%/*}/." 2>/dev/null)" ]; then rename_to mv "$1" "$3" "${4-1}";
elif [ -w "${1%/*}/." ]; then copy_to "$1" "$2" "$3" -P "${4-1}" || return;
rm -rf -- "$1" 2>/dev/null || { printf "mv: %s: its copy is complete, and it could not be removed whole\n" "$1" >&2; return 1; };
else printf "mv: cannot remove %s: Permission denied\n" "$1" >&2; return 1; fi; };
# merge NEW TARGET [within]: moves NEW to TARGET: a file or link at TARGET is replaced, directories are merged. If something of NEW cannot get to its
# place, `unplaced` is the name of that place, and the exit status is 11 if other parts of NEW are in their places by then, 12 if nothing was changed.
merge() { spare=${1%/new}; spare=${spare##*/}; merging=12; check_merge "$1" "$2" "${3-}" && merge_tree "$1" "$2" "${3-}" || return $merging; };
# is_merge_dir NEW TARGET [within]: whether the content of NEW goes into TARGET: both are directories. A link to a directory is kept and followed, as
# tar and the shell do. Below the target of the request it is followed only if the caller or root owns it: another user could have planted it.
is_merge_dir() { [ -d "$1" ] && [ ! -L "$1" ] && [ -d "$2" ] || return;
[ ! -L "$2" ] || [ -z "${3-}" ] || case $(stat --format=%u -- "$2") in 0 | "$(id -u)") ;; *) return 1 ;; esac; };
# check_merge NEW TARGET [within]: fails, with a message of mv, if something of NEW cannot get to its place, as far as can be seen before.
check_merge() { unplaced=$2; if is_merge_dir "$1" "$2" "${3-}"; then
set -- "$1" "$2"; if [ ! -r "$1" ] || [ ! -w "$1" ] || [ ! -x "$1" ]; then set -- "$1" "$2" "$(stat --format=%a -- "$1")"; chmod u+rwx -- "$1" || return; fi;
for entry in "$1"/* "$1"/.*; do case ${entry##*/} in . | ..) ;; *) if [ -e "$entry" ] || [ -L "$entry" ]; then
check_merge "$entry" "$2/${entry##*/}" within || return; fi ;; esac; done; [ -z "${3-}" ] || chmod -- "$3" "$1";
elif [ -d "$2" ] && [ ! -L "$2" ]; then printf "mv: cannot overwrite directory %s with non-directory\n" "$2" >&2; return 1;
elif [ -d "$1" ] && [ ! -L "$1" ] && { [ -e "$2" ] || [ -L "$2" ]; }; then
printf "mv: cannot overwrite non-directory %s with directory\n" "$2" >&2; return 1;
elif [ ! -w "${2%/*}/." ] || [ ! -x "${2%/*}/." ]; then printf "mv: cannot create %s: Permission denied\n" "$2" >&2; return 1; fi; };
# note_start DIR: notes when DIR was made, before an archive is unpacked in it.
note_start() { start=$(stat --format=%.9Y -- "$1") && start=${start%.*}${start#*.}; };
# made_by_tar DIR: whether the archive that was unpacked since note_start has no entry for DIR: tar then created it as a missing parent, and its
# modification time is later than the start of the extraction.
made_by_tar() { [ -n "${start-}" ] && set -- "$(stat --format=%.9Y -- "$1")" && [ "${1%.*}${1#*.}" -ge "$start" ]; };
# merge_tree NEW TARGET [within DEVICE DEVICE]: does the work of merge after the check; the numbers are those of the file systems of NEW and TARGET.
# Directories in TARGET get the modes and times of those in NEW, as with tar, except those for which the archive has no entry.
# shellcheck disable=SC2034,SC2046
merge_tree() { unplaced=$2; if is_merge_dir "$1" "$2" "${3-}"; then
set -- "$1" "$2" "${3-}" "$(stat --format=%y -- "$1")" $(stat --format="%a %d" -- "$1") "$(stat -L --format=%d -- "$2")" "$(made_by_tar "$1" && echo yes)" "$(stat --format="%d %i" -- "$2")";
chmod u+rwx -- "$1" || return;
for entry in "$1"/* "$1"/.*; do case ${entry##*/} in . | ..) ;; *) if [ -e "$entry" ] || [ -L "$entry" ]; then
merge_tree "$entry" "$2/${entry##*/}" within "$6" "$7" || return; fi ;; esac; done; unplaced=$2; rmdir -- "$1" || return;
if [ -n "$3" ] && [ -z "$8" ]; then set_directory "$2" "$9" "$5" "$4"; fi 2>/dev/null; return 0; fi;
if [ "${4-}" = "${5-}" ]; then
if [ -d "$1" ] && [ ! -L "$1" ] && [ ! -w "$1" ]; then
set -- "$1" "$2" "$(stat --format=%a -- "$1")" "$(stat --format="%d %i" -- "$1")"; chmod u+wx -- "$1" || return; else set -- "$1" "$2" ""; fi;
mv -f -T -- "$1" "$2" || return; merging=11; [ -z "$3" ] || set_directory "$2" "$4" "$3";
elif copy_to "$1" "${2%/*}/$spare" "$2" -P; then merging=11; remove_tree "$1"; else remove_tree "${2%/*}/$spare"; return 1; fi; };
# refuse_existing TOOL TARGET OVERWRITE: fails, with a message of TOOL, if there is something at TARGET and OVERWRITE is 0.
refuse_existing() { [ "$3" = 0 ] || return 0; if [ -e "$2" ] || [ -L "$2" ]; then echo "$1: $2: File exists" >&2; return 1; fi; };
# refuse_archive_in_source DIR NAME TARGET LINKS [matching]: fails, with a message of tar, if TARGET, the archive of NAME in DIR, is NAME in DIR itself
# by whatever path, is the file that NAME leads to, or would lie in the directory NAME although that is packed whole, not only the files in it that
# match an expression; LINKS is -P if a link is packed as a link.
refuse_archive_in_source() { if [ "${3##*/}" = "$2" ] && [ -e "$3" ] && same_inode "${3%/*}/." "$1/."; then
printf "tar: %s: the archive would replace its own source\n" "$3" >&2; return 1; fi; refuse_self_reference tar "$1/$2" "$3" || return;
[ -z "${5-}" ] && [ -d "$1/$2" ] || return 0; if [ -L "$1/$2" ] && [ "$4" = -P ]; then return 0; fi;
set -- "$3" "$(readlink -f -n -- "$1/$2" && echo .)" "$(readlink -f -n -- "${3%/*}/." && echo .)"; [ -n "$2" ] && [ -n "$3" ] || return 0; set -- "$1" "${2%.}" "${3%.}";
case ${3%/}/ in "${2%/}"/*) printf "tar: %s: the target is inside the directory to pack\n" "$1" >&2; return 1 ;; esac; };
# pack NEW TARGET DIR NAME LINKS [COMPRESSION]: packs NAME in DIR into the archive TARGET, which is made in the directory NEW beside it. LINKS is -L if
# what links lead to is packed, -P otherwise; COMPRESSION is an option of tar.
pack() { refuse_archive_in_source "$3" "$4" "$2" "$5" && mkdir -m 700 -- "$1" || return;
pack_files "$1" "$3" "$5" "${6-}" --add-file="$4" && replace_file "$1/archive" "$2" || return; remove_tree "$1"; };
# pack_matching NEW TARGET DIR NAME LINKS COMPRESSION PATTERN: packs the files in it whose paths match the regular expression. TARGET may lie in NAME,
# and does not contain itself. The list is a file because a pipe would hide that find could not read everything.
pack_matching() { refuse_archive_in_source "$3" "$4" "$2" "$5" matching && stat -- "${3%/}/$4" >/dev/null && mkdir -m 700 -- "$1" && : >"$1/list" || return;
if [ -e "$2" ]; then itself=$2; else itself=$1/list; fi;
( cd "$3" && find "$5" "./$4" -type f -regex "$7" ! -samefile "$1/list" ! -samefile "$itself" -print0 >"$1/list" ) || return;
if [ ! -s "$1/list" ]; then printf "tar: %s: nothing matches the pattern\n" "${3%/}/$4" >&2; return 1; fi;
pack_files "$1" "$3" "$5" "$6" --null --no-recursion --files-from="$1/list" && replace_file "$1/archive" "$2" || return; remove_tree "$1"; };
# pack_files NEW DIR LINKS COMPRESSION WORD...: makes the archive in NEW of the files in DIR that the words for tar choose.
pack_files() ( made=$1 base=$2 links_option=$3 filter=$4; shift 4; case $links_option in -L) links_option=--dereference ;; *) links_option= ;; esac;
tar --create --force-local --no-unquote --file="$made/archive" ${filter:+"$filter"} ${links_option:+"$links_option"} --directory="$base" "$@" );
# unpack ARCHIVE NEW TARGET [COMPRESSION]: unpacks ARCHIVE in the new directory NEW, and merges that with TARGET.
unpack() { mkdir -m 700 -- "$2" && note_start "$2" && tar --extract --ignore-zeros --force-local --no-unquote --file="$1" --directory="$2" ${4:+"$4"} && merge "$2" "$3"; };
# with_cleanup NEW COMMAND...: runs the command. If it fails, or is ended by a signal, NEW is removed.
with_cleanup() { hidden=$1; shift; trap 'remove_tree "$hidden"; exit 143' HUP INT TERM; "$@" || { set -- $?; remove_tree "$hidden"; return "$1"; }; };
# remove_tree PATH: removes what was not moved to its place, also directories that their owner may not write to.
remove_tree() { [ -L "$1" ] || chmod -R u+rwx -- "$1" 2>/dev/null; rm -rf -- "$1"; };
