# shellcheck shell=bash
# Sections of the configuration of a Goldcrest that a script starts beside the environment's own. Source it after lib.sh.

: "${state_root:?source lib.sh first}"

# coordinate COMPONENT NAME: of a component that is up.
coordinate() { sed -n "s/^ *\"$2\": \"\(.*\)\",\{0,1\}\$/\1/p" "$state_root/$1/env.json" | head -1; }

# token_section: tokens of the environment's provider.
token_section() {
    cat <<YAML
auth:
  authentication:
    token_url: $(coordinate oidc tokenUrl)
    public_certs: [$(coordinate oidc jwksUrl)]
    issuer: $(coordinate oidc issuer)
    audience: [$(coordinate oidc audience)]
    username_claim: $(coordinate oidc usernameClaim)
YAML
}

# identity_sections USER KEYS: the same, and the user's key in the folder KEYS.
identity_sections() {
    token_section
    cat <<YAML
ssh_credentials:
  type: SSHStaticKeys
  keys:
    $1:
      private_key: secret_file:$2/$1
YAML
    [ ! -s "$2/$1.passphrase" ] || echo "      passphrase: secret_file:$2/$1.passphrase"
}

# account_members: those that all systems of such a Goldcrest share.
account_members() {
    cat <<YAML
    service_account:
      client_id: $(coordinate oidc checker)
      secret: secret_file:$state_root/oidc/$(coordinate oidc checker).secret
    probing:
      interval: 3600
YAML
}

# system_members: the same, and the file system of those that have one.
system_members() {
    account_members
    cat <<YAML
    file_systems:
      - path: /home
        data_type: users
        default_work_dir: true
YAML
}
