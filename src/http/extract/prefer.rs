//! `Prefer: wait` (RFC 7240, 4.3): how long a client is willing to wait for a change.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::Api;
use crate::http::list_field::members;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The part of a request's time limit that is reserved for the response.
const RESPONSE_RESERVE: Duration = Duration::from_secs(10);

/// The time that the client is willing to wait; nothing without such a preference, or if it is invalid.
pub(crate) struct Wait(Option<Duration>);

impl FromRequestParts<Api> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let limit = Duration::from_secs(api.config.request_timeout);
        let longest = limit.saturating_sub(RESPONSE_RESERVE).max(limit / 2);
        Ok(Self(wait(&parts.headers).map(|wait| wait.min(Duration::from_secs(longest.as_secs())))))
    }
}

impl Wait {
    /// The time, which is within the time limit of a request.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.0
    }

    /// The header with the applied preference, if one was applied.
    pub(crate) fn applied(&self) -> HeaderMap {
        let value = self.0.and_then(|wait| HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok());
        value.map(|value| (PREFERENCE_APPLIED, value)).into_iter().collect()
    }
}

/// The seconds of the first `wait` among the preferences. Names are case-insensitive, and a value may be quoted.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = members(headers, &PREFER).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    })?;
    seconds.bytes().all(|byte| byte.is_ascii_digit()).then(|| seconds.parse().ok().map(Duration::from_secs))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_counts_however_it_is_written_and_nothing_else_is_one() {
        let read = |values: &[&'static str]| {
            let headers: HeaderMap = values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect();
            wait(&headers).map(|wait| wait.as_secs())
        };
        for values in [&["wait=30"][..], &["respond-async, WAIT = \"30\"; x=1"], &["handling=lenient", "wait=30, wait=60"]] {
            assert_eq!(read(values), Some(30), "{values:?}");
        }
        for values in [&[][..], &["wait"], &["wait=-1"], &["wait=1.5"], &["wait="], &["await=3"], &["wait=99999999999999999999"]] {
            assert_eq!(read(values), None, "{values:?}");
        }
    }
}
