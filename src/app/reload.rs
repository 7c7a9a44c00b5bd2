//! Replaces one configuration by the next while requests continue.
//!
//! The next one is read, checked and built completely before anything changes; its errors are logged, and the present one stays
//! in use. Requests under way end under their configuration. Connections to a cluster whose section has changed are closed when the last
//! request that uses them has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::build::BuildError;
use super::site::{RunningSite, Site, SiteMember};
use crate::config::{Config, ConfigError, Fingerprint, Loaded};
use crate::error::ErrorChain;
use crate::http::{Router, Tls, TlsError};
use crate::lifecycle::{Lifecycle, systemd};

/// The interval between checks of the configuration's files, if they are checked.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// The time to wait for the keys of another identity provider before switching to its tokens.
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);

/// The time, when the process ends, for the work on former clusters that goes on without its request.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The time limit for removing the temporary files of a former cluster.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval between checks whether the last request to a former cluster has ended.
const CLOSING_INTERVAL: Duration = Duration::from_millis(250);

/// The source of the configuration and the triggers of a reload.
pub struct Reload {
    /// Reads it.
    pub load: Box<dyn Fn() -> Result<Loaded, ConfigError> + Send + Sync>,
    /// Notified when it is to be read.
    pub requested: Arc<Notify>,
    /// Whether to read it also when its files have changed.
    pub watch: bool,
}

/// Adds the routes that are not the configuration's.
pub(super) type ExtraRoutes = Box<dyn Fn(Router) -> Router + Send + Sync>;

/// The channels on which a new site is published.
pub(super) struct Publish {
    pub(super) routes: watch::Sender<Router>,
    pub(super) sites: watch::Sender<Arc<Site>>,
    pub(super) beside: ExtraRoutes,
    pub(super) tls: Option<Arc<Tls>>,
}

/// Replaces sites.
pub(super) struct Driver {
    publish: Publish,
    running: RunningSite,
    background: Lifecycle,
    drained: CancellationToken,
    /// The keys that take effect when the process starts, as they were then.
    started_with: Vec<(&'static str, Fingerprint)>,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("it has mistakes")]
    Config(#[from] ConfigError),
    #[error("it cannot be used")]
    Build(#[from] BuildError),
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    #[error("reading it failed")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl Driver {
    pub(super) fn new(publish: Publish, running: RunningSite, background: Lifecycle, drained: CancellationToken) -> Self {
        let started_with = running.site.fingerprints.at_start.clone();
        Self { publish, running, background, drained, started_with }
    }

    /// Keeps the site running, and replaces it when `reload` says so, until `stop` is cancelled.
    pub(super) async fn run(mut self, reload: Option<Reload>, stop: CancellationToken) {
        let Some(Reload { load, requested, watch }) = reload else { return stop.cancelled().await };
        let load = Arc::new(load);
        let mut seen = self.running.site.fingerprints.document;
        let mut refused = None;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = requested.notified() => true,
                () = tokio::time::sleep(WATCH_INTERVAL), if watch => false,
            };
            if asked {
                tracing::info!("SIGHUP was received: the configuration is read anew");
                systemd::reloading();
            }
            let load = Arc::clone(&load);
            let loaded = tokio::task::spawn_blocking(move || load()).await;
            match self.apply(loaded, asked, &mut seen).await {
                Ok(is_new) => {
                    if refused.take().is_some() && !is_new {
                        tracing::info!("the configuration is accepted again: it is the one in use");
                        systemd::status("serving");
                    }
                }
                Err(error) => {
                    let reason = ErrorChain(&error).to_string();
                    // A watched configuration is refused at each check until it is corrected; the log has it once.
                    if asked || refused.as_ref() != Some(&reason) {
                        tracing::error!(reason, "the configuration was refused whole; the previous one stays in use");
                        systemd::status("serving; the last reload was refused, see the log");
                    }
                    refused = Some(reason);
                }
            }
            if asked {
                systemd::ready();
            }
        }
    }

    /// Changes to what was loaded, if it is another configuration or a reload was asked for. Returns whether it changed.
    async fn apply(
        &mut self,
        loaded: Result<Result<Loaded, ConfigError>, tokio::task::JoinError>,
        asked: bool,
        seen: &mut Fingerprint,
    ) -> Result<bool, ReloadError> {
        let Loaded { config, warnings } = loaded??;
        if !asked && config.fingerprints.document == *seen {
            return Ok(false);
        }
        for warning in warnings {
            tracing::warn!("configuration: {warning}");
        }
        let document = config.fingerprints.document;
        self.change_to(config).await?;
        *seen = document;
        Ok(true)
    }

    async fn change_to(&mut self, config: Config) -> Result<(), ReloadError> {
        let tls = config.server.tls.clone();
        let present = Arc::clone(&self.running.site);
        warn_about_restart_only_keys(&self.started_with, &config);
        let next = Arc::new(present.next(config)?);
        // The last step that can fail.
        match (&self.publish.tls, &tls) {
            (Some(serving), Some(files)) => serving.reload(files)?,
            (None, None) => {}
            _ => tracing::warn!("server.tls was added or taken away: it takes effect at the next start"),
        }
        // Keys may have changed at their source although the section has not, and no caller is to be refused for keys that were not read yet.
        if tokio::time::timeout(KEYS_TIMEOUT, next.authenticator.read_keys()).await.is_err() {
            tracing::warn!("the signing keys of the identity provider were not read in time");
        }
        next.take_over();
        drop(self.publish.routes.send_replace((self.publish.beside)(next.router.clone())));
        self.publish.sites.send_replace(Arc::clone(&next));
        let retired = self.running.change_to(&next, &self.background);
        let kept = next.members.iter().filter(|member| present.members.iter().any(|other| Arc::ptr_eq(&other.cluster, &member.cluster)));
        tracing::info!(clusters = next.members.len(), unchanged = kept.count(), closing = retired.len(), "the configuration was reloaded");
        systemd::status("serving");
        drop(present);
        for member in retired {
            let name = format!("closing the connections to {}", member.cluster.name());
            self.background.spawn(name, close_when_unused(member, self.drained.clone()));
        }
        Ok(())
    }
}

/// Closes a former cluster's connections when the last request that uses it has ended, or when everything ends.
async fn close_when_unused(member: SiteMember, drained: CancellationToken) {
    let SiteMember { cluster, lanes, mirror, .. } = member;
    // It holds the cluster.
    drop(mirror);
    let unused = async {
        while Arc::strong_count(&cluster) > 1 {
            tokio::time::sleep(CLOSING_INTERVAL).await;
        }
    };
    drained.run_until_cancelled(unused).await;
    // At the end of the process there is little time.
    let at_the_end = async {
        drained.cancelled().await;
        tokio::time::sleep(SETTLE_TIMEOUT).await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(cluster.settle_submissions(), cluster.settle(REMOVAL_TIMEOUT)) } => {}
        () = at_the_end => tracing::warn!(system = %cluster.name(), "work on a former cluster was cut at the end"),
    }
    if let Some(lanes) = lanes {
        lanes.close().await;
    }
}

/// Warns about changed keys that take effect at the next start only.
fn warn_about_restart_only_keys(started_with: &[(&'static str, Fingerprint)], next: &Config) {
    let waits = started_with.iter().zip(&next.fingerprints.at_start).filter(|(before, after)| before != after);
    for ((key, _), _) in waits {
        tracing::warn!("{key} differs from what this process was started with: it takes effect at the next start");
    }
}
