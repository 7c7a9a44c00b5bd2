//! The background checkers, one for each cluster. Each publishes its results for `cluster` to read.
//!
//! It works as the cluster's service account and through the same scheduler, files and transport as callers do, but it shares
//! no state with their requests: its time limits are its own. Only what the cluster has is probed. This module must not know HTTP or use
//! cases. To probe one more service: a few lines in [`Checker::probes`].

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt, join_all};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::authn::PrincipalSource;
use crate::cluster::{Cluster, ProbeConfig, WithoutHealthCheck};
use crate::domain::{ClusterHealth, Principal, RemotePath, ServiceHealth, ServiceType, SystemName};
use crate::error::{Classify, ErrorChain, Recurring, public_causes};
use crate::ssh::{CommandLimits, Exec};

/// The time limit for the service account's token from the identity provider.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of bytes that the command of the SSH probe may print. Login scripts are known to print greetings.
const PROBE_OUTPUT: usize = 64 * 1024;

/// The pause after the first check that found a service unhealthy; it doubles with each further one, up to the interval.
const FIRST_RECHECK: Duration = Duration::from_secs(5);

/// Checks one cluster at intervals, and sooner while a service is unhealthy, because requests are refused meanwhile.
pub struct Checker {
    cluster: Arc<Cluster>,
    sender: watch::Sender<ClusterHealth>,
    source: Arc<dyn PrincipalSource>,
    token_failure: Recurring,
    pauses: Pauses,
}

impl Checker {
    /// A checker that works as the principal of `source` and publishes through `sender`, which `cluster` reads.
    pub fn new(cluster: Arc<Cluster>, sender: watch::Sender<ClusterHealth>, source: Arc<dyn PrincipalSource>) -> Self {
        let config = cluster.config();
        let pauses = Pauses::new(&config.name, Duration::from_secs(config.probing.interval_check.max(1)));
        Self { cluster, sender, source, token_failure: Recurring::default(), pauses }
    }

    /// Checks at once and then again after each pause, until `stop` is cancelled. A check under way is dropped then.
    pub async fn run(mut self, stop: CancellationToken) {
        let turns = async {
            loop {
                let pause = self.check().await;
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(turns).await;
    }

    /// Checks once, publishes what was found, and returns the pause before the next check.
    pub async fn check(&mut self) -> Duration {
        let services = if self.cluster.config().probing.services.as_ref().is_none_or(BTreeMap::is_empty) {
            Ok(Vec::new())
        } else {
            match self.principal().await {
                Ok(principal) => Ok(join_all(self.probes(&principal)).await),
                Err(message) => Err(message),
            }
        };
        let before = self.sender.borrow().clone();
        let mut now = match services {
            Ok(services) => ClusterHealth { services, last_check: Some(Timestamp::now()), next_check: None },
            // The check has learned nothing about the cluster: the entry blocks no request, and the time of the last check stays.
            Err(message) => ClusterHealth { services: vec![exception(message)], last_check: before.last_check, next_check: None },
        };
        let pause = self.pauses.after(now.refuses());
        now.next_check = Instant::now().checked_add(pause);
        self.log_changes(&before, &now);
        self.sender.send_replace(now);
        pause
    }

    async fn principal(&self) -> Result<Principal, String> {
        let outcome = tokio::time::timeout(TOKEN_TIMEOUT, self.source.principal()).await;
        match outcome {
            Ok(Ok(principal)) => {
                if self.token_failure.ends() {
                    tracing::info!(system = %self.cluster.name(), "the health checker has a token again");
                }
                Ok(principal)
            }
            Ok(Err(error)) => {
                if self.token_failure.begins(&ErrorChain(&error)) {
                    tracing::warn!(system = %self.cluster.name(), error = %ErrorChain(&error), "the health checker has no token");
                }
                Err(format!("Cluster HealthChecker execution failed with error: {}", error.public_message()))
            }
            Err(_) => {
                if self.token_failure.begins("no token in time") {
                    tracing::warn!(system = %self.cluster.name(), "the health checker got no token in time");
                }
                let limit = TOKEN_TIMEOUT.as_secs();
                Err(format!("Cluster HealthChecker execution failed with error: no token within {limit} s"))
            }
        }
    }

    fn probes<'a>(&'a self, principal: &'a Principal) -> Vec<BoxFuture<'a, ServiceHealth>> {
        let WithoutHealthCheck { compute, files, objects } = self.cluster.without_health_check();
        let config = self.cluster.config();
        // A probe of files in pods would keep a pod running.
        let wanted = |service: ServiceType| {
            if !config.services().any(|has| has == service) {
                return None;
            }
            let ProbeConfig { timeout } = config.probing.services.as_ref()?.get(&service)?;
            Some((service, Duration::from_secs(*timeout)))
        };
        let mut probes: Vec<BoxFuture<'a, ServiceHealth>> = Vec::new();
        if let (Some(store), Some((service, limit))) = (objects, wanted(ServiceType::S3)) {
            probes.push(probe(service, None, limit, store.ping()).boxed());
        }
        if let (Some(files), Some((service, limit))) = (files, wanted(ServiceType::Filesystem)) {
            for root in config.file_systems.iter().map(|fs| &fs.path) {
                let work = async move { files.operations.of(principal).await?.stat(principal, root, true).await.map(drop) };
                probes.push(probe(service, Some(root), limit, work).boxed());
            }
        }
        if let (Some(files), Some((service, limit))) = (files, wanted(ServiceType::Ssh)) {
            let work = async move {
                let raw = files.transport.exec(principal, log_in(limit)).await?;
                raw.success()
            };
            probes.push(probe(service, None, limit, work).boxed());
        }
        if let (Some(scheduler), Some((service, limit))) = (compute, wanted(ServiceType::Scheduler)) {
            probes.push(probe(service, None, limit, scheduler.ping(principal)).boxed());
        }
        probes
    }

    fn log_changes(&self, before: &ClusterHealth, now: &ClusterHealth) {
        for entry in now.services.iter().filter(|entry| entry.service != ServiceType::Exception) {
            let known = before.services.iter().find(|known| known.service == entry.service && known.path == entry.path);
            let was_healthy = known.is_none_or(|known| known.healthy);
            let system = self.cluster.name();
            let path = entry.path.as_ref().map(RemotePath::to_text);
            let path = path.as_deref();
            // Not named `message`: that is the sentence itself.
            let reason = entry.message.as_deref();
            match (was_healthy, entry.healthy) {
                (true, false) => {
                    tracing::warn!(%system, service = entry.service.name(), path, reason, "a service became unhealthy");
                }
                (false, true) => tracing::info!(%system, service = entry.service.name(), path, "a service is healthy again"),
                (true, true) | (false, false) => {}
            }
        }
    }
}

/// The pauses between the checks of a cluster.
struct Pauses {
    interval: Duration,
    /// The place of the cluster among all, by its name, in thousandths.
    share: u32,
    /// The pause after the next check that finds a service unhealthy.
    recheck: Duration,
    /// Whether the last check found nothing unhealthy.
    is_regular: bool,
}

impl Pauses {
    fn new(system: &SystemName, interval: Duration) -> Self {
        let mut hasher = DefaultHasher::new();
        system.hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
        Self { interval, share, recheck: FIRST_RECHECK, is_regular: false }
    }

    /// The pause after a check that found a service unhealthy, or none.
    fn after(&mut self, is_unhealthy: bool) -> Duration {
        let was_regular = std::mem::replace(&mut self.is_regular, !is_unhealthy);
        if is_unhealthy {
            let pause = self.recheck.min(self.interval);
            self.recheck = pause.saturating_mul(2);
            return self.spread(pause);
        }
        self.recheck = FIRST_RECHECK;
        if was_regular { self.interval } else { self.spread(self.interval) }
    }

    /// Between half and all of a pause, so that the checks of clusters that started, failed or recovered together spread out.
    fn spread(&self, pause: Duration) -> Duration {
        pause / 2 + (pause / 2000) * self.share
    }
}

async fn probe<E: Classify>(
    service: ServiceType,
    path: Option<&RemotePath>,
    limit: Duration,
    work: impl Future<Output = Result<(), E>>,
) -> ServiceHealth {
    let started = Instant::now();
    let last_checked = Timestamp::now();
    let message = match tokio::time::timeout(limit, work).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(with_causes(&error)),
        Err(_) => Some(format!("no answer within {} s", limit.as_secs())),
    };
    let latency = Some(started.elapsed().as_secs_f64());
    ServiceHealth { service, last_checked, latency, healthy: message.is_none(), message, path: path.cloned() }
}

fn log_in(limit: Duration) -> Exec {
    Exec::nothing(Some(CommandLimits { execution: limit, output: PROBE_OUTPUT }))
}

fn exception(message: String) -> ServiceHealth {
    ServiceHealth {
        service: ServiceType::Exception,
        last_checked: Timestamp::now(),
        latency: None,
        healthy: false,
        message: Some(message),
        path: None,
    }
}
/// The message for operators' and clients' eyes, with the causes that may be shown.
fn with_causes(error: &impl Classify) -> String {
    public_causes(error).fold(error.public_message().into_owned(), |text, cause| format!("{text}: {}", cause.public_message()))
}
