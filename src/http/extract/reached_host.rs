//! The host under which a client has reached this service.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, header};

/// The host of the request, without a port; an IPv6 address in brackets. Nothing if the request names none.
pub(crate) struct ReachedHost(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for ReachedHost {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(header::HOST).map(HeaderValue::as_bytes).and_then(|host| Authority::try_from(host).ok());
        let authority = parts.uri.authority().cloned().or(header);
        Ok(Self(authority.map(|authority| authority.host().to_owned()).filter(|host| !host.is_empty())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[tokio::test]
    async fn the_port_of_the_api_is_no_part_of_the_host() {
        for (uri, host, expected) in [
            ("/a", Some("hpc.example.org:8000"), Some("hpc.example.org")),
            ("/a", Some("[::1]:8000"), Some("[::1]")),
            ("http://hpc.example.org:1/a", None, Some("hpc.example.org")),
            ("/a", None, None),
            ("/a", Some(""), None),
        ] {
            let builder = host.into_iter().fold(Request::get(uri), |builder, host| builder.header("host", host));
            let (mut parts, ()) = builder.body(()).unwrap().into_parts();
            let ReachedHost(found) = ReachedHost::from_request_parts(&mut parts, &()).await.unwrap();
            assert_eq!(found.as_deref(), expected, "{uri} {host:?}");
        }
    }
}
