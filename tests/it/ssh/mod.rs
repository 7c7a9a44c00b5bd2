//! The SSH lanes against servers that misbehave by script, and against OpenSSH where it is installed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test ends at its first surprise, and says what it measured")]

pub mod certificates;
mod commands;
pub mod double;
mod faults;
pub mod openssh;
pub mod proxy;
mod second_attempts;
mod sharing;
mod shells;
mod startup;
mod streams;
mod trust;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use goldcrest::credentials::{Credential, CredentialError, CredentialProvider};
use goldcrest::domain::{Principal, Secret, SystemName};
use goldcrest::ssh::{
    CommandLimits, CommandLine, Config, Environment, Exec, HostKeys, Lanes, RawOutput, Timeouts, Transport, TransportError,
};
use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use tokio_util::sync::CancellationToken;

use crate::support::principal;

/// A key made for one test.
pub fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()
}

/// The credential that holds a key.
fn credential(key: &PrivateKey) -> Arc<Credential> {
    let private_key = Secret::from(key.to_openssh(LineEnding::LF).unwrap().to_string());
    Arc::new(Credential { private_key, passphrase: None, certificate: None, not_after: None, caller: None })
}

/// A provider that gives everybody the same credential, until it is changed.
struct OneKey(Mutex<Arc<Credential>>);

impl OneKey {
    fn new(key: &PrivateKey) -> Arc<Self> {
        Arc::new(Self(Mutex::new(credential(key))))
    }

    fn change(&self, credential: Arc<Credential>) {
        *self.0.lock().unwrap() = credential;
    }
}

#[async_trait]
impl CredentialProvider for OneKey {
    async fn credential(&self, _: &Principal) -> Result<Arc<Credential>, CredentialError> {
        Ok(Arc::clone(&self.0.lock().unwrap()))
    }

    fn needs_token(&self) -> bool {
        false
    }
}

/// The settings for a server on loopback: pinned host key, short times.
fn config(port: u16, host_key: &PrivateKey) -> Config {
    Config {
        host: "127.0.0.1".to_owned(),
        port,
        proxy_host: None,
        proxy_port: None,
        max_clients: 100,
        max_channels: 8,
        max_connections_per_user: 4,
        max_startups: 8,
        max_output: 1 << 20,
        keep_shells: false,
        host_keys: Some(HostKeys::Pinned(vec![host_key.public_key().to_openssh().unwrap()])),
        credentials: None,
        timeout: Timeouts { connection: 5, login: 5, command_execution: 5, idle_timeout: 60, keep_alive: 5 },
    }
}

fn lanes(config: Config, keys: Arc<OneKey>) -> Arc<Lanes> {
    lanes_with(config, keys)
}

/// Lanes whose connections are kept in order, as the application does it.
fn lanes_with(config: Config, credentials: Arc<dyn CredentialProvider>) -> Arc<Lanes> {
    let lanes = Lanes::new(SystemName::new("test").unwrap(), config, credentials).unwrap();
    tokio::spawn(lanes.upkeep(CancellationToken::new()));
    Arc::new(lanes)
}

/// A command that is not to be repeated.
fn command(line: CommandLine) -> Exec {
    Exec { line, stdin: bytes::Bytes::new(), idempotent: false, limits: None, environment: Environment::Client }
}

/// A script for `sh`.
/// The command with this name.
fn run(name: &'static str) -> Exec {
    command(CommandLine::new(name))
}

/// The lanes to a double.
fn to(double: &double::Double) -> Arc<Lanes> {
    lanes(config(double.port, &double.host_key), OneKey::new(&new_key()))
}

fn sh(script: &'static str) -> Exec {
    command(CommandLine::new("sh").flag("-c").arg(script))
}

async fn exec(lanes: &Lanes, user: &str, exec: Exec) -> Result<RawOutput, TransportError> {
    lanes.exec(&principal(user), exec).await
}

fn limits(execution: Duration, output: usize) -> Option<CommandLimits> {
    Some(CommandLimits { execution, output })
}
