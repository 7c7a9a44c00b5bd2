//! Where the connections to a cluster go, and what all of them share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::SystemName;
use crate::ssh::config::{Config, ConfigError};
use crate::ssh::connect::host_keys::Trust;
use crate::ssh::stats::Counters;

/// How many keepalive messages may go unanswered.
pub(crate) const KEEPALIVES: u32 = 3;

/// Where a cluster's connections go and how they are made.
pub(crate) struct Target {
    pub(crate) system: SystemName,
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    /// Bounds the logins under way.
    pub(crate) startups: Semaphore,
    pub(crate) counters: Arc<Counters>,
}

impl Target {
    /// Takes the configuration.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn new(system: SystemName, config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let trust = Trust::new(config.host_keys.as_ref())?;
        let startups = Semaphore::new(config.max_startups);
        Ok(Self { system, config, trust, startups, counters: Arc::default() })
    }

    /// The time for the TCP connection and the key exchange.
    pub(crate) fn connection_timeout(&self) -> Duration {
        Duration::from_secs(self.config.timeout.connection)
    }

    /// The time for the authentication.
    pub(crate) fn login_timeout(&self) -> Duration {
        Duration::from_secs(self.config.timeout.login)
    }

    /// After this time without an answer a peer is taken for dead.
    pub(crate) fn dead_after(&self) -> Duration {
        Duration::from_secs(self.config.timeout.keep_alive) * (KEEPALIVES + 1)
    }
}
