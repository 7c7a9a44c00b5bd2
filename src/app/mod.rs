//! The composition root: a configuration in, a running system out. The only module that names concrete implementations.
//!
//! `build` creates parts, `site` assembles them for one configuration, `reload` replaces one site by the next while
//! requests continue. All background work that belongs to no request runs as named tasks on one [`Lifecycle`], and ends with it.

mod build;
mod connect;
mod listen;
mod reload;
mod site;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::{self, Tls};
use crate::lifecycle::{Closer, Lifecycle, Task};
use crate::rest;
use crate::service::copy_to;
use crate::telemetry::Metrics;

pub use build::{BuildError, SchedulerSetupError};
pub use connect::{Step, try_connections};
pub use reload::Reload;
use site::Site;

/// The time limit for a scrape when everything else has ended.
const METRICS_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Everything that serves, ready to run.
pub struct App {
    site: Site,
    drain: Duration,
    beside: reload::ExtraRoutes,
    metrics: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
    reload: Option<Reload>,
}

impl App {
    /// Puts the system together. Nothing is connected yet.
    ///
    /// # Errors
    /// If a section was understood and still cannot be used.
    pub fn build(config: Config) -> Result<Self, BuildError> {
        let client = rest::Client::new()?;
        let drain = Duration::from_secs(config.server.drain_timeout);
        let tls = config.server.tls.as_ref().map(Tls::load).transpose()?;
        let site = Site::build(config, client, None)?;
        Ok(Self { site, drain, beside: Box::new(|api| api), metrics: None, tls, reload: None })
    }

    /// Adds the routes of `beside` to those of the API, under each configuration.
    #[must_use]
    pub fn with_routes_beside(mut self, beside: impl Fn(http::Router) -> http::Router + Send + Sync + 'static) -> Self {
        self.beside = Box::new(beside);
        self
    }

    /// Lets the examples of the documentation name this system and this home directory.
    #[must_use]
    pub fn with_examples(mut self, examples: http::Examples) -> Self {
        self.site.show_examples(examples);
        self
    }

    /// Shows metrics on this listener.
    #[must_use]
    pub fn with_metrics(mut self, listener: TcpListener) -> Self {
        self.metrics = Some(listener);
        self
    }

    /// Replaces the configuration while it serves, whenever `reload` says so.
    #[must_use]
    pub fn with_reload(mut self, reload: Reload) -> Self {
        self.reload = Some(reload);
        self
    }

    /// Starts the background work and serves until `stop` is cancelled; then drains, and closes the connections.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> http::ServeOutcome {
        // Metrics stay up until the drain is over, so that it can be observed; so do the connections of requests under way.
        let drained = CancellationToken::new();
        let (listener, limits) = (http::Listener::new(listener, self.tls.clone()), http::TimeLimits::draining(self.drain));
        let (request_metrics, state) = (self.site.request_metrics(), self.site.state());
        let Parts { router, tasks, closers } = self.parts(&drained);
        let background = Lifecycle::within(&stop);
        let mut outcome = http::ServeOutcome::Completed;
        let serving = async {
            outcome = http::serve(listener, router, request_metrics, stop, limits).await;
            drained.cancel();
        };
        background.drive(tasks, closers, serving).await;
        if state.streams().were_cut() { http::ServeOutcome::Cut } else { outcome }
    }

    fn parts(self, drained: &CancellationToken) -> Parts {
        let site = Arc::new(self.site);
        let (routes, router) = watch::channel((self.beside)(site.router.clone()));
        let (sites, current_site) = watch::channel(Arc::clone(&site));
        let mut tasks = Vec::new();
        if let Some(listener) = self.metrics {
            tasks.push(metrics(listener, current_site.clone(), drained.clone()));
        }
        if let Some(tls) = self.tls.clone() {
            tasks.push(Task::new("TLS certificate", |background| tls.follow_files(background.token())));
        }
        if let Some(store) = site.store.clone() {
            tasks.push(Task::new("store", |background| async move { store.run(background.token()).await }));
        }
        if let Some(webhooks) = site.webhooks.clone() {
            let site = current_site.clone();
            tasks.push(Task::new("webhooks", move |background| async move {
                let systems = || site.borrow().members.iter().map(|member| member.cluster.name().clone()).collect();
                webhooks.run(systems, background.token()).await;
            }));
        }
        if site.store.is_some() {
            let site = current_site.clone();
            tasks.push(Task::new("tasks", move |background| async move {
                copy_to::run(move || site.borrow().gate(), background.token()).await;
            }));
        }
        let publish = reload::Publish { routes, sites, beside: self.beside, tls: self.tls };
        let (reload, drained, sites_seen) = (self.reload, drained.clone(), current_site.clone());
        tasks.push(Task::new("configuration", move |background| {
            let running = site::RunningSite::start(&site, sites_seen, &background, drained.clone());
            let stop = background.token();
            reload::Driver::new(publish, running, background, drained).run(reload, stop)
        }));
        let connections = Closer::new(async move {
            let last = Arc::clone(&current_site.borrow());
            last.close().await;
        });
        Parts { router, tasks, closers: vec![connections] }
    }
}

/// The parts of a running system.
struct Parts {
    /// The router that is served.
    router: watch::Receiver<http::Router>,
    /// The background tasks.
    tasks: Vec<Task>,
    /// The resources to close after them.
    closers: Vec<Closer>,
}

/// The metrics' own listener, until everything else has ended.
fn metrics(listener: TcpListener, site: watch::Receiver<Arc<Site>>, drained: CancellationToken) -> Task {
    Task::new("metrics", move |background| async move {
        let metrics = Metrics::following(move || site.borrow().sources(background.tasks()));
        let router = http::metrics(move |format| metrics.render(format));
        // The requests of this listener are not exported.
        http::serve(listener, router, Arc::default(), drained, http::TimeLimits::draining(METRICS_DRAIN_TIMEOUT)).await;
    })
}
