//! The headers that every answer has.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

use crate::http::problem::context::{CORRELATION_ID, REQUEST_ID, RequestContext};

/// The headers of FirecREST.
pub(crate) const TIMESTAMP: HeaderName = HeaderName::from_static("f7t-timestamp");
pub(crate) const APP_VERSION: HeaderName = HeaderName::from_static("f7t-appversion");
pub(crate) const AUTH_USERNAME: HeaderName = HeaderName::from_static("f7t-authusername");

/// The version of the contract, for `F7T-AppVersion`; our own version is in the documentation pages. It is a number, and the first
/// that has every parameter of ours: clients compare it (aiida-firecrest refuses `2.x.x`, which a FirecREST built from its source says).
const CONTRACT_VERSION: HeaderValue = HeaderValue::from_static(API_LEVEL);

/// The release of FirecREST whose API this is.
pub const API_LEVEL: &str = "2.6.0";

/// Adds them to an answer.
pub(crate) fn add_common_headers(response: &mut Response, context: &RequestContext) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = format!("{}.{:06}", now.as_secs(), now.subsec_micros());
    let headers = response.headers_mut();
    let texts = [
        (TIMESTAMP, Some(timestamp.as_str())),
        (AUTH_USERNAME, context.username()),
        (REQUEST_ID, Some(&**context.id())),
        (CORRELATION_ID, Some(context.correlation_id())),
    ];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(APP_VERSION, CONTRACT_VERSION);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Responses are for one caller; the documentation pages set their own value.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
