//! The host of a request (RFC 9112, 3.2; RFC 9113, 8.3.1): exactly one, and the same everywhere.
//!
//! Servers in front of this one may choose another one of several hosts.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version, header};

use crate::http::request_info::Peer;

/// Checks the hosts that a request names.
///
/// # Errors
/// If there are several, or one is invalid.
pub(crate) fn validate(request: &Request) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    // Only a request from a connection has a meaningful version.
    if host.is_none() && request.version() == Version::HTTP_11 && request.extensions().get::<Peer>().is_some() {
        return Err("no Host header was sent");
    }
    if hosts.next().is_some() {
        return Err("more than one Host header was sent");
    }
    let Some(host) = host.map(HeaderValue::as_bytes) else { return Ok(()) };
    let named = Authority::try_from(host).ok().filter(|authority| !authority.as_str().contains('@'));
    match (named, request.uri().authority()) {
        (None, _) if !host.is_empty() => Err("the Host header holds no host"),
        (Some(named), Some(authority)) if !named.as_str().eq_ignore_ascii_case(authority.as_str()) => {
            Err("the Host header names another host than the request's target")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn a_request_means_one_host() {
        let with = |uri: &str, hosts: &[&str]| {
            let builder = hosts.iter().fold(Request::get(uri), |builder, host| builder.header("host", *host));
            validate(&builder.body(Body::empty()).unwrap()).is_ok()
        };
        assert!(with("/a", &["hpc.example.org:443"]) && with("/a", &[""]) && with("/a", &[]) && with("/a", &["[::1]:8000"]));
        assert!(with("https://a.example/x", &["A.example"]) && with("https://a.example/x", &[]));
        for (uri, hosts) in [
            ("/a", &["a", "b"][..]),
            ("/a", &["a", "a"]),
            ("/a", &["a, b"]),
            ("/a", &["me@a"]),
            ("/a", &["a/b"]),
            ("https://a.example/x", &["b.example"]),
        ] {
            assert!(!with(uri, hosts), "{uri} {hosts:?}");
        }
    }
}
