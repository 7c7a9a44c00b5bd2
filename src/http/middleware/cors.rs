//! Cross-origin requests of browsers (Fetch, 3.2): which pages may call the API, and which headers their scripts may read.

use std::time::Duration;

use axum::http::{HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::http::common_headers;
use crate::http::compute::{idempotency, jobs, logs};
use crate::http::extract::digest::REPR_DIGEST;
use crate::http::extract::page::TOTAL_COUNT;
use crate::http::filesystem::content::tus;
use crate::http::problem::context;

/// The CORS layer; none if no origin is allowed.
pub(crate) fn cors(origins: &[String]) -> Option<CorsLayer> {
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
                common_headers::TIMESTAMP,
                common_headers::APP_VERSION,
                common_headers::AUTH_USERNAME,
                context::REQUEST_ID,
                context::CORRELATION_ID,
                header::ACCEPT_RANGES,
                header::AGE,
                idempotency::REPLY,
                logs::OFFSET,
                logs::NEXT_OFFSET,
                idempotency::RECORD,
                jobs::EVENT_ID.clone(),
                header::CONTENT_DISPOSITION,
                header::CONTENT_RANGE,
                header::ETAG,
                header::LAST_MODIFIED,
                REPR_DIGEST,
                header::LINK,
                TOTAL_COUNT,
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
