# shellcheck shell=bash
# What sshd of a login node has after the steps above the examples.
mkdir -p "$DOCS_WORK/ssh"
ssh-keygen -q -t ed25519 -N '' -f "$DOCS_WORK/ssh/goldcrest_user_ca" <<<y >/dev/null
ssh-keygen -q -k -f "$DOCS_WORK/ssh/goldcrest_revoked" /dev/null
