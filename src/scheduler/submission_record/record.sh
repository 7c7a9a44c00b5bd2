# The record of a submission that has an Idempotency-Key, for `sh -c`; its lines are joined to one, so each ends where a blank may follow.
# One submission has one directory, ~/.goldcrest/submit/<name>, of symbolic links: to make one is atomic on every file system, fails where it
# is there, and its target is the whole content.
#   body         the digest of the request
#   attempt.<n>  the process that submits: host, boot, number, start, time, as `process` tells of the one that evaluates what it prints. It makes
#                the link itself and becomes the submitting program: `sh -c "$(claim)" sh "$gc_attempt" PROGRAM [ARGUMENT...]`. No variable is
#                set there, because the job may be given it.
#   dead.<n>     when that process was first seen to have ended without an id
#   id           what the submitting program printed, or the id that was found by the tag
# Without a record in which something can be written, an empty one is removed: `unwritable` says that there is none, `unusable` that there is one.
# Whoever is to submit makes the next attempt, and only where the last one has ended, and its job was looked for and not found: argument 3 names
# that attempt. It is looked for once the scheduler has had as many seconds as argument 4 says to take what that process sent last.
told() { printf "goldcrest-submission %s\n" "$*"; exit 0; };
link() { command ln -s "$1" "$2" 2>/dev/null; };
target() { command readlink "$1" 2>/dev/null; };
field() { printf "%s\n" "$1" | command cut -d " " -f "$2"; };
runs() { { IFS= read -r gc_host </proc/sys/kernel/hostname; } 2>/dev/null || gc_host=$(command uname -n);
[ "$(field "$1" 1)" = "$gc_host" ] || return 0;
{ IFS= read -r gc_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null || gc_boot=-;
[ "$(field "$1" 2)" = "$gc_boot" ] || return 1; gc_number=$(field "$1" 3);
if [ -r /proc/self/stat ]; then { IFS= read -r gc_stat <"/proc/$gc_number/stat"; } 2>/dev/null || return 1;
gc_stat=${gc_stat##*\) }; [ "${gc_stat%% *}" != Z ] && [ "$(field "$gc_stat" 20)" = "$(field "$1" 4)" ];
else kill -0 "$gc_number" 2>/dev/null; fi; };
refused() { command rmdir "$gc_entry" 2>/dev/null && told unwritable "$gc_base"; told unusable "$gc_entry"; };
begin_record() { gc_base=${HOME:-/nowhere}/.goldcrest/submit; gc_entry=$gc_base/$1;
command mkdir -m 700 "$gc_entry" 2>/dev/null || [ -d "$gc_entry" ] ||
{ command mkdir -m 700 "${gc_base%/*}"; command mkdir -m 700 "$gc_base"; command mkdir -m 700 "$gc_entry" || [ -d "$gc_entry" ]; } 2>/dev/null ||
told unwritable "$gc_base";
if ! link "$2" "$gc_entry/body"; then gc_body=$(target "$gc_entry/body") || refused; [ "$gc_body" = "$2" ] || told other; fi;
if [ -h "$gc_entry/id" ]; then told hit "$(target "$gc_entry/id")"; fi;
gc_last=0; while [ -h "$gc_entry/attempt.$((gc_last + 1))" ]; do gc_last=$((gc_last + 1)); done;
if [ "$gc_last" -gt 0 ]; then
gc_process=$(target "$gc_entry/attempt.$gc_last");
if runs "$gc_process"; then told running "${gc_process%% *}"; fi;
link "$(command date +%s)" "$gc_entry/dead.$gc_last"; gc_dead=$(target "$gc_entry/dead.$gc_last") || refused;
if [ -h "$gc_entry/id" ]; then told hit "$(target "$gc_entry/id")"; fi;
gc_left=$((gc_dead + $4 - $(command date +%s))); [ "$gc_left" -gt 0 ] || gc_left=0;
[ "$3" = "$gc_last" ] || told dead "$gc_last" "${gc_process##* }" "$gc_left";
fi;
gc_attempt=$gc_entry/attempt.$((gc_last + 1)); gc_ended=$gc_entry/dead.$((gc_last + 1));
case $$ in *0) { cd "$gc_base" && command find . ! -name . -prune -type d -mtime "+$5" ! -name "$1" -exec rm -rf {} +; } </dev/null >/dev/null 2>&1 & esac; };
process() { printf "%s" "{ IFS= read -r host </proc/sys/kernel/hostname; } 2>/dev/null || host=\$(command uname -n);
{ IFS= read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null || boot=-;
stat=; { IFS= read -r stat </proc/\$\$/stat; } 2>/dev/null; set -- \${stat##*\\) };
printf \"%s \" \"\$host\" \"\$boot\" \$\$ \"\${20:--}\"; command date +%s"; };
claim() { printf "%s" "if command ln -s \"\$($(process))\" \"\$1\" 2>/dev/null; then shift; exec \"\$@\";
elif [ -h \"\$1\" ]; then echo goldcrest-submission running; else echo \"goldcrest-submission unusable \${1%/*}\"; fi"; };
