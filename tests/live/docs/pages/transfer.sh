# shellcheck shell=bash
seq 2000000 >data.nc
