# shellcheck shell=bash
# The input of the day's work.
seq 1000 >input.dat
mkdir -p inputs
cp input.dat inputs/
printf '#!/bin/sh\n#SBATCH --output=run7.out\nwc -c input.dat\n' >job.sh
