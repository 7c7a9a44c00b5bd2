//! The composition root: a configuration in, a running system out. The only file that names concrete implementations.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authn::{self, Authenticator, JwtAuthenticator, ServiceAccountTokens};
use crate::authz::{self, Authorizer, LocalPolicy, OpenFga};
use crate::cluster::{self, Cluster};
use crate::config::Config;
use crate::credentials::{self, CredentialProvider, StaticKeys};
use crate::domain::{ClusterHealth, SystemName};
use crate::filesystem;
use crate::health::Checker;
use crate::http::{self, AppState};
use crate::rest;
use crate::scheduler::local::Local;
use crate::scheduler::slurm::SlurmCli;
use crate::scheduler::{self, ConnectionMode, Scheduler, SchedulerType};
use crate::service::Gate;
use crate::ssh::{self, Lanes};

/// Everything that serves, ready to run.
pub struct App {
    state: AppState,
    drain: Duration,
    authenticator: Arc<JwtAuthenticator>,
    checkers: Vec<Checker>,
    lanes: Vec<Arc<Lanes>>,
}

/// Why a configuration that was understood cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The HTTP client for other services could not be made.
    #[error("set up the HTTP client")]
    Rest(#[from] rest::RestError),
    /// The `auth.authentication` section cannot be used.
    #[error("set up authentication")]
    Authentication(#[from] authn::SetupError),
    /// The `auth.authorization` section cannot be used.
    #[error("set up authorization")]
    Authorization(#[from] rest::InvalidUrl),
    /// The `ssh` section of a cluster cannot be used.
    #[error("set up SSH to {system}")]
    Ssh {
        /// The cluster.
        system: SystemName,
        /// What is wrong.
        #[source]
        source: ssh::ConfigError,
    },
}

impl App {
    /// Puts the system together. Nothing is connected yet.
    ///
    /// # Errors
    /// When a section was understood and still cannot be used.
    pub fn build(config: Config) -> Result<Self, BuildError> {
        let client = rest::Client::new()?;
        let authentication = config.auth.authentication;
        let authenticator = Arc::new(JwtAuthenticator::new(authentication.clone(), client.clone())?);
        let authorizer = authorizer(config.auth.authorization, &client)?;
        let credentials: Arc<dyn CredentialProvider> = match config.ssh_credentials {
            credentials::Config::StaticKeys(keys) => Arc::new(StaticKeys::new(keys)),
        };

        let mut clusters = Vec::new();
        let mut checkers = Vec::new();
        let mut lanes = Vec::new();
        for config in config.clusters {
            let account = config.service_account.clone();
            let tokens =
                ServiceAccountTokens::new(&authentication, &account.client_id, account.secret, client.clone(), authenticator.clone())?;
            let (publish, health) = watch::channel(ClusterHealth::default());
            let (cluster, transport) = build_cluster(config, Arc::clone(&credentials), health)?;
            checkers.push(Checker::new(Arc::clone(&cluster), publish, Arc::new(tokens)));
            clusters.push(cluster);
            lanes.push(transport);
        }

        let drain = Duration::from_secs(config.server.drain_timeout);
        let gate = Gate::new(authenticator.clone() as Arc<dyn Authenticator>, authorizer, clusters);
        let docs = http::Docs {
            token_url: authentication.token_url,
            scopes: authentication.scopes.unwrap_or_default(),
            servers: config.doc_servers.unwrap_or_default(),
        };
        let state = AppState { gate, config: config.server, logger: config.logger, docs, root_path: config.apis_root_path };
        Ok(Self { state, drain, authenticator, checkers, lanes })
    }

    /// Starts the background work and serves until `stop` is cancelled; then drains, and closes the connections.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let background = TaskTracker::new();
        background.spawn(self.authenticator.run(stop.clone()));
        for checker in self.checkers {
            background.spawn(checker.run(stop.clone()));
        }
        background.close();
        let (router, _) = http::router(self.state);
        http::serve(listener, router, stop, http::TimeLimits::draining(self.drain)).await;
        background.wait().await;
        futures::future::join_all(self.lanes.iter().map(|lanes| lanes.close())).await;
    }
}

fn authorizer(config: Option<authz::Config>, client: &rest::Client) -> Result<Arc<dyn Authorizer>, BuildError> {
    Ok(match config {
        Some(authz::Config::OpenFga(config)) => Arc::new(OpenFga::new(config, client.clone())?),
        Some(authz::Config::Policy(config)) => Arc::new(LocalPolicy::new(config)),
        None => {
            tracing::warn!("auth.authorization is not configured: every caller with a valid token may use every cluster");
            Arc::new(LocalPolicy::open())
        }
    })
}

fn build_cluster(
    config: cluster::Config,
    credentials: Arc<dyn CredentialProvider>,
    health: watch::Receiver<ClusterHealth>,
) -> Result<(Arc<Cluster>, Arc<Lanes>), BuildError> {
    let system = config.name.clone();
    let lanes = Lanes::new(system.clone(), config.ssh.clone(), credentials).map_err(|source| BuildError::Ssh { system, source })?;
    let lanes = Arc::new(lanes);
    let scheduler = scheduler(&config, &lanes);
    let settings = filesystem::Settings {
        command_timeout: Duration::from_secs(config.ssh.timeout.command_execution),
        max_ops_file_size: config.data_operation.max_ops_file_size,
        session_idle: Duration::from_secs(config.ssh.timeout.idle_timeout),
        ..filesystem::Settings::default()
    };
    let files = filesystem::open(lanes.clone(), config.file_access, settings);
    Ok((Arc::new(Cluster::new(config, lanes.clone(), scheduler, files, health)), lanes))
}

fn scheduler(config: &cluster::Config, lanes: &Arc<Lanes>) -> Arc<dyn Scheduler> {
    let unsupported = |reason: &'static str| -> Arc<dyn Scheduler> {
        tracing::warn!(system = %config.name, "jobs will be answered with 501: {reason}");
        Arc::new(scheduler::Unsupported::new(reason))
    };
    match (config.scheduler.kind, config.scheduler.connection_mode) {
        (SchedulerType::Slurm, ConnectionMode::Ssh) => Arc::new(SlurmCli::new(lanes.clone())),
        (SchedulerType::Slurm, ConnectionMode::Hybrid) => {
            tracing::warn!(system = %config.name, "connection_mode hybrid: slurmrestd is not used by this version, Slurm's commands are");
            Arc::new(SlurmCli::new(lanes.clone()))
        }
        (SchedulerType::Slurm, ConnectionMode::Rest) => unsupported("this version does not speak to slurmrestd, set connection_mode: ssh"),
        (SchedulerType::Pbs, _) => unsupported("this version does not speak to PBS"),
        (SchedulerType::Local, _) => Arc::new(Local::new(lanes.clone(), config.scheduler.local.clone())),
    }
}
