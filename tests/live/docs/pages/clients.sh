# shellcheck shell=bash
printf '#!/bin/sh\nhostname\n' >job.sh
