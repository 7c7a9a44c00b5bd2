# Runs sbatch for `sh -c`; its lines are joined to one, so each ends where a blank may follow. Arguments: which environment the job gets
# (`whole`, `own`, or empty: to be found out), whether the job is heterogeneous (`het` or empty: to be found out), the script's path or
# nothing, the working directory, the five arguments of the record (`record.sh`; the first is empty where none is kept, and the second is then
# empty or the seconds after which sbatch is killed), and what sbatch is given. sbatch itself takes a working directory that is not there, and the job fails. Of a heterogeneous job sbatch reads the environment
# once for each component, so that a pipe will not do.
# The first line that is a job id is the id of the job, as `printed_id` in sbatch.rs reads it.
# Input: one line with the variables for the job alone, each ended by NUL, as printf's %b reads them; then the script.
# It runs in the environment of the login: `command` passes over exported functions that are named like programs, those that are named like
# what the shell has itself are dropped, what steers sbatch is
# unset, and the job gets that by the file. A signal is 128 more than its number in the exit status, 256 more where ksh93 is `sh`. ksh93 keeps a descriptor open for a program only where it is redirected for that program.
unset -f echo [ test kill wait read printf 2>/dev/null;
choice=$1; het=$2; script=$3; gc_attempt=; limit=;
if [ -n "$5" ]; then begin_record "$5" "$6" "$7" "$8" "$9"; else limit=$6; fi;
[ -d "$4" ] || [ ! -e "$4" ] || { printf "sbatch: error: the working directory is not a directory: %s\n" "$4" >&2; exit 1; };
[ -d "$4/." ] || { printf "sbatch: error: the working directory does not exist, or may not be entered: %s\n" "$4" >&2; exit 1; };
shift 9;
IFS= read -r given; exec 3<&0;
known() { command cat "/proc/$PPID/environ" 2>/dev/null; command cat "/proc/$$/environ" 2>/dev/null || command env -0; };
steering=$(command env | command sed -n -e "/^SBATCH_EXPORT=/d" -e "/^SBATCH_[A-Z0-9_]*=/s/=.*//p" -e "/^SLURM_CLUSTERS=/s/=.*//p"
-e "/^SLURM_EXIT_ERROR=/s/=.*//p" -e "/^SLURM_JOB_NAME=/s/=.*//p" -e "/^SLURM_HINT=/s/=.*//p");
if [ "$choice" = whole ]; then file=yes;
elif [ "$choice" = own ] || [ -n "$SBATCH_EXPORT" ]; then file=;
elif [ -n "$script" ] && command grep -q "^#SBATCH.*--export" -- "$script" 2>/dev/null; then file=;
elif [ -n "$steering" ]; then file=yes;
elif command env | command grep -q ^BASH_FUNC_; then file=;
elif known | command grep -q BASH_FUNC_; then file=yes;
else file=; fi;
unset SLURM_JOB_NAME $steering;
if [ -n "$script" ] && command grep -q -e "^#SBATCH *hetjob" -e "^#SBATCH *packjob" -- "$script" 2>/dev/null; then het=het; fi;
environment() { known; printf %b "$given"; };
kept=; if [ -n "$file" ] && [ -n "$het" ]; then kept=$(command mktemp) && environment >"$kept" || exit 1; fi;
submit() { if [ -n "$kept" ]; then exec 4<"$kept"; command rm -f "$kept"; set -- sbatch --export-file=/proc/self/fd/4 "$@";
elif [ -n "$file" ]; then set -- sbatch --export-file=4 "$@"; else set -- sbatch "$@"; exec 4<&-; fi;
if [ -n "$gc_attempt" ]; then claim; fi;
if [ -n "$file" ]; then exec "$@" <&3 3<&- 4<&4; else exec "$@" <&3 3<&-; fi; };
if [ -n "$file" ] && [ -z "$kept" ]; then environment; fi | {
exec 4<&0; submit "$@" & echo "pid $!"; wait "$!"; printf "\nexit %s\n" "$?";
} | {
pid=; code=; late=; printed=; lost=; guard=;
while IFS= read -r line; do
case $line in
"pid "*) pid=${line#pid };
if [ -n "$limit" ]; then { command sleep "$limit"; kill -9 "$pid"; } </dev/null >/dev/null 2>&1 3<&- & guard=$!; fi ;;
"exit "*) code=${line#exit }; if [ "$code" -gt 256 ]; then code=$((code - 128)); fi ;;
"") ;;
"goldcrest-submission "*) lost=yes; printf "%s\n" "$line" ;;
*) case $line in *" "* | *\;) ;; *) case ${line%%;*} in "" | *[!0-9]* | ???????????*) ;; *) printed=yes;
if [ -n "$gc_attempt" ]; then keep_id "${line%%;*}"; fi ;; esac ;; esac;
printf "%s\n" "$line" ;;
esac;
if [ -n "$printed" ] && [ -n "$pid" ] && [ -z "$late" ]; then
{ command sleep 1; kill "$pid"; } </dev/null >/dev/null 2>&1 3<&- & late=$!;
fi;
done;
if [ -n "$late" ]; then kill "$late" 2>/dev/null; fi;
if [ -n "$guard" ]; then kill "$guard" 2>/dev/null; fi;
if [ -n "$gc_attempt" ] && [ -z "$printed$lost" ]; then link "$(command date +%s)" "$gc_ended"; fi;
exit "${code:-1}"; }
