//! The target of the connections to a cluster, and their shared state.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::SystemName;
use crate::ssh::config::{Config, ConfigError};
use crate::ssh::connect::host_keys::Trust;
use crate::ssh::stats::Counters;

/// The number of unanswered keepalive messages after which a connection is closed.
pub(crate) const KEEPALIVES: u32 = 3;

/// The target of a cluster's connections and their settings.
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
    /// If it cannot be used.
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

    /// The time without an answer after which a peer counts as dead.
    pub(crate) fn dead_after(&self) -> Duration {
        Duration::from_secs(self.config.timeout.keep_alive) * (KEEPALIVES + 1)
    }
}
