//! The API: the only module of the server that knows axum and utoipa.
//!
//! [`prompt`] and the three groups behind it show every route of the document; `kbatch` and `streaming` have theirs in their own `mod.rs`. A handler reads the request, calls one use case of `service`, and shapes the
//! response. This module must not know how clusters are accessed, and contains no policy. To add an operation: a handler with its
//! `#[utoipa::path]`, its shapes in the `model` beside it, a line in [`prompt`] or the groups behind it, and `goldcrest openapi` to write the document anew.

mod common_headers;
mod compute;
mod config;
mod cut_body;
mod enumeration;
mod event_stream;
mod extract;
mod filesystem;
mod kbatch;
mod list_field;
mod middleware;
mod pages;
mod problem;
mod request_info;
mod server;
mod shares;
mod status;
mod streaming;
mod tasks;
mod tls;
mod transfer;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state, map_request};
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use extract::known_names::QueryNames;
use middleware::client_address::TrustedProxies;
use problem::field_names::FieldNames;
use status::system_cache::SystemCache;

use crate::service::Gate;

pub use axum::Router;
pub use common_headers::API_LEVEL;
pub use config::{Config, DocServer, ForwardingHeader, LoggedHeader, Logger, MetricsConfig, ReloadTrigger};
pub use kbatch::{KbatchConfig, KbatchProfile, KbatchResources};
pub use middleware::access_log::is_secret_header;
pub use pages::openapi::document;
pub use server::metrics_endpoint::{MetricsFormat, metrics};
pub use server::push_endpoint::pushes;
pub use server::request_metrics::{Answers, RequestMetrics, Times};
pub use server::serve::{Listener, ServeOutcome, TimeLimits, serve};
pub use server::upgrade::Draining;
pub use streaming::streams;
pub use tls::{Tls, TlsConfig, TlsError};

/// The parts that the API is built from.
#[derive(Clone)]
pub struct AppState {
    /// The gate to the clusters.
    pub gate: Gate,
    /// The `server` section.
    pub config: Config,
    /// The `logger` section.
    pub logger: Logger,
    /// The site's details in the documentation pages.
    pub docs: Docs,
    /// The section for kbatch's clients, where they are served.
    pub kbatch: Option<KbatchConfig>,
    /// The path prefix of the API, such as `/api/v2`; empty for none. A proxy in front may remove it or not.
    pub root_path: String,
}

/// The site's details in the documentation pages.
#[derive(Clone, Debug)]
pub struct Docs {
    /// The token endpoint of the identity provider, if there is one.
    pub token_url: Option<String>,
    /// The OAuth2 scopes to request, with their descriptions.
    pub scopes: BTreeMap<String, String>,
    /// The addresses of the API; none if it is only reached at the address of its pages.
    pub servers: Vec<DocServer>,
    /// The names in the examples, so that they work unchanged; invented names if the site has none to show.
    pub examples: Option<Examples>,
}

/// A system and a home directory for the examples of the documentation.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The name of a system.
    pub system: String,
    /// A directory in which the reader may write.
    pub home: String,
}

/// All routes, the document that describes them, and their counters.
pub fn router(state: AppState) -> (Router, OpenApi, Arc<RequestMetrics>) {
    router_counting_in(state, None)
}

/// As [`router`], with the counters of the router of the previous configuration, so that a reload resets none.
pub fn router_counting_in(state: AppState, counters: Option<Arc<RequestMetrics>>) -> (Router, OpenApi, Arc<RequestMetrics>) {
    assemble(routes(Duration::from_secs(state.config.request_timeout)), state, counters)
}

/// These routes with their document, behind all layers. They are counted in `counters`, or in new ones.
fn assemble(routes: OpenApiRouter<Api>, state: AppState, counters: Option<Arc<RequestMetrics>>) -> (Router, OpenApi, Arc<RequestMetrics>) {
    let root_path = state.root_path.trim_end_matches('/').to_owned();
    let (router, document) = routes.split_for_parts();
    let document = pages::openapi::complete(document, &state.docs, &root_path);
    let pages = pages::documentation::router(&document, &state.docs);
    let compat = state.kbatch.filter(|config| config.enabled);
    let foreign = compat.iter().flat_map(kbatch::paths);
    let routes: Vec<String> =
        document.paths.paths.keys().cloned().chain(pages::documentation::PATHS.map(str::to_owned)).chain(foreign).collect();
    let counters = counters
        .unwrap_or_else(|| Arc::new(RequestMetrics::new(routes.iter().cloned().chain(pages::documentation::PARTS.map(str::to_owned)))));

    let cors = middleware::cors::cors(&state.config.cors_allowed_origins);
    let time_limit = Duration::from_secs(state.config.request_timeout);
    let compat = compat.map(|config| kbatch::router(config, time_limit, state.config.max_body_size));
    let body_limit = DefaultBodyLimit::max(state.config.max_body_size);
    let proxies = TrustedProxies::new(state.config.trusted_proxies.clone(), state.config.forwarding_header);
    let gate = state.gate.with_bounds(state.config.user_bounds());
    let (query_names, field_names) = (QueryNames::of(&document), FieldNames::of(&document));
    let system_cache = SystemCache::default();
    let inner = Inner { gate, config: state.config, root_path: root_path.clone(), routes, query_names, field_names, system_cache };
    let api = Api(Arc::new(inner));
    let context = middleware::request_context::ContextSource::new(proxies, Arc::clone(&counters));
    let site = Arc::new(middleware::StepContext { context, access_log: middleware::access_log::AccessLog::new(state.logger) });
    // Layers are read from the bottom: `normalise` sees the request first, then `steps`, which sees the answer last.
    let router = router
        .merge(pages)
        .merge(compat.unwrap_or_default())
        .fallback(middleware::normalise::not_found)
        .method_not_allowed_fallback(middleware::normalise::method_not_allowed)
        .layer(body_limit)
        .layer(CatchPanicLayer::custom(middleware::time_limit::panicked));
    // The CORS layer answers every OPTIONS request as a preflight, so those that are none are hidden from it.
    let router = match cors {
        None => router,
        Some(cors) => router
            .layer(map_request(middleware::normalise::restore_options))
            .layer(cors)
            .layer(map_request(middleware::normalise::set_options_aside)),
    };
    let router = router.layer(from_fn_with_state(site, middleware::steps)).with_state(api);
    let normalised = MapRequest::new(router, move |request| middleware::normalise::normalise(&root_path, request));
    (Router::new().fallback_service(normalised), document, counters)
}

fn routes(time_limit: Duration) -> OpenApiRouter<Api> {
    prompt().layer(from_fn_with_state(time_limit, middleware::time_limit::time)).merge(contents()).merge(uploads()).merge(lasting())
}

/// The routes with the time limit of a request.
fn prompt() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(pages::openapi::base())
        .merge(kept())
        .routes(routes!(compute::jobs::list_jobs, compute::jobs::submit_job, compute::bulk::cancel_jobs))
        .routes(routes!(compute::bulk::submit_jobs))
        .routes(routes!(compute::templates::list_templates))
        .routes(routes!(compute::templates::submit_template))
        .routes(routes!(compute::profiles::list_profiles))
        .routes(routes!(compute::schedules::list_schedules, compute::schedules::create_schedule))
        .routes(routes!(compute::schedules::get_schedule, compute::schedules::remove_schedule))
        .routes(routes!(compute::jobs::get_job, compute::jobs::cancel_job))
        .routes(routes!(compute::jobs::get_job_metadata))
        .routes(routes!(compute::jobs::attach))
        .routes(routes!(compute::control::hold))
        .routes(routes!(compute::control::release))
        .routes(routes!(compute::control::requeue))
        .routes(routes!(compute::control::signal))
        .routes(routes!(compute::control::time_limit))
        .routes(routes!(compute::control::validate))
        .routes(routes!(filesystem::batch::batch))
        .routes(routes!(compute::jobs::acct))
        .routes(routes!(filesystem::content::archive::pack, filesystem::content::archive::look))
        .routes(routes!(filesystem::changes::chmod))
        .routes(routes!(filesystem::changes::chown))
        .routes(routes!(filesystem::content::download::download, filesystem::content::download::look))
        .routes(routes!(filesystem::content::excerpt::file_type))
        .routes(routes!(filesystem::content::excerpt::head))
        .routes(routes!(filesystem::entries::ls))
        .routes(routes!(filesystem::entries::find))
        .routes(routes!(filesystem::storage::acl))
        .routes(routes!(filesystem::storage::df))
        .routes(routes!(filesystem::storage::quota))
        .routes(routes!(filesystem::changes::mkdir))
        .routes(routes!(filesystem::changes::rm))
        .routes(routes!(filesystem::entries::stat))
        .routes(routes!(filesystem::changes::symlink))
        .routes(routes!(filesystem::content::excerpt::tail))
        .routes(routes!(filesystem::content::excerpt::view))
        .routes(routes!(transfer::jobs::compress))
        .routes(routes!(transfer::jobs::cp))
        .routes(routes!(transfer::jobs::download))
        .routes(routes!(transfer::jobs::extract))
        .routes(routes!(transfer::jobs::mv))
        .routes(routes!(transfer::jobs::rm))
        .routes(routes!(transfer::jobs::upload))
        .routes(routes!(status::handlers::liveness))
        .routes(routes!(status::handlers::parameters))
        .routes(routes!(status::handlers::whoami))
        .routes(routes!(status::handlers::systems))
        .routes(routes!(status::handlers::nodes))
        .routes(routes!(status::handlers::partitions))
        .routes(routes!(status::handlers::reservations))
        .routes(routes!(status::handlers::userinfo))
        .routes(routes!(status::limits::limits))
        .routes(routes!(compute::usage::usage))
        .routes(routes!(compute::commands::run_command))
}

/// Those for what the store keeps.
fn kept() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(compute::webhooks::list_webhooks, compute::webhooks::register_webhook))
        .routes(routes!(compute::webhooks::remove_webhook))
        .routes(routes!(compute::webhooks::list_dead_letters))
        .routes(routes!(compute::webhooks::redeliver))
        .routes(routes!(tasks::handlers::copy_to))
        .routes(routes!(tasks::handlers::list_tasks))
        .routes(routes!(shares::list_shares, shares::create_share))
        .routes(routes!(shares::revoke_share))
        .routes(routes!(shares::open_share))
}

/// The routes for file contents, which may take as long as bytes flow, and have their own limit on size.
fn contents() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(filesystem::content::upload::upload, filesystem::content::upload::store))
        .routes(routes!(filesystem::content::archive::unpack))
        .layer(DefaultBodyLimit::disable())
}

/// Uploads in several requests, whose contents are as those of [`contents`].
fn uploads() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(filesystem::content::tus::create, filesystem::content::tus::capabilities))
        .routes(routes!(
            filesystem::content::tus::state,
            filesystem::content::tus::extend,
            filesystem::content::tus::remove,
            filesystem::content::tus::upload_capabilities
        ))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(filesystem::content::tus::name_version))
}

/// The routes with their own time limits: work that grows with the file, and following files or jobs until the token expires.
fn lasting() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(filesystem::content::excerpt::checksum))
        .routes(routes!(filesystem::changes::compress))
        .routes(routes!(filesystem::changes::extract))
        .routes(routes!(filesystem::changes::cp))
        .routes(routes!(filesystem::changes::mv))
        .routes(routes!(filesystem::follow::follow))
        .routes(routes!(compute::logs::read_log))
        .routes(routes!(compute::events::events))
        .routes(routes!(compute::events::job_events))
        .routes(routes!(tasks::handlers::get_task, tasks::handlers::cancel_task))
}

/// The state that handlers share.
#[derive(Clone)]
struct Api(Arc<Inner>);

struct Inner {
    gate: Gate,
    config: Config,
    /// Without a slash at its end.
    root_path: String,
    /// The templates of all paths, for redirects between the forms with and without a slash.
    routes: Vec<String>,
    query_names: QueryNames,
    field_names: FieldNames,
    system_cache: SystemCache,
}

impl Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
