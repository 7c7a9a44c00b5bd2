# Runs sbatch for `sh -c`; its lines are joined to one, so each ends where a blank may follow. Arguments: which environment the job gets
# (`whole`, `own`, or empty: to be found out), whether the job is heterogeneous (`het` or empty: to be found out), the script's path or
# nothing, and what sbatch is given. Of a heterogeneous job sbatch reads the environment once for each component, so that a pipe will not do.
# Input: one line with the variables for the job alone, each ended by NUL, as printf's %b reads them; then the script.
IFS= read -r given; exec 3<&0; choice=$1; het=$2; path=$3; shift 3;
known() { cat "/proc/$PPID/environ" 2>/dev/null; cat "/proc/$$/environ" 2>/dev/null || env -0; };
if [ "$choice" = whole ]; then file=yes;
elif [ "$choice" = own ] || [ -n "$SBATCH_EXPORT" ]; then file=;
elif [ -n "$path" ] && grep -q "^#SBATCH.*--export" -- "$path" 2>/dev/null; then file=;
elif env | grep -q ^BASH_FUNC_; then file=;
elif known | grep -q BASH_FUNC_; then file=yes;
else file=; fi;
unset SLURM_CLUSTERS SLURM_EXIT_ERROR SLURM_JOB_NAME SLURM_HINT
$(env | sed -n "s/^\(SBATCH_[A-Z0-9_]*\)=.*/\1/p" | grep -vx SBATCH_EXPORT);
if [ -n "$path" ] && grep -q -e "^#SBATCH *hetjob" -e "^#SBATCH *packjob" -- "$path" 2>/dev/null; then het=het; fi;
environment() { known; printf %b "$given"; };
kept=; if [ -n "$file" ] && [ -n "$het" ]; then kept=$(mktemp) && environment >"$kept" || exit 1; fi;
submit() { if [ -n "$kept" ]; then exec 4<"$kept"; rm -f "$kept"; exec sbatch --export-file=/proc/self/fd/4 "$@" <&3 3<&-;
elif [ -n "$file" ]; then exec sbatch --export-file=4 "$@" <&3 3<&-; else exec sbatch "$@" <&3 3<&- 4<&-; fi; };
if [ -n "$file" ] && [ -z "$kept" ]; then environment; fi | {
exec 4<&0; submit "$@" & echo "pid $!"; wait "$!"; printf "\nexit %s\n" "$?";
} | {
while IFS= read -r line; do
case $line in
"pid "*) pid=${line#pid } ;;
"exit "*) status=${line#exit } ;;
"") ;;
*) printf "%s\n" "$line";
if [ "${line%%;*}" -ge 0 ] 2>/dev/null && [ -z "$late" ]; then
{ sleep 1; kill "$pid"; } </dev/null >/dev/null 2>&1 3<&- & late=$!;
fi ;;
esac; done;
if [ -n "$late" ]; then kill "$late" 2>/dev/null; fi; exit "${status:-1}"; }
