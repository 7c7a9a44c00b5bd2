//! The API of kbatch-proxy, for its unchanged clients: dictionaries of Kubernetes' Python client, below a prefix of the site's choice.
//!
//! A thin adapter over the use cases of `service`. `submission.rs` makes a submission of what a client sends, `answers.rs` completes what the
//! scheduler keeps to what clients read, and `shapes.rs` knows the dictionaries. What cannot be expressed in a submission is refused by name.
//! This module must not know how the jobs get into their cluster. Its routes are in no document of the API: another program defines them.

mod answers;
mod config;
mod dictionary;
mod jobs;
mod logs;
mod pods;
mod received;
mod schedules;
mod shapes;
mod submission;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::http::Api;
use crate::http::extract::access::{FacadeSystem, ReadAccess};
use crate::http::middleware::time_limit::time;
use crate::http::problem::detail::with_details;

pub use config::{KbatchConfig, KbatchProfile, KbatchResources};

/// The paths below the prefix.
const PATHS: [&str; 11] = [
    "/",
    "/authorized",
    "/profiles/",
    "/jobs/",
    "/jobs/{name}",
    "/jobs/logs/{name}/",
    "/cronjobs/",
    "/cronjobs/{name}",
    "/pods/",
    "/pods/{name}",
    "/pods/logs/{name}/",
];

/// The templates of all paths.
pub(super) fn paths(config: &KbatchConfig) -> impl Iterator<Item = String> {
    PATHS.iter().map(|path| format!("{}{path}", config.prefix))
}

/// The routes. Those that follow an output have no time limit; a document may have this many bytes besides the code.
pub(super) fn router(config: KbatchConfig, time_limit: Duration, max_body_size: usize) -> Router<Api> {
    let at = |path: &str| format!("{}{path}", config.prefix);
    // Base64 has four characters for three bytes.
    let body_limit = DefaultBodyLimit::max(config.max_code_size.div_ceil(3) * 4 + max_body_size);
    let prompt = Router::new()
        .route(&at("/"), get(root))
        .route(&at("/authorized"), get(authorized))
        .route(&at("/profiles/"), get(profiles))
        .route(&at("/jobs/"), get(jobs::list).post(jobs::submit))
        .route(&at("/jobs/{name}"), get(jobs::show).delete(jobs::remove))
        .route(&at("/cronjobs/"), get(schedules::list).post(schedules::submit))
        .route(&at("/cronjobs/{name}"), get(schedules::show).delete(schedules::remove))
        .route(&at("/pods/"), get(pods::list))
        .route(&at("/pods/{name}"), get(pods::show))
        .layer(body_limit)
        .layer(from_fn_with_state(time_limit, time));
    let lasting = Router::new().route(&at("/jobs/logs/{name}/"), get(logs::of_job)).route(&at("/pods/logs/{name}/"), get(logs::of_pod));
    prompt.merge(lasting).layer(from_fn_with_state(Arc::new(config), enter))
}

/// Names the system that the routes are about, and answers errors as kbatch's clients read them.
async fn enter(State(config): State<Arc<KbatchConfig>>, mut request: Request, next: Next) -> Response {
    let extensions = request.extensions_mut();
    extensions.insert(FacadeSystem(config.system.clone()));
    extensions.insert(config);
    with_details(next.run(request).await)
}

/// Which service answers here.
async fn root() -> Json<Value> {
    Json(json!({"message": "kbatch"}))
}

/// Who the caller is, if they may use the system.
async fn authorized(ReadAccess(access): ReadAccess) -> Json<Value> {
    let principal = access.principal();
    Json(json!({"name": principal.username, "groups": principal.groups}))
}

/// The sizes of jobs. Clients ask for them without a token.
async fn profiles(Extension(config): Extension<Arc<KbatchConfig>>) -> Json<Value> {
    Json(config.offered_profiles())
}
