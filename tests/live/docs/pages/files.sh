# shellcheck shell=bash
# The files that the examples read. The page itself makes run, copy and old.
seq 100000 >data.nc
mkdir -p "$TARGET_SCRATCH/run7" "$TARGET_HOME/many"
head -c 1000 data.nc >part.nc
cp data.nc "$TARGET_SCRATCH/"
cp data.nc "$TARGET_SCRATCH/run7/"
touch "$TARGET_HOME/input" "$TARGET_HOME/many/"{1..150}
printf 'one\nan error\n' >"$TARGET_HOME/job.out"
cp "$TARGET_HOME/job.out" "$TARGET_HOME/slurm-1.out"
