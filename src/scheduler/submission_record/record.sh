# The record of a submission that has an Idempotency-Key, for `sh -c`; its lines are joined to one, so each ends where a blank may follow.
# A record consists of the entries in ~/.goldcrest/submit whose names begin with its name. One folder has them all, so that the first attempt starts one program, `ln`.
#   <name>.attempt.<n>  a symbolic link to: host, boot, number and start of the process that submits, and the digest of the request. To make one is
#                       atomic on every file system, fails where it is there, and its target is the whole content. The process makes it itself
#                       (`claim`), and becomes the submitting program. It has to be one that was forked: ksh93 forks for `&`, and not for `( )`.
#   <name>.dead.<n>     a symbolic link to the time when that process was first seen to have ended without an id
#   <name>.id           a file: what the submitting program printed, or the id that was found by the tag, and the digest. The line counts once
#                       it has its end; until then the job is found by the tag.
# `unwritable` and `empty` say that there is no record and none can be made, `empty` that the folder has been read and certainly has none; `unusable`
# that there is one, to which nothing can be added.
# A request makes the next attempt only after the last one has ended and its job was searched for and not found; argument 3 names that
# attempt. The job is searched for once the scheduler has had as many seconds as argument 4 says to take what that process sent last.
told() { printf "goldcrest-submission %s\n" "$*"; exit 0; };
link() { command ln -s "$1" "$2" 2>/dev/null; };
target() { command readlink "$1" 2>/dev/null; };
place_record() { gc_base=${HOME:-/nowhere}/.goldcrest/submit; gc_entry=$gc_base/$1; gc_digest=$2; };
known_id() { [ -f "$gc_entry.id" ] && { IFS=" " read -r gc_id gc_of <"$gc_entry.id"; } 2>/dev/null && [ -n "$gc_of" ]; };
keep_id() { known_id || { printf "%s %s\n" "$1" "$gc_digest" >|"$gc_entry.id"; } 2>/dev/null; };
answer_known() { if known_id; then [ "$gc_of" = "$gc_digest" ] || told other; told hit "$gc_id"; fi; };
here() { { IFS= read -r gc_host </proc/sys/kernel/hostname; } 2>/dev/null || gc_host=$(command uname -n);
{ IFS= read -r gc_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null || gc_boot=-; };
# What /proc/<number>/stat says behind the program's name, which stands in brackets and may hold anything.
read_stat() { set -- ${1##*\) }; gc_state=$1; gc_start=${20}; };
runs() { here; set -- $1; [ "$1" = "$gc_host" ] || return 0; [ "$2" = "$gc_boot" ] || return 1;
if [ -r /proc/self/stat ]; then { IFS= read -r gc_stat <"/proc/$3/stat"; } 2>/dev/null || return 1;
read_stat "$gc_stat"; [ "$gc_state" != Z ] && [ "$gc_start" = "$4" ];
else kill -0 "$3" 2>/dev/null; fi; };
# When the last attempt began: as long before the time in dead.<n> as its link is older than that one. Both ages are of one clock, whatever it says.
find_beginning() { gc_began=$((gc_dead - $1 * 86400));
set -- "$gc_entry.attempt.$gc_last" "$gc_entry.dead.$gc_last"; set -- $(command stat -c %Y "$@" 2>/dev/null || command stat -f %m "$@" 2>/dev/null);
if [ $# -eq 2 ] && [ "$1" -le "$2" ]; then gc_began=$((gc_dead - $2 + $1)); fi; };
# Removes the records in which nothing was written for so many days, the first attempt of each at the end: without it there is none. An earlier
# version had a directory for each.
expire() { cd "$gc_base" && gc_expired=$(command find . ! -name . -prune -mtime "+$2" ! -name "$1.*") && [ -n "$gc_expired" ] || return;
printf "%s\n" "$gc_expired" | while IFS= read -r gc_old; do
gc_old=${gc_old#./}; gc_name=${gc_old%%.*};
case $gc_old in *[!0-9a-z.]*) ;;
"$gc_name.attempt.1") if ! [ -h "$gc_name.dead.1" ]; then echo "$gc_name.id"; echo "$gc_old";
elif [ -z "$(command find . ! -name . -prune -name "$gc_name.*" ! -mtime "+$2")" ]; then
command find . ! -name . -prune -name "$gc_name.*" ! -name "$gc_old"; echo "$gc_old"; fi ;;
*) [ -h "$gc_name.attempt.1" ] || echo "$gc_old" ;; esac; done | command xargs rm -rf; };
begin_record() { place_record "$1" "$2"; answer_known;
gc_last=0; while [ -h "$gc_entry.attempt.$((gc_last + 1))" ]; do gc_last=$((gc_last + 1)); done;
if [ "$gc_last" -gt 0 ]; then
gc_process=$(target "$gc_entry.attempt.$gc_last") || told running; [ "${gc_process##* }" = "$2" ] || told other;
if runs "$gc_process"; then told running "${gc_process%% *}"; fi;
link "$(command date +%s)" "$gc_entry.dead.$gc_last"; gc_dead=$(target "$gc_entry.dead.$gc_last") || told unusable "$gc_base";
answer_known;
gc_left=$((gc_dead + $4 - $(command date +%s))); [ "$gc_left" -gt 0 ] || gc_left=0;
[ "$3" = "$gc_last" ] || { find_beginning "$5"; told dead "$gc_last" "$gc_began" "$gc_left"; };
fi;
gc_attempt=$gc_entry.attempt.$((gc_last + 1)); gc_ended=$gc_entry.dead.$((gc_last + 1));
case $$ in *0) expire "$1" "$5" </dev/null >/dev/null 2>&1 & esac; };
# Makes this process the one that submits, or says which is. Where the folder is not there it is made, perhaps by another
# submission meanwhile. On a network a link may be made and its
# answer be lost, so that it is there when it is asked for again.
claim() { here; if { IFS= read -r gc_stat </proc/self/stat; } 2>/dev/null; then gc_number=${gc_stat%% *}; read_stat "$gc_stat";
else gc_number=$(exec sh -c "echo \$PPID"); gc_start=-; fi;
gc_own="$gc_host $gc_boot $gc_number $gc_start $gc_digest"; link "$gc_own" "$gc_attempt" && return;
[ -d "$gc_base" ] || command mkdir -m 700 "${gc_base%/*}" "$gc_base" 2>/dev/null; link "$gc_own" "$gc_attempt" && return;
if gc_process=$(target "$gc_attempt"); then
[ "$gc_process" != "$gc_own" ] || return 0; [ "${gc_process##* }" = "$gc_digest" ] || told other; told running "${gc_process%% *}"; fi;
[ "${gc_attempt##*.}" = 1 ] || told unusable "$gc_base"; gc_names=$(command ls "$gc_base" 2>/dev/null) || told unwritable "$gc_base";
case $gc_names in *"${gc_entry##*/}"*) told running ;; esac; told empty "$gc_base"; };
