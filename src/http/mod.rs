//! The API: the only module that knows axum and utoipa.
//!
//! [`router`] shows every route on one screen. A handler reads the request, calls one use case of `service`, and shapes the
//! answer. This module must not know how a cluster is spoken to, and holds no policy. To add an operation: a handler with its
//! `#[utoipa::path]`, its shapes in `dto/`, a line in [`routes`], and `goldcrest openapi` to write the document anew.

mod access;
mod activity;
mod archive;
mod batch;
mod compute;
mod condition;
mod config;
mod context;
mod digest;
mod download;
mod dto;
mod errand;
mod extract;
mod filesystem;
mod follow;
mod inflow;
mod json_stream;
mod limit;
mod listing;
mod metrics;
mod moving;
mod ndjson;
mod observe;
mod openapi;
mod page;
mod pages;
mod problem;
mod reading;
mod route;
mod serve;
mod shown;
mod status;
mod storage;
mod traffic;
mod transfer;
mod tus;
mod unread;
mod upload;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, header};
use axum::{Router, middleware};
use tower::util::{MapRequest, option_layer};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use shown::Shown;

use crate::service::Gate;
use crate::service::following::Followers;
pub mod issuer;

pub use config::{Config, DocServer, LoggedHeader, Logger, MetricsConfig};
pub use metrics::metrics;
pub use observe::is_secret_header;
pub use openapi::document;
pub use serve::{TimeLimits, serve};
pub use traffic::{Answers, Times, Traffic};

/// What the API is built from.
pub struct AppState {
    /// The way in to the clusters.
    pub gate: Gate,
    /// The `server` section.
    pub config: Config,
    /// The `logger` section.
    pub logger: Logger,
    /// Where the documentation pages get tokens.
    pub docs: Docs,
    /// The path below which the API is reached, such as `/api/v2`; empty for none. A proxy in front may take it off or not.
    pub root_path: String,
}

/// What the documentation pages say of the site.
#[derive(Clone, Debug)]
pub struct Docs {
    /// The token endpoint of the identity provider.
    pub token_url: String,
    /// The OAuth2 scopes to ask for, with their descriptions.
    pub scopes: BTreeMap<String, String>,
    /// Where the API is reached; none where it is only reached where its pages are.
    pub servers: Vec<DocServer>,
    /// What the examples name, so that they work as they stand; names that exist nowhere where the site has none to show.
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

/// All routes, the document that describes them, and what is counted of them.
pub fn router(state: AppState) -> (Router, OpenApi, Arc<Traffic>) {
    let root_path = state.root_path.trim_end_matches('/').to_owned();
    let (router, document) = routes(Duration::from_secs(state.config.request_timeout)).split_for_parts();
    let document = openapi::complete(document, &state.docs, &root_path);
    let pages = pages::router(&document, &state.docs);
    let routes: Vec<String> = document.paths.paths.keys().cloned().chain(pages::PATHS.map(str::to_owned)).collect();
    let traffic = Arc::new(Traffic::new(routes.iter().cloned().chain(pages::PARTS.map(str::to_owned))));

    let cors = cors(&state.config.cors_allowed_origins);
    let body_limit = DefaultBodyLimit::max(state.config.max_body_size);
    let (followers, shown) = Default::default();
    let inner = Inner { gate: state.gate, config: state.config, root_path: root_path.clone(), routes, followers, shown };
    let api = Api(Arc::new(inner));
    let observer = Arc::new(observe::Observer::new(state.logger, Arc::clone(&traffic)));
    // Layers are read from the bottom: `observe` sees the request first and the answer last.
    let router = router
        .merge(pages)
        .fallback(route::not_found)
        .method_not_allowed_fallback(route::method_not_allowed)
        .layer(body_limit)
        .layer(CatchPanicLayer::custom(limit::panicked))
        .layer(middleware::from_fn(unread::settle))
        .layer(option_layer(cors))
        .layer(middleware::from_fn_with_state(observer, observe::observe))
        .with_state(api);
    let normalised = MapRequest::new(router, move |request| route::normalise(&root_path, request));
    (Router::new().fallback_service(normalised), document, traffic)
}

fn routes(time_limit: Duration) -> OpenApiRouter<Api> {
    let prompt = OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(compute::list_jobs, compute::submit_job))
        .routes(routes!(compute::get_job, compute::cancel_job))
        .routes(routes!(compute::get_job_metadata))
        .routes(routes!(compute::attach))
        .routes(routes!(batch::batch))
        .routes(routes!(compute::acct))
        .routes(routes!(archive::pack, archive::look))
        .routes(routes!(filesystem::chmod))
        .routes(routes!(filesystem::chown))
        .routes(routes!(download::download, download::look))
        .routes(routes!(filesystem::file_type))
        .routes(routes!(filesystem::head))
        .routes(routes!(listing::ls))
        .routes(routes!(listing::find))
        .routes(routes!(storage::acl))
        .routes(routes!(storage::df))
        .routes(routes!(storage::quota))
        .routes(routes!(filesystem::mkdir))
        .routes(routes!(filesystem::rm))
        .routes(routes!(filesystem::stat))
        .routes(routes!(filesystem::symlink))
        .routes(routes!(filesystem::tail))
        .routes(routes!(filesystem::view))
        .routes(routes!(transfer::compress))
        .routes(routes!(transfer::cp))
        .routes(routes!(transfer::download))
        .routes(routes!(transfer::extract))
        .routes(routes!(transfer::mv))
        .routes(routes!(transfer::rm))
        .routes(routes!(transfer::upload))
        .routes(routes!(status::liveness))
        .routes(routes!(status::parameters))
        .routes(routes!(status::whoami))
        .routes(routes!(status::systems))
        .routes(routes!(status::nodes))
        .routes(routes!(status::partitions))
        .routes(routes!(status::reservations))
        .routes(routes!(status::userinfo))
        .layer(middleware::from_fn_with_state(time_limit, limit::time));
    // File contents come in for as long as they flow, and their size has a limit of its own.
    let bulk = OpenApiRouter::new()
        .routes(routes!(upload::upload, upload::store))
        .routes(routes!(archive::unpack))
        .layer(DefaultBodyLimit::disable());
    let resumable = OpenApiRouter::new()
        .routes(routes!(tus::create, tus::capabilities))
        .routes(routes!(tus::state, tus::extend, tus::remove))
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(tus::name_version));
    // Work that grows with the file has a time of its own, and who follows a file stays until the token ends.
    let long = OpenApiRouter::new()
        .routes(routes!(filesystem::checksum))
        .routes(routes!(filesystem::compress))
        .routes(routes!(filesystem::extract))
        .routes(routes!(moving::cp))
        .routes(routes!(moving::mv))
        .routes(routes!(follow::follow));
    prompt.merge(bulk).merge(resumable).merge(long)
}

/// What handlers share.
#[derive(Clone)]
struct Api(Arc<Inner>);

struct Inner {
    gate: Gate,
    config: Config,
    /// Without a slash at its end.
    root_path: String,
    /// The templates of all paths, for redirects between the forms with and without a slash.
    routes: Vec<String>,
    followers: Followers,
    shown: Shown,
}

impl Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Cross-origin calls; nothing where no origin may make any.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let allowed = match origins {
        [] => return None,
        origins if origins.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(
            [
                observe::TIMESTAMP,
                observe::APP_VERSION,
                observe::AUTH_USERNAME,
                context::REQUEST_ID,
                context::CORRELATION_ID,
                header::ACCEPT_RANGES,
                header::AGE,
                header::CONTENT_DISPOSITION,
                header::CONTENT_RANGE,
                header::ETAG,
                header::LAST_MODIFIED,
                digest::REPR_DIGEST,
                header::LINK,
                page::TOTAL_COUNT,
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
            ]
            .into_iter()
            .chain(tus::EXPOSED)
            .collect::<Vec<_>>(),
        )
        .max_age(Duration::from_secs(3600));
    Some(layer)
}
