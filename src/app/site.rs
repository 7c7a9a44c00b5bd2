//! The system under one configuration. Parts that the next configuration leaves unchanged are taken over into the next site: the same
//! connections, keys, decisions and counters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{OptionFuture, join_all};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::build::{self, BuildError, Provider};
use super::listen::until_bound;
use super::streams;
use crate::authn::{self, Authenticator, ServiceAccountTokens, Validators};
use crate::authz::{Authorizer, Relation};
use crate::cluster::{self, Cluster};
use crate::config::{Config, Fingerprint, Fingerprints};
use crate::credentials::{CredentialProvider, Replaceable, StaticKeys};
use crate::domain::ClusterHealth;
use crate::health::Checker;
use crate::http::{self, AppState, RequestMetrics};
use crate::lifecycle::{Lifecycle, TaskStatus};
use crate::mirror::{Journal, Mirror};
use crate::notify::Webhooks;
use crate::rest;
use crate::scheduler::PushListener;
use crate::service::{Gate, State, streaming, uploads};
use crate::ssh::Lanes;
use crate::store::{self, Store};
use crate::telemetry::Sources;
use crate::transfer::streamer::Endpoint;

/// The time limit for the request of a pushed record when everything else has ended.
const PUSH_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The time limits at the end, for work that goes on without its request, and for removing temporary files and giving back leases after it, which
/// has what is left of the first one too. With the second in which connections are cut, two of the metrics, and one for closing the connections to
/// the clusters, they fit into the time that the process has (`commands/serve.rs`).
const SETTLE_TIMEOUT: Duration = Duration::from_secs(4);
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval between attempts to listen for records of ended jobs.
const BIND_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The parts of the system under one configuration.
pub(super) struct Site {
    client: rest::Client,
    pub(super) fingerprints: Fingerprints,
    pub(super) authenticator: Arc<Validators>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    /// The credentials of all clusters without their own, under any configuration.
    credentials: Arc<Replaceable>,
    /// The source behind `credentials`.
    provider: Arc<dyn CredentialProvider>,
    static_keys: Option<Arc<StaticKeys>>,
    pub(super) members: Vec<SiteMember>,
    /// The state that outlives a request, and the store for state that outlives the process.
    pub(super) store: Option<Arc<dyn Store>>,
    /// The webhooks, if the site has webhooks.
    pub(super) webhooks: Option<Webhooks>,
    state: AppState,
    pub(super) router: http::Router,
    /// The counters of requests, under any configuration.
    request_metrics: Arc<RequestMetrics>,
}

/// One cluster, with its background workers.
#[derive(Clone)]
pub(super) struct SiteMember {
    fingerprint: Fingerprint,
    pub(super) cluster: Arc<Cluster>,
    /// The connections, if it is reached over SSH.
    pub(super) lanes: Option<Arc<Lanes>>,
    findings: watch::Sender<ClusterHealth>,
    pub(super) account: Arc<ServiceAccountTokens>,
    pub(super) mirror: Arc<Mirror>,
}

impl SiteMember {
    /// Keeps its connections in order until they are closed or everything that uses them is drained.
    pub(super) fn keep_connections(&self, background: &Lifecycle, drained: &CancellationToken) {
        if let Some(lanes) = self.lanes.clone() {
            let drained = drained.clone();
            background.spawn_restarting(format!("connections to {}", lanes.system()), move || lanes.upkeep(drained.clone()));
        }
    }
}

impl Site {
    /// Puts the parts together; those that have not changed since `previous` are its own. Nothing of `previous` is changed before
    /// [`Site::take_over`].
    ///
    /// # Errors
    /// If a section was understood and still cannot be used.
    pub(super) fn build(config: Config, client: rest::Client, previous: Option<&Self>) -> Result<Self, BuildError> {
        let fingerprints = config.fingerprints.clone();
        let same = |section: fn(&Fingerprints) -> &Fingerprint| {
            previous.filter(|previous| section(&previous.fingerprints) == section(&fingerprints))
        };
        let (store, webhooks) = store_and_webhooks(&config, previous)?;
        let authentication = config.auth.authentication;
        let authenticator = match same(|of| &of.authentication) {
            Some(previous) => Arc::clone(&previous.authenticator),
            None => build::authenticator(&authentication, &client)?,
        };
        let authorizer = match same(|of| &of.authorization) {
            Some(previous) => Arc::clone(&previous.authorizer),
            None => build::authorizer(config.auth.authorization, &client)?,
        };
        let Provider { provider, static_keys } = match same(|of| &of.ssh_credentials) {
            Some(previous) => Provider { provider: Arc::clone(&previous.provider), static_keys: previous.static_keys.clone() },
            None => {
                build::credential_provider(config.ssh_credentials, &client, previous.and_then(|previous| previous.static_keys.as_deref()))?
            }
        };
        let new = || Arc::new(Replaceable::new(Arc::clone(&provider)));
        let credentials = previous.map_or_else(new, |previous| Arc::clone(&previous.credentials));
        let maintenance = config.clusters.iter().filter_map(|config| Some((config.name.clone(), config.maintenance()?))).collect();
        let shared = SharedParts {
            client: &client,
            authentication: &authentication,
            authenticator: &authenticator,
            credentials: &credentials,
            store: store.as_ref(),
            webhooks: webhooks.as_ref(),
            previous,
        };
        let clusters = config.clusters.into_iter().zip(fingerprints.clusters.iter().copied());
        let members = clusters.map(|(config, fingerprint)| shared.member(config, fingerprint)).collect::<Result<Vec<_>, _>>()?;
        let clusters = members.iter().map(|member| Arc::clone(&member.cluster));
        let state = state(previous, webhooks.clone(), store.as_ref()).with_links(build::links(config.shares, store.as_ref()));
        let gate = Gate::new(authenticator.clone(), Arc::clone(&authorizer), clusters, state);
        let mirrors = members.iter().map(|member| (member.cluster.name().clone(), Arc::clone(&member.mirror))).collect();
        let gate = gate.under_maintenance(config.server.maintenance(), maintenance).with_mirrors(&mirrors);
        let docs = docs(authentication, config.doc_servers, previous);
        let (logger, root_path, kbatch) = (config.logger, config.apis_root_path, config.compat.kbatch);
        let state = AppState { gate, config: config.server, logger, docs, root_path, kbatch };
        let (router, _, request_metrics) = http::router_counting_in(state.clone(), previous.map(Self::request_metrics));
        Ok(Self {
            client,
            fingerprints,
            authenticator,
            authorizer,
            credentials,
            provider,
            static_keys,
            members,
            store,
            webhooks,
            state,
            router,
            request_metrics,
        })
    }

    /// Lets the examples of the documentation name a system and a home directory.
    pub(super) fn show_examples(&mut self, examples: http::Examples) {
        self.state.docs.examples = Some(examples);
        (self.router, _, _) = http::router_counting_in(self.state.clone(), Some(self.request_metrics()));
    }

    /// The next site, for another configuration.
    ///
    /// # Errors
    /// As [`Site::build`].
    pub(super) fn next(&self, config: Config) -> Result<Self, BuildError> {
        Self::build(config, self.client.clone(), Some(self))
    }

    /// Lets the lanes that it shares with the site before use its credentials.
    pub(super) fn take_over(&self) {
        self.credentials.replace(Arc::clone(&self.provider));
    }

    /// The gate to the clusters.
    pub(super) fn gate(&self) -> Gate {
        self.state.gate.clone()
    }

    /// The state that outlives requests and configurations.
    pub(super) fn state(&self) -> State {
        self.state.gate.state()
    }

    /// The counters of requests.
    pub(super) fn request_metrics(&self) -> Arc<RequestMetrics> {
        Arc::clone(&self.request_metrics)
    }

    /// The sources of the metrics.
    pub(super) fn sources(&self, tasks: Vec<TaskStatus>) -> Sources {
        let lanes = self.members.iter().filter_map(|member| member.lanes.clone()).collect();
        let (store, webhooks) = (self.store.clone(), self.webhooks.clone());
        Sources { request_metrics: self.request_metrics(), gate: self.state.gate.clone(), lanes, store, webhooks, tasks }
    }

    /// Closes all connections to the clusters, after the work that goes on without its request has ended, and unfinished temporary files were removed.
    pub(super) async fn close(&self) {
        let lanes = || self.members.iter().filter_map(|member| member.lanes.as_ref());
        let stop = CancellationToken::new();
        let upkeep = join_all(lanes().map(|lanes| lanes.upkeep(stop.clone())));
        let close = async {
            self.settle().await;
            stop.cancel();
            join_all(lanes().map(|lanes| lanes.close())).await;
        };
        tokio::join!(upkeep, close);
    }

    /// Waits for what goes on without its request.
    async fn settle(&self) {
        let (gate, begun) = (&self.state.gate, Instant::now());
        let submissions = join_all(self.members.iter().map(|member| settle_submissions(&member.cluster)));
        tokio::join!(streaming::settle(gate, SETTLE_TIMEOUT), uploads::settle(gate, SETTLE_TIMEOUT), submissions);
        let left = SETTLE_TIMEOUT.saturating_sub(begun.elapsed()) + REMOVAL_TIMEOUT;
        let removals = join_all(self.members.iter().map(|member| member.cluster.settle(left)));
        let leases = OptionFuture::from(self.store.as_deref().map(|store| store::wait_for_leases(store, left)));
        tokio::join!(removals, leases);
    }

    /// The relations that operations need. Those for commands and for share links are included if there are any.
    pub(super) fn relations(&self) -> Vec<Relation> {
        let has_commands = self.members.iter().any(|member| member.cluster.config().commands.is_some());
        let separate = [(Relation::Run, has_commands), (Relation::Share, self.state.gate.state().has_share_links())];
        let used = separate.into_iter().filter(|(_, is_used)| *is_used).map(|(relation, _)| relation);
        Relation::OF_ACCESS.into_iter().chain(used).collect()
    }

    /// Checks that the authorization service matches the configuration, and logs errors.
    fn probe_authorization(&self) -> impl Future<Output = ()> + Send + 'static {
        let (authorizer, relations) = (Arc::clone(&self.authorizer), self.relations());
        async move {
            if let Err(error) = authorizer.probe(&relations).await {
                let reason = crate::error::ErrorChain(&error);
                tracing::error!(%reason, "the authorization service cannot decide: no user may use any cluster until it does");
            }
        }
    }
}

/// Waits for the submissions to a cluster that go on without their requests.
async fn settle_submissions(cluster: &Cluster) {
    if timeout(SETTLE_TIMEOUT, cluster.settle_submissions()).await.is_err() {
        tracing::warn!(system = %cluster.name(), "submissions were cut: a request with the same Idempotency-Key finds out what became of each");
    }
}

/// The store, and the webhooks that are kept in it.
type StoreAndWebhooks = (Option<Arc<dyn Store>>, Option<Webhooks>);

/// The store. Another one takes effect at the next start, because the records of the present one would be lost.
fn store_and_webhooks(config: &Config, previous: Option<&Site>) -> Result<StoreAndWebhooks, BuildError> {
    if let Some(previous) = previous {
        return Ok((previous.store.clone(), previous.webhooks.clone()));
    }
    let store = config.store.as_ref().map(build::store).transpose()?;
    let webhooks = build::webhooks(config.webhooks.as_ref(), store.as_ref())?;
    Ok((store, webhooks))
}

/// The state that the site before hands on. As the store, the tasks are those of the start.
fn state(previous: Option<&Site>, webhooks: Option<Webhooks>, store: Option<&Arc<dyn Store>>) -> State {
    let state = previous.map(|previous| previous.state.gate.state());
    state.unwrap_or_else(|| State::default().with_tasks(build::tasks(store))).with_webhooks(webhooks)
}

/// The site's details in the documentation pages; the examples are those of the previous site.
fn docs(authentication: authn::Config, servers: Option<Vec<http::DocServer>>, previous: Option<&Site>) -> http::Docs {
    http::Docs {
        token_url: authentication.token_url,
        scopes: authentication.scopes.unwrap_or_default(),
        servers: servers.unwrap_or_default(),
        examples: previous.and_then(|previous| previous.state.docs.examples.clone()),
    }
}

/// The shared parts for the members of a site.
struct SharedParts<'a> {
    client: &'a rest::Client,
    authentication: &'a authn::Config,
    authenticator: &'a Arc<Validators>,
    /// For clusters without credentials of their own.
    credentials: &'a Arc<Replaceable>,
    store: Option<&'a Arc<dyn Store>>,
    webhooks: Option<&'a Webhooks>,
    previous: Option<&'a Site>,
}

impl SharedParts<'_> {
    /// The member of the previous site whose section is the same, or a new one.
    fn member(&self, config: cluster::Config, fingerprint: Fingerprint) -> Result<SiteMember, BuildError> {
        let known = self.previous.and_then(|previous| previous.members.iter().find(|member| member.fingerprint == fingerprint));
        let same_tokens = self.previous.is_some_and(|previous| Arc::ptr_eq(&previous.authenticator, self.authenticator));
        let account = match known.filter(|_| same_tokens) {
            Some(known) => Arc::clone(&known.account),
            None => self.account(&config.service_account)?,
        };
        if let Some(known) = known {
            let is_same = Arc::ptr_eq(&known.account, &account);
            let mirror = if is_same { Arc::clone(&known.mirror) } else { self.mirror(&known.cluster, &account) };
            return Ok(SiteMember { account, mirror, ..known.clone() });
        }
        let credentials = match config.ssh.as_ref().and_then(|ssh| ssh.credentials.as_ref()) {
            Some(own) => build::credential_provider(own.clone(), self.client, None)?.provider,
            None => Arc::clone(self.credentials) as Arc<dyn CredentialProvider>,
        };
        let (findings, health) = watch::channel(ClusterHealth::default());
        let (cluster, lanes) = build::cluster(config, credentials, self.client, self.store, health)?;
        let mirror = self.mirror(&cluster, &account);
        Ok(SiteMember { fingerprint, cluster, lanes, findings, account, mirror })
    }

    /// A mirror of the cluster's jobs, which continues the journal of the cluster of that name.
    fn mirror(&self, cluster: &Arc<Cluster>, account: &Arc<ServiceAccountTokens>) -> Arc<Mirror> {
        let before = self.previous.and_then(|previous| previous.members.iter().find(|member| member.cluster.name() == cluster.name()));
        let journal = before.map(|before| Arc::clone(before.mirror.journal()));
        let journal = journal.unwrap_or_else(|| Arc::new(Journal::new(cluster.name(), self.store.cloned())));
        let mirror = Mirror::new(Arc::clone(cluster), account.clone(), journal);
        Arc::new(match self.webhooks {
            Some(webhooks) => mirror.with_interest(Arc::new(webhooks.clone())),
            None => mirror,
        })
    }

    fn account(&self, account: &cluster::ServiceAccount) -> Result<Arc<ServiceAccountTokens>, BuildError> {
        let (client, authenticator) = (self.client.clone(), Arc::clone(self.authenticator) as Arc<dyn Authenticator>);
        let tokens = ServiceAccountTokens::new(self.authentication, &account.client_id, account.secret.clone(), client, authenticator)?;
        Ok(Arc::new(tokens))
    }
}

/// The background work of a site. Dropping a guard stops its task.
pub(super) struct RunningSite {
    pub(super) site: Arc<Site>,
    keys: DropGuard,
    checkers: Vec<(SiteMember, Vec<DropGuard>)>,
    /// The listeners for clients of firecrest-streamer, and the site whose clients they let in.
    streams: Vec<(Endpoint, DropGuard)>,
    sites: watch::Receiver<Arc<Site>>,
    /// Cancelled when no request uses a connection any more.
    drained: CancellationToken,
}

impl RunningSite {
    /// Starts everything. `drained` is cancelled when no request uses a connection any more.
    pub(super) fn start(site: &Arc<Site>, sites: watch::Receiver<Arc<Site>>, background: &Lifecycle, drained: CancellationToken) -> Self {
        site.members.iter().for_each(|member| member.keep_connections(background, &drained));
        background.spawn("authorization", site.probe_authorization());
        let checkers = site.members.iter().map(|member| (member.clone(), check(member, background))).collect();
        let keys = read_keys(site, background);
        let mut running = Self { site: Arc::clone(site), keys, checkers, streams: Vec::new(), sites, drained };
        running.listen(background);
        running
    }

    /// Listens where the present site wants it, and nowhere else.
    fn listen(&mut self, background: &Lifecycle) {
        let mut endpoints = BTreeSet::new();
        for member in &self.site.members {
            endpoints.extend(streams::endpoints(member.cluster.config()));
        }
        self.streams.retain(|(endpoint, _)| endpoints.contains(endpoint));
        for endpoint in endpoints {
            if self.streams.iter().any(|(known, _)| *known == endpoint) {
                continue;
            }
            let (state, sites) = (self.site.state.gate.state(), self.sites.clone());
            let gate = move || sites.borrow().state.gate.clone();
            let name = format!("streamer on {} {:?}", endpoint.host, endpoint.ports);
            let ending = background.token();
            let guard = background.spawn_guarded(name, |stop| streams::listen(endpoint.clone(), state, gate, stop, ending));
            self.streams.push((endpoint, guard));
        }
    }

    /// Switches to another site: parts that both have continue undisturbed. Returns the members that are no longer needed.
    pub(super) fn change_to(&mut self, next: &Arc<Site>, background: &Lifecycle) -> Vec<SiteMember> {
        let previous = std::mem::replace(&mut self.site, Arc::clone(next));
        if !Arc::ptr_eq(&previous.authenticator, &next.authenticator) {
            self.keys = read_keys(next, background);
        }
        if !Arc::ptr_eq(&previous.authorizer, &next.authorizer) {
            background.spawn("authorization", next.probe_authorization());
        }
        let mut before = std::mem::take(&mut self.checkers);
        for member in &next.members {
            let is_same = |(known, _): &(SiteMember, Vec<DropGuard>)| {
                Arc::ptr_eq(&known.cluster, &member.cluster) && Arc::ptr_eq(&known.account, &member.account)
            };
            let kept = before.iter().position(is_same).map(|place| before.swap_remove(place));
            self.checkers.push(kept.unwrap_or_else(|| (member.clone(), check(member, background))));
        }
        let is_of = |site: &Site, member: &SiteMember| site.members.iter().any(|other| Arc::ptr_eq(&other.cluster, &member.cluster));
        let new = next.members.iter().filter(|member| !is_of(&previous, member));
        new.for_each(|member| member.keep_connections(background, &self.drained));
        self.listen(background);
        previous.members.iter().filter(|member| !is_of(next, member)).cloned().collect()
    }
}

fn read_keys(site: &Site, background: &Lifecycle) -> DropGuard {
    let authenticator = Arc::clone(&site.authenticator);
    background.spawn_guarded("token keys", |stop| authenticator.run(stop))
}

/// Checks a cluster, observes its jobs, and takes what its scheduler sends.
fn check(member: &SiteMember, background: &Lifecycle) -> Vec<DropGuard> {
    let checker = Checker::new(Arc::clone(&member.cluster), member.findings.clone(), member.account.clone());
    let (system, mirror) = (member.cluster.name(), Arc::clone(&member.mirror));
    let mut guards = vec![
        background.spawn_guarded(format!("health of {system}"), |stop| checker.run(stop)),
        background.spawn_guarded(format!("jobs of {system}"), |stop| mirror.run(stop)),
    ];
    if let Some(push) = member.cluster.config().scheduler.as_ref().and_then(|scheduler| scheduler.common().job_mirror.push.clone()) {
        let mirror = Arc::clone(&member.mirror);
        guards.push(background.spawn_guarded(format!("pushes of {system}"), |stop| take_pushes(push, mirror, stop)));
    }
    guards
}

/// Takes records of ended jobs until the token is cancelled.
async fn take_pushes(PushListener { listen, secret }: PushListener, mirror: Arc<Mirror>, stop: CancellationToken) {
    let routes = http::pushes(secret, move |ended| mirror.hint(ended));
    let report = |error| tracing::error!(address = %listen, %error, "scheduler.job_mirror.push.listen cannot be listened on");
    if let Some(listener) = until_bound(|| TcpListener::bind(listen), BIND_RETRY_INTERVAL, report, &stop).await {
        http::serve(listener, routes, Arc::default(), stop, http::TimeLimits::draining(PUSH_DRAIN_TIMEOUT)).await;
    }
}
