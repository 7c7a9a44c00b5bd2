# shellcheck shell=bash
seq 2000000 >data.nc
# The directory that is copied, on the demonstration alone.
case $TARGET_SCRATCH in "$DOCS_HOME"/*) mkdir -p "$TARGET_SCRATCH/run7" ;; esac
