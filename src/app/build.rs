//! How each part of the system is made from its section of the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authn::{self, SlurmTokens};
use crate::authz::{self, Authorizer, LocalPolicy, OpenFga};
use crate::cluster::{self, Cluster};
use crate::credentials::{self, Cached, CertificateAuthority, CredentialProvider, KeyService, SshCa, StaticKeys};
use crate::domain::{ClusterHealth, SystemName};
use crate::filesystem;
use crate::http::TlsError;
use crate::rest;
use crate::scheduler::local::Local;
use crate::scheduler::pbs::Pbs;
use crate::scheduler::slurm::{ApiVersion, CallersToken, RestSettings, SlurmCli, SlurmHybrid, SlurmRest, UserToken};
use crate::scheduler::{self, ConnectionMode, Scheduler, SchedulerType};
use crate::ssh::{self, Lanes};
use crate::transfer::{DataTransfer, s3};

/// Why a configuration that was understood cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The HTTP client for other services could not be made.
    #[error("set up the HTTP client")]
    Rest(#[from] rest::RestError),
    /// The `auth.authentication` section cannot be used.
    #[error("set up authentication")]
    Authentication(#[from] authn::SetupError),
    /// The certificate or the key of `server.tls` cannot be used.
    #[error("set up TLS")]
    Tls(#[from] TlsError),
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

pub(super) fn authorizer(config: Option<authz::Config>, client: &rest::Client) -> Result<Arc<dyn Authorizer>, BuildError> {
    Ok(match config {
        Some(authz::Config::OpenFga(config)) => Arc::new(OpenFga::new(*config, client.clone())?),
        Some(authz::Config::Policy(config)) => Arc::new(LocalPolicy::new(config)),
        None => {
            tracing::warn!("auth.authorization is not configured: every caller with a valid token may use every cluster");
            Arc::new(LocalPolicy::open())
        }
    })
}

/// Where SSH credentials come from. Of static keys, those that have not changed since `previous` stay the same objects.
pub(super) fn credential_provider(
    config: credentials::Config,
    client: &rest::Client,
    previous: Option<&StaticKeys>,
) -> Result<Provider, BuildError> {
    let provider: Arc<dyn CredentialProvider> = match config {
        credentials::Config::StaticKeys(keys) => {
            let keys = Arc::new(StaticKeys::keeping(keys, previous));
            return Ok(Provider { provider: Arc::clone(&keys) as Arc<dyn CredentialProvider>, static_keys: Some(keys) });
        }
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
    };
    Ok(Provider { provider, static_keys: None })
}

/// A source of credentials, and the keys of the configuration where it is made of them.
pub(super) struct Provider {
    pub(super) provider: Arc<dyn CredentialProvider>,
    pub(super) static_keys: Option<Arc<StaticKeys>>,
}

pub(super) fn cluster(
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
    let records = config.scheduler.records();
    let slurm_cli = || Arc::new(SlurmCli::new(lanes.clone()).remembering(config.scheduler.accounting_freshness()).recording(records));
    Ok(match (config.scheduler.kind, config.scheduler.connection_mode) {
        (SchedulerType::Slurm, ConnectionMode::Ssh) => slurm_cli(),
        (SchedulerType::Slurm, ConnectionMode::Rest) => Arc::new(slurm_rest()?),
        (SchedulerType::Slurm, ConnectionMode::Hybrid) => Arc::new(SlurmHybrid::new(slurm_rest()?, slurm_cli())),
        (SchedulerType::Pbs, _) => Arc::new(Pbs::new(lanes.clone(), config.scheduler.pbs).recording(records)),
        (SchedulerType::Local, _) => Arc::new(Local::new(lanes.clone(), config.scheduler.local.clone()).recording(records)),
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
