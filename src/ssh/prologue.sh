# A start-up file that reads one line of standard input gets this one.
set +e +f +u +v +x +C
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
export PATH
unset -f command printf declare read
goldcrest_variables=$(export -p | while IFS= read -r goldcrest_name; do
  goldcrest_name=${goldcrest_name#declare -x }
  goldcrest_name=${goldcrest_name#export }
  goldcrest_name=${goldcrest_name%%=*}
  case $goldcrest_name in
    (*[!A-Za-z0-9_]* | SLURM_CONF | SLURM_CONF_SERVER | SLURM_JWT | SLURM_SACK_*) ;;
    (SLURM_* | SQUEUE_* | SCANCEL_* | SINFO_* | SACCT_* | SACCTMGR_* | SBATCH_* | SALLOC_* | SRUN_* | SCONTROL_*)
      printf '%s\n' "$goldcrest_name" ;;
  esac
done)
goldcrest_exported=
case ${BASH_VERSION-} in (?*) goldcrest_exported=$(declare -F) ;; esac
goldcrest_client() {
  command unset -v $goldcrest_variables PBS_DPREFIX PBS_QSTAT_EXECONLY PBS_CLIENTRETRY PBSDEBUG \
    BASH_ENV ENV CDPATH GREP_OPTIONS GREP_COLOR GREP_COLORS LS_COLORS LS_OPTIONS QUOTING_STYLE TIME_STYLE TABSIZE COLUMNS \
    POSIXLY_CORRECT _POSIX2_VERSION BLOCKSIZE BLOCK_SIZE DF_BLOCK_SIZE DU_BLOCK_SIZE LS_BLOCK_SIZE SIMPLE_BACKUP_SUFFIX \
    VERSION_CONTROL MAGIC TAR_OPTIONS TAPE RSYNC_RSH GZIP BZIP BZIP2 XZ_OPT XZ_DEFAULTS LZMA_OPT FIND_BLOCK_SIZE
  for goldcrest_name in $goldcrest_exported; do
    case $goldcrest_name in (declare | -* | goldcrest_*) ;; (*) command unset -f "$goldcrest_name" ;; esac
  done
  case ${SHELLOPTS+set} in (set) declare +x SHELLOPTS ;; esac
} 2>/dev/null
goldcrest_begin() { printf '%s\n' "$1"; printf '%s\n' "$1" >&2; }
