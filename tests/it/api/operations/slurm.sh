#!/bin/sh
# A Slurm of one job, which runs, and belongs to alice: its commands, as far as they answer a question that can be answered.
mark=$(printf '\037test')

record() { # fields
    for field; do printf '%s%s' "$field" "$mark"; done
    echo
}

case "${0##*/} $*" in
*--test-only*)
    cat >/dev/null
    echo 'sbatch: Job 2 to start at 1800000000 using 1 processors on nodes nid1 in partition normal' >&2
    ;;
sbatch\ *)
    cat >/dev/null
    echo 1
    ;;
'scontrol hold '* | 'scontrol release '* | 'scontrol requeue '* | 'scontrol update '*) ;;
squeue\ *) record 1 1 RUNNING None 0:0 alice staff project 1 nid1 normal 7 1700000000 N/A 0:10 10:00 /home/alice waits ;;
sacct\ * | scancel\ * | 'scontrol --oneliner show reservation') ;;
'scontrol show config') echo 'ClusterName = alps' ;;
'scontrol --oneliner show job '*) echo "JobId=1 JobName=waits JobState=RUNNING StdErr=$HOME/e StdIn=/dev/null StdOut=$HOME/o" ;;
'scontrol write batch_script '*) printf '#!/bin/sh\nsleep 60\n' ;;
'sinfo '*' --Node '*) record nid1 nid1 nid1 normal idle 4 0/4/0/4 1 4 1 0.5 1000 0 1 '(null)' ;;
sinfo\ *) record normal up 1 0/4/0/4 ;;
'scontrol --oneliner show partition') echo 'PartitionName=normal Default=YES MaxTime=1-00:00:00 State=UP TRES=cpu=4' ;;
'sacctmgr '*' qos '*) echo 'normal|0||||||' ;;
'sacctmgr '*' assoc '*) echo 'alps|project|||normal|||||' ;;
sshare\ *) echo ' project|alice|1|0.5|0|0.0|1.0' ;;
sacctmgr\ *) echo 'alps|project|project' ;;
srun\ *) echo attached ;;
*)
    echo "this Slurm does not know: ${0##*/} $*" >&2
    exit 64
    ;;
esac
