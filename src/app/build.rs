//! Builds each part of the system from its section of the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authn::{self, Validators};
use crate::authz::{self, Authorizer, LocalPolicy, OpenFga};
use crate::cluster::{self, Capabilities, Cluster, FileCapability};
use crate::credentials::{self, Cached, CertificateAuthority, CredentialProvider, KeyService, SshCa, StaticKeys};
use crate::domain::{ClusterHealth, SystemName};
use crate::filesystem::{self, FileAccess};
use crate::http::TlsError;
use crate::notify::{self, Timing, Webhooks};
use crate::rest;
use crate::scheduler::kubernetes::{self, Kubernetes};
use crate::scheduler::local::Local;
use crate::scheduler::pbs::Pbs;
use crate::scheduler::slurm::{self, ApiVersion, CallersToken, RestSettings, SlurmCli, SlurmHybrid, SlurmRest, UserToken};
use crate::scheduler::{self, ConnectionMode, Scheduler, StoredRecords};
use crate::service::links::{self, Links};
use crate::service::tasks::{self, Tasks};
use crate::ssh::{self, Lanes, Transport};
use crate::store::{self, Postgres, Sqlite, Store};
use crate::transfer::s3;

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
    /// The `store` section cannot be used.
    #[error("set up the store")]
    Store(#[from] store::SetupError),
    /// The `scheduler` section of a cluster cannot be used.
    #[error("set up the scheduler of {system}")]
    Scheduler {
        /// The cluster.
        system: SystemName,
        /// The error.
        #[source]
        source: SchedulerSetupError,
    },
    /// The object store of a cluster cannot be used.
    #[error("set up the object store of {system}")]
    ObjectStore {
        /// The cluster.
        system: SystemName,
        /// The error.
        #[source]
        source: rest::InvalidUrl,
    },
    /// The `ssh` section of a cluster cannot be used.
    #[error("set up SSH to {system}")]
    Ssh {
        /// The cluster.
        system: SystemName,
        /// The error.
        #[source]
        source: ssh::ConfigError,
    },
}

/// Why a scheduler cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerSetupError {
    /// Its commands have no way to the cluster.
    #[error("its commands are run over SSH, and the cluster has no ssh section")]
    NoSsh,
    /// The address of its REST API is missing or no URL.
    #[error("scheduler.api_url cannot be used")]
    Url(#[from] rest::InvalidUrl),
    /// The key of its tokens cannot be used.
    #[error("scheduler.jwt_key_file cannot be used")]
    Key(#[from] credentials::SlurmKeyError),
    /// The API server of Kubernetes cannot be spoken to.
    #[error("scheduler.kubernetes cannot be used")]
    Kubernetes(#[from] kubernetes::SetupError),
}

/// The authenticator of the callers' tokens.
pub(super) fn authenticator(config: &authn::Config, client: &rest::Client) -> Result<Arc<Validators>, BuildError> {
    Ok(Arc::new(Validators::new(config, client)?))
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

/// The store for state that outlives a request. It is opened at its first use.
pub(super) fn store(config: &store::Config) -> Result<Arc<dyn Store>, BuildError> {
    Ok(match config {
        store::Config::Sqlite(config) => Arc::new(Sqlite::new(config.clone())),
        store::Config::Postgres(config) => Arc::new(Postgres::new(config)?),
    })
}

/// The webhooks of the users, if the site has a section for them and a store.
pub(super) fn webhooks(config: Option<&notify::Config>, store: Option<&Arc<dyn Store>>) -> Result<Option<Webhooks>, BuildError> {
    let parts = config.zip(store);
    Ok(parts.map(|(config, store)| Webhooks::new(Arc::clone(store), config.clone(), Timing::default())).transpose()?)
}

/// The tasks of the users, if the site has a store.
pub(super) fn tasks(store: Option<&Arc<dyn Store>>) -> Option<Tasks> {
    store.map(|store| Tasks::new(Arc::clone(store), tasks::Timing::default()))
}

/// The share links, if the site has a section for them and a store.
pub(super) fn links(config: Option<links::Config>, store: Option<&Arc<dyn Store>>) -> Option<Links> {
    Some(Links::new(Arc::clone(store?), config?))
}

/// The source of SSH credentials. Static keys that have not changed since `previous` stay the same objects.
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

/// A source of credentials, and the keys of the configuration if it uses them.
pub(super) struct Provider {
    pub(super) provider: Arc<dyn CredentialProvider>,
    pub(super) static_keys: Option<Arc<StaticKeys>>,
}

/// A cluster with the capabilities of its configuration, and its connections if it is reached over SSH.
pub(super) fn cluster(
    config: cluster::Config,
    credentials: Arc<dyn CredentialProvider>,
    client: &rest::Client,
    store: Option<&Arc<dyn Store>>,
    health: watch::Receiver<ClusterHealth>,
) -> Result<(Arc<Cluster>, Option<Arc<Lanes>>), BuildError> {
    let system = || config.name.clone();
    let lanes = match &config.ssh {
        Some(ssh) => {
            let lanes = Lanes::new(system(), ssh.clone(), credentials);
            Some(Arc::new(lanes.map_err(|source| BuildError::Ssh { system: system(), source })?))
        }
        None => None,
    };
    let (compute, pods) = match &config.scheduler {
        Some(section) => {
            let built = scheduler(section, lanes.as_ref(), client, store);
            let (compute, pods) = built.map_err(|source| BuildError::Scheduler { system: system(), source })?;
            (Some(compute), pods.map(|pods| files_of_pods(&config, section.common(), pods)))
        }
        None => (None, None),
    };
    let objects = match config.data_operation.object_store() {
        Some(store) => {
            let store = s3::ObjectStore::new(store, client.clone());
            Some(Arc::new(store.map_err(|source| BuildError::ObjectStore { system: system(), source })?))
        }
        None => None,
    };
    let files = config.ssh.as_ref().zip(lanes.clone()).map(|(ssh, lanes)| files(&config, ssh, lanes)).or(pods);
    Ok((Arc::new(Cluster::new(config, Capabilities { compute, files, objects }, health)), lanes))
}

fn files(config: &cluster::Config, ssh: &ssh::Config, lanes: Arc<Lanes>) -> FileCapability {
    let settings = filesystem::Settings {
        command_timeout: Duration::from_secs(ssh.timeout.command_execution),
        max_ops_file_size: config.data_operation.max_shown(),
        copy_timeout: Duration::from_secs(config.data_operation.copy_timeout),
        session_idle: Duration::from_secs(ssh.timeout.idle_timeout),
        // Each is on a connection of its user's.
        max_sessions: ssh.max_clients,
        ..filesystem::Settings::default()
    };
    FileCapability { operations: filesystem::ClusterFiles::open(lanes.clone(), config.file_access, settings), transport: lanes }
}

/// The files of users in volumes, by commands in pods.
fn files_of_pods(config: &cluster::Config, common: &scheduler::Common, transport: Arc<dyn Transport>) -> FileCapability {
    let settings = filesystem::Settings {
        command_timeout: Duration::from_secs(common.timeout),
        max_ops_file_size: config.data_operation.max_shown(),
        copy_timeout: Duration::from_secs(config.data_operation.copy_timeout),
        ..filesystem::Settings::default()
    };
    FileCapability { operations: filesystem::ClusterFiles::open(Arc::clone(&transport), FileAccess::Exec, settings), transport }
}

/// A scheduler, and the way to the files where it is one to them too.
type Compute = (Arc<dyn Scheduler>, Option<Arc<dyn Transport>>);

fn scheduler(
    config: &scheduler::Config,
    lanes: Option<&Arc<Lanes>>,
    client: &rest::Client,
    store: Option<&Arc<dyn Store>>,
) -> Result<Compute, SchedulerSetupError> {
    let records = store.map(|store| StoredRecords::new(Arc::clone(store), config.common().records()));
    let over_ssh = || lanes.cloned().ok_or(SchedulerSetupError::NoSsh);
    let scheduler: Arc<dyn Scheduler> = match config {
        scheduler::Config::Slurm { common, slurm } => {
            let rest = || slurm_rest(slurm, Duration::from_secs(common.timeout), client);
            let cli = || {
                Ok::<_, SchedulerSetupError>(Arc::new(
                    SlurmCli::new(over_ssh()?)
                        .remembering(slurm.accounting_freshness())
                        .recording(common.records())
                        .storing(records.clone()),
                ))
            };
            match slurm.connection_mode {
                ConnectionMode::Ssh => cli()?,
                ConnectionMode::Rest => {
                    let commands = lanes.cloned().map(|lanes| Arc::new(SlurmCli::new(lanes)) as Arc<dyn Scheduler>);
                    Arc::new(rest()?.storing(records.clone()).reading_files_with(commands))
                }
                ConnectionMode::Hybrid => Arc::new(SlurmHybrid::new(rest()?, cli()?)),
            }
        }
        scheduler::Config::Pbs { common, pbs, .. } => Arc::new(Pbs::new(over_ssh()?, *pbs).recording(common.records()).storing(records)),
        scheduler::Config::Local { common, local, .. } => Arc::new(Local::new(over_ssh()?, local.clone()).recording(common.records())),
        scheduler::Config::Kubernetes { common, kubernetes } => {
            let scheduler = Kubernetes::new(kubernetes, Duration::from_secs(common.timeout))?;
            let files = scheduler.files();
            return Ok((Arc::new(scheduler), files));
        }
    };
    Ok((scheduler, None))
}

pub(super) fn slurm_rest(config: &slurm::Config, timeout: Duration, client: &rest::Client) -> Result<SlurmRest, SchedulerSetupError> {
    let settings = RestSettings {
        url: rest::Url::parse(config.api_url.as_deref().unwrap_or_default())?,
        api_version: config.api_version.as_deref().and_then(ApiVersion::parse),
        timeout,
    };
    let tokens: Arc<dyn UserToken> = match &config.jwt_key_file {
        Some(path) => Arc::new(credentials::SlurmTokens::from_file(path)?),
        None => Arc::new(CallersToken),
    };
    Ok(SlurmRest::new(client.clone(), settings, tokens))
}
