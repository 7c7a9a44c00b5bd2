#!/bin/bash
# Installs Slurm for the tests: `install.sh [22.05|24.11|26.05]...`, all by default. Run by start.sh; running it again is cheap.
#
# 22.05 comes from the packages of Debian 12, the host. 24.11 comes from those of Debian 13 and 26.05 from those of unstable, each in
# a folder made by debootstrap: their daemons run by chroot, their commands without (see start.sh). When unstable has moved on to another
# release, 26.05 cannot be had on a new machine: the file `elsewhere` then says so, and everything else is installed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need_root

# bzip2 and xz are for the jobs that make archives, curl for those that move files by way of an object store.
host_packages=(slurm-wlm slurmctld slurmd slurmdbd slurmrestd slurm-wlm-jwt-plugin munge mariadb-server debootstrap
    bzip2 curl xz-utils)
root_packages=(slurm-client slurmctld slurmd slurmdbd slurmrestd slurm-wlm-basic-plugins slurm-wlm-mysql-plugin
    slurm-wlm-jwt-plugin munge bzip2 curl xz-utils)

install_host() {
    local missing=() package
    for package in "${host_packages[@]}"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y "${missing[@]}"
}

install_root() {
    if [ ! -x "$root/usr/bin/apt-get" ]; then
        mkdir -p "$(dirname "$root")"
        debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
            "$suite" "$root" ${GOLDCREST_DEBIAN_MIRROR:+"$GOLDCREST_DEBIAN_MIRROR"}
    fi
    [ -x "$root/usr/sbin/slurmrestd" ] && [ -x "$root/usr/sbin/munged" ] && [ -x "$root/usr/bin/bzip2" ] && [ -x "$root/usr/bin/curl" ] && return 0
    # Packages must not start their services: start.sh does.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # start.sh takes name servers away from an older root, and does so again.
    [ ! -f "$root/etc/nsswitch.conf" ] || sed -i 's/^hosts:.*/hosts: files dns/' "$root/etc/nsswitch.conf"
    # The Release file of unstable may have expired; the lists of debootstrap do as well.
    chroot "$root" apt-get update || say "using the package lists that debootstrap left"
    # Read to its end: a pipe that closes early would make the command seem to fail.
    local candidate
    candidate=$(chroot "$root" apt-cache policy slurmctld | sed -n 's/^  Candidate: //p')
    if [[ $candidate != "$version".* ]]; then
        say "Slurm $version is not to be had: Debian's $suite has ${candidate:-none}"
        printf '%s\n' "$candidate" >"$state/elsewhere"
        return 0
    fi
    rm -f "$state/elsewhere"
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y --no-install-recommends "${root_packages[@]}"
}

install_host
for wanted in $(versions_of "$@"); do
    select_version "$wanted"
    [ -z "$root" ] || install_root
done
