#!/bin/sh
# A Slurm of one job, which runs, and belongs to alice: its commands, as far as they answer a question that can be answered.
mark=$(printf '\037test')

record() { # fields
    for field; do printf '%s%s' "$field" "$mark"; done
    echo
}

case "${0##*/} $*" in
sbatch\ *)
    cat >/dev/null
    echo 1
    ;;
squeue\ *) record 1 1 RUNNING None 0:0 alice staff project 1 nid1 normal 7 1700000000 N/A 0:10 10:00 /home/alice waits ;;
sacct\ * | scancel\ * | 'scontrol --oneliner show reservation') ;;
'scontrol show config') echo 'ClusterName = alps' ;;
'scontrol --oneliner show job '*) echo 'JobId=1 JobName=waits JobState=RUNNING StdErr=/home/alice/e StdIn=/dev/null StdOut=/home/alice/o' ;;
'scontrol write batch_script '*) printf '#!/bin/sh\nsleep 60\n' ;;
'sinfo '*' --Node '*) record nid1 nid1 nid1 normal idle 4 0/4/0/4 1 4 1 0.5 1000 0 1 '(null)' ;;
sinfo\ *) record normal up 1 0/4/0/4 ;;
sacctmgr\ *) echo 'alps|project|project' ;;
srun\ *) echo attached ;;
*)
    echo "this Slurm does not know: ${0##*/} $*" >&2
    exit 64
    ;;
esac
