//! The `ssh` section of a cluster.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::credentials;

/// The SSH access to a cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Config {
    /// Host name or address of the login node.
    pub host: String,
    /// Port of its SSH server.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Jump host for all connections.
    pub proxy_host: Option<String>,
    /// Port of the jump host's SSH server; 22 if absent.
    pub proxy_port: Option<u16>,
    /// Maximum number of connections to this cluster, for all users together. When it is reached, idle connections are closed first.
    #[serde(default = "default_max_clients")]
    pub max_clients: usize,
    /// Maximum number of channels on one connection, including closing ones. Keep it below sshd's `MaxSessions` (10 by default).
    /// Goldcrest lowers it when the server refuses a channel.
    #[serde(default = "default_max_channels")]
    pub max_channels: usize,
    /// Maximum number of connections of one user for each kind of traffic.
    #[serde(default = "default_max_connections_per_user")]
    pub max_connections_per_user: usize,
    /// Maximum number of concurrent logins. Keep it below the first number of sshd's `MaxStartups` (10 by default).
    #[serde(default = "default_max_startups")]
    pub max_startups: usize,
    /// Size limit of a command's output, in bytes.
    #[serde(default = "default_max_output")]
    pub max_output: usize,
    /// Run a user's short commands in a shell that stays open, instead of a login shell for each. For users without a shell, each
    /// command is sent separately.
    #[serde(default = "default_keep_shells")]
    pub keep_shells: bool,
    /// Known host keys. If absent, `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`, as in OpenSSH.
    pub host_keys: Option<HostKeys>,
    /// Source of the SSH keys for this cluster, if it differs from the top-level `ssh_credentials`.
    pub credentials: Option<credentials::Config>,
    /// Time limits of connections.
    #[serde(default)]
    pub timeout: Timeouts,
}

/// How a server's host key is checked. Exactly one way.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostKeys {
    /// File in OpenSSH's `known_hosts` format, including hashed names, `@cert-authority` and `@revoked` lines.
    KnownHosts(PathBuf),
    /// Accepted host keys, in the one-line form of `*.pub` files. A line that begins with `@cert-authority` has the key of an authority
    /// instead.
    Pinned(Vec<String>),
    /// Take the key that the server shows first and insist on it until the process ends. For evaluation only.
    TrustOnFirstUse,
}

/// Why a cluster's `ssh` section cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A limit is zero, so that nothing could ever be done.
    #[error("ssh.{0} must be at least 1")]
    Zero(&'static str),
    /// An entry of `ssh.host_keys.pinned` is not in the form of a `*.pub` file.
    #[error("ssh.host_keys.pinned: not a public key: {0:?}")]
    HostKey(String),
    /// `ssh.host_keys.pinned` is empty.
    #[error("ssh.host_keys.pinned: no key is given")]
    NoHostKeys,
}

impl Config {
    /// The maximum number of channels of one user for each class of traffic.
    pub fn channels_per_user(&self) -> usize {
        self.max_channels.saturating_mul(self.max_connections_per_user)
    }

    /// The jump host, with its port.
    pub fn jump_host(&self) -> Option<(&str, u16)> {
        self.proxy_host.as_deref().map(|host| (host, self.proxy_port.unwrap_or(22)))
    }

    /// The hosts that connections are made to, with their ports: the login node, and the jump host before it.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, u16)> {
        [(self.host.as_str(), self.port)].into_iter().chain(self.jump_host())
    }

    /// Checks the rules that the types do not express.
    ///
    /// # Errors
    /// If a limit is zero.
    pub fn check(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("max_clients", self.max_clients),
            ("max_channels", self.max_channels),
            ("max_connections_per_user", self.max_connections_per_user),
            ("max_startups", self.max_startups),
            ("max_output", self.max_output),
        ];
        let times = [
            ("timeout.connection", self.timeout.connection),
            ("timeout.login", self.timeout.login),
            ("timeout.command_execution", self.timeout.command_execution),
            ("timeout.keep_alive", self.timeout.keep_alive),
        ];
        let zero = sizes.iter().find(|(_, size)| *size == 0).map(|(name, _)| *name);
        match zero.or_else(|| times.iter().find(|(_, time)| *time == 0).map(|(name, _)| *name)) {
            Some(name) => Err(ConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

/// Time limits in seconds.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct Timeouts {
    /// Seconds for the TCP connection and the key exchange.
    pub connection: u64,
    /// Seconds for the authentication.
    pub login: u64,
    /// Seconds for a command, from its start to its exit status.
    pub command_execution: u64,
    /// Seconds after which an idle connection is closed.
    pub idle_timeout: u64,
    /// Seconds between keepalive messages. After three missing answers the connection is closed.
    pub keep_alive: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connection: 5, login: 5, command_execution: 5, idle_timeout: 60, keep_alive: 5 }
    }
}

fn default_port() -> u16 {
    22
}

fn default_max_clients() -> usize {
    100
}

fn default_max_channels() -> usize {
    8
}

fn default_max_connections_per_user() -> usize {
    4
}

fn default_max_startups() -> usize {
    8
}

fn default_keep_shells() -> bool {
    true
}

fn default_max_output() -> usize {
    16 * 1024 * 1024
}
