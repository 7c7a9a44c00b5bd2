//! The composition root: a configuration in, a running system out. The only file that names concrete implementations.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authn::{self, Authenticator, DevelopmentIssuer, JwtAuthenticator, ServiceAccountTokens, SlurmTokens};
use crate::authz::{self, Authorizer, LocalPolicy, OpenFga};
use crate::cluster::{self, Cluster};
use crate::config::Config;
use crate::credentials::{self, Cached, CertificateAuthority, CredentialProvider, KeyService, SshCa, StaticKeys};
use crate::domain::{ClusterHealth, SystemName};
use crate::filesystem;
use crate::health::Checker;
use crate::http::{self, AppState};
use crate::rest;
use crate::scheduler::local::Local;
use crate::scheduler::pbs::Pbs;
use crate::scheduler::slurm::{ApiVersion, CallersToken, RestSettings, SlurmCli, SlurmHybrid, SlurmRest, UserToken};
use crate::scheduler::{self, ConnectionMode, Scheduler, SchedulerType};
use crate::service::Gate;
use crate::ssh::{self, Lanes};
use crate::telemetry::{self, Metrics};
use crate::transfer::{DataTransfer, s3};

/// How long a scrape may go on when everything else has ended.
const METRICS_DRAIN: Duration = Duration::from_secs(1);

/// Everything that serves, ready to run.
pub struct App {
    state: AppState,
    drain: Duration,
    authenticator: Arc<JwtAuthenticator>,
    checkers: Vec<Checker>,
    lanes: Vec<Arc<Lanes>>,
    issuer: Option<Arc<DevelopmentIssuer>>,
    metrics: Option<TcpListener>,
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
    /// The `ssh_credentials` section, or the one of a cluster, cannot be used.
    #[error("set up SSH credentials")]
    Credentials(#[from] credentials::SetupError),
    /// The `scheduler` section of a cluster cannot be used.
    #[error("set up the scheduler of {system}")]
    Scheduler {
        /// The cluster.
        system: SystemName,
        /// What is wrong.
        #[source]
        source: SchedulerSetupError,
    },
    /// The object store of a cluster cannot be used.
    #[error("set up the object store of {system}")]
    Store {
        /// The cluster.
        system: SystemName,
        /// What is wrong.
        #[source]
        source: rest::InvalidUrl,
    },
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

/// Why a scheduler cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerSetupError {
    /// The address of its REST API is missing or no URL.
    #[error("scheduler.api_url cannot be used")]
    Url(#[from] rest::InvalidUrl),
    /// The key of its tokens cannot be used.
    #[error("scheduler.jwt_key_file cannot be used")]
    Key(#[from] authn::SlurmKeyError),
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
        let site_credentials = credential_provider(config.ssh_credentials, &client)?;

        let mut clusters = Vec::new();
        let mut checkers = Vec::new();
        let mut lanes = Vec::new();
        for config in config.clusters {
            let account = config.service_account.clone();
            let tokens =
                ServiceAccountTokens::new(&authentication, &account.client_id, account.secret, client.clone(), authenticator.clone())?;
            let (publish, health) = watch::channel(ClusterHealth::default());
            let credentials = match &config.ssh.credentials {
                Some(own) => credential_provider(own.clone(), &client)?,
                None => Arc::clone(&site_credentials),
            };
            let (cluster, transport) = build_cluster(config, credentials, &client, health)?;
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
            examples: None,
        };
        let state = AppState { gate, config: config.server, logger: config.logger, docs, root_path: config.apis_root_path };
        Ok(Self { state, drain, authenticator, checkers, lanes, issuer: None, metrics: None })
    }

    /// Serves an issuer of tokens beside the API: for the demonstration alone.
    #[must_use]
    pub fn with_issuer(mut self, issuer: Arc<DevelopmentIssuer>) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// Lets the examples of the documentation name this system and this home directory.
    #[must_use]
    pub fn with_examples(mut self, examples: http::Examples) -> Self {
        self.state.docs.examples = Some(examples);
        self
    }

    /// Shows metrics on this listener.
    #[must_use]
    pub fn with_metrics(mut self, listener: TcpListener) -> Self {
        self.metrics = Some(listener);
        self
    }

    /// Starts the background work and serves until `stop` is cancelled; then drains, and closes the connections.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let background = TaskTracker::new();
        background.spawn(self.authenticator.run(stop.clone()));
        for checker in self.checkers {
            background.spawn(checker.run(stop.clone()));
        }
        let gate = self.state.gate.clone();
        let (api, _, request_metrics) = http::router(self.state);
        // What a drain does is still to be seen, so they end after it.
        let drained = CancellationToken::new();
        if let Some(listener) = self.metrics {
            let metrics =
                Metrics::new(telemetry::Sources { request_metrics: Arc::clone(&request_metrics), gate, lanes: self.lanes.clone() });
            let router = http::metrics(telemetry::METRICS_TYPE, move || metrics.render());
            // Nobody asks what is counted of this listener.
            background.spawn(http::serve(listener, router, Arc::default(), drained.clone(), http::TimeLimits::draining(METRICS_DRAIN)));
        }
        background.close();
        let router = match self.issuer {
            Some(issuer) => http::issuer::beside(api, issuer),
            None => api,
        };
        http::serve(listener, router, request_metrics, stop, http::TimeLimits::draining(self.drain)).await;
        drained.cancel();
        background.wait().await;
        futures::future::join_all(self.lanes.iter().map(|lanes| lanes.close())).await;
    }
}

fn authorizer(config: Option<authz::Config>, client: &rest::Client) -> Result<Arc<dyn Authorizer>, BuildError> {
    Ok(match config {
        Some(authz::Config::OpenFga(config)) => Arc::new(OpenFga::new(*config, client.clone())?),
        Some(authz::Config::Policy(config)) => Arc::new(LocalPolicy::new(config)),
        None => {
            tracing::warn!("auth.authorization is not configured: every caller with a valid token may use every cluster");
            Arc::new(LocalPolicy::open())
        }
    })
}

fn credential_provider(config: credentials::Config, client: &rest::Client) -> Result<Arc<dyn CredentialProvider>, BuildError> {
    Ok(match config {
        credentials::Config::StaticKeys(keys) => Arc::new(StaticKeys::new(keys)),
        credentials::Config::KeyService(config) => Arc::new(Cached::new(KeyService::new(&config, client.clone())?)),
        credentials::Config::SshCa(config) => Arc::new(Cached::new(SshCa::new(&config, client.clone())?)),
        credentials::Config::Authority(config) => {
            let authority = CertificateAuthority::new(&config)?;
            tracing::info!(
                public_key = authority.public_key(),
                "SSH certificates are signed here: clusters trust this key (TrustedUserCAKeys)"
            );
            Arc::new(Cached::new(authority))
        }
    })
}

fn build_cluster(
    config: cluster::Config,
    credentials: Arc<dyn CredentialProvider>,
    client: &rest::Client,
    health: watch::Receiver<ClusterHealth>,
) -> Result<(Arc<Cluster>, Arc<Lanes>), BuildError> {
    let system = config.name.clone();
    let lanes = Lanes::new(system.clone(), config.ssh.clone(), credentials).map_err(|source| BuildError::Ssh { system, source })?;
    let lanes = Arc::new(lanes);
    let scheduler = scheduler(&config, &lanes, client)?;
    let settings = filesystem::Settings {
        command_timeout: Duration::from_secs(config.ssh.timeout.command_execution),
        max_ops_file_size: config.data_operation.max_shown(),
        copy_timeout: Duration::from_secs(config.data_operation.copy_timeout),
        session_idle: Duration::from_secs(config.ssh.timeout.idle_timeout),
        // Each is on a connection of its user's.
        max_sessions: config.ssh.max_clients,
        ..filesystem::Settings::default()
    };
    let files = filesystem::open(lanes.clone(), config.file_access, settings);
    let store = match &config.data_operation.data_transfer {
        Some(DataTransfer::S3(store)) => {
            let system = config.name.clone();
            Some(s3::Store::new(store, client.clone()).map_err(|source| BuildError::Store { system, source })?)
        }
        Some(DataTransfer::Wormhole(_) | DataTransfer::Streamer(_)) | None => None,
    };
    let cluster = Cluster::new(config, lanes.clone(), scheduler, files, health);
    let cluster = match store {
        Some(store) => cluster.with_store(Arc::new(store)),
        None => cluster,
    };
    Ok((Arc::new(cluster), lanes))
}

fn scheduler(config: &cluster::Config, lanes: &Arc<Lanes>, client: &rest::Client) -> Result<Arc<dyn Scheduler>, BuildError> {
    let slurm_rest =
        || slurm_rest(&config.scheduler, client).map_err(|source| BuildError::Scheduler { system: config.name.clone(), source });
    let slurm_cli = || Arc::new(SlurmCli::new(lanes.clone()).remembering(config.scheduler.accounting_freshness()));
    Ok(match (config.scheduler.kind, config.scheduler.connection_mode) {
        (SchedulerType::Slurm, ConnectionMode::Ssh) => slurm_cli(),
        (SchedulerType::Slurm, ConnectionMode::Rest) => Arc::new(slurm_rest()?),
        (SchedulerType::Slurm, ConnectionMode::Hybrid) => Arc::new(SlurmHybrid::new(slurm_rest()?, slurm_cli())),
        (SchedulerType::Pbs, _) => Arc::new(Pbs::new(lanes.clone(), config.scheduler.pbs)),
        (SchedulerType::Local, _) => Arc::new(Local::new(lanes.clone(), config.scheduler.local.clone())),
    })
}

fn slurm_rest(config: &scheduler::Config, client: &rest::Client) -> Result<SlurmRest, SchedulerSetupError> {
    let settings = RestSettings {
        url: rest::Url::parse(config.api_url.as_deref().unwrap_or_default())?,
        api_version: config.api_version.as_deref().and_then(ApiVersion::parse),
        timeout: Duration::from_secs(config.timeout),
    };
    let tokens: Arc<dyn UserToken> = match &config.jwt_key_file {
        Some(path) => Arc::new(SlurmTokens::from_file(path)?),
        None => Arc::new(CallersToken),
    };
    Ok(SlurmRest::new(client.clone(), settings, tokens))
}
