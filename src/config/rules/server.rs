//! Rules for `server`, `metrics` and `logger`.

use super::{at_least_one, maintenance, not_a_url};
use crate::config::interpret::{Interpreter, is_world_readable, shown};
use crate::error::ErrorChain;
use crate::http;
use crate::rest::Url;

/// `server`.
pub(in crate::config) fn server(walk: &mut Interpreter, config: &http::Config) {
    at_least_one(walk, "server.request_timeout", config.request_timeout);
    at_least_one(walk, "server.max_body_size", config.max_body_size as u64);
    at_least_one(walk, "server.max_requests_per_user", config.max_requests_per_user);
    at_least_one(walk, "server.max_transfers_per_user", config.max_transfers_per_user);
    at_least_one(walk, "server.max_tasks_per_user", config.max_tasks_per_user);
    for (index, network) in config.trusted_proxies.iter().enumerate() {
        if network.is_everything() {
            let reason = "trusts everybody: each client can write any address into the log";
            walk.warning(&format!("server.trusted_proxies[{index}]"), reason);
        }
    }
    forwarding(walk, config);
    for (index, origin) in config.cors_allowed_origins.iter().enumerate() {
        cors_origin(walk, &format!("server.cors_allowed_origins[{index}]"), origin);
    }
    maintenance(walk, "server.maintenance", &config.maintenance);
    if let Some(error) = config.tls.as_ref().and_then(|tls| tls.check().err()) {
        walk.report(error.key(), ErrorChain(&error).to_string());
    }
    if let Some(key) = config.tls.as_ref().map(|tls| &tls.private_key).filter(|key| is_world_readable(key)) {
        walk.warning("server.tls.private_key", format!("{} can be read by everybody: chmod o-r it", key.display()));
    }
}

/// The two keys that together say from which address a request comes.
fn forwarding(walk: &mut Interpreter, config: &http::Config) {
    match (config.trusted_proxies.is_empty(), walk.is_written("server.forwarding_header")) {
        (false, false) => walk.warning_allowing(
            "server.forwarding_header",
            "is not set beside server.trusted_proxies: X-Forwarded-For is read, and where the proxies do not write it, the log shows their address, \
             or one that a client made up",
            "x-forwarded-for | forwarded",
        ),
        (true, true) => walk.warning_allowing(
            "server.trusted_proxies",
            "is not set beside server.forwarding_header: no header is read, and the log shows the address of the proxy",
            "a list of addresses or ranges, such as [127.0.0.1, 10.0.0.0/8]",
        ),
        _ => {}
    }
}

/// An origin as browsers send it (RFC 6454, 6.1), which is compared letter by letter.
fn cors_origin(walk: &mut Interpreter, path: &str, text: &str) {
    if matches!(text, "*" | "null") {
        return;
    }
    let origin = match text.split_once("://") {
        // That of a browser's extension.
        Some((scheme, rest)) if !scheme.is_empty() && !matches!(scheme, "http" | "https") => {
            Ok(format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()))
        }
        _ => Url::parse(text).map(|url| url.origin()),
    };
    match origin {
        Ok(origin) if origin == text => {}
        Ok(origin) => {
            let reason = format!("is no origin, and no page of that site could call the API: {}", shown(path, text));
            walk.warning_allowing(path, reason, format!("{origin}, without a path, and `*` for all"));
        }
        Err(error) => not_a_url(walk, path, text, &error, "an origin such as https://portal.example.org, or `*` for all"),
    }
}

/// Rules for `metrics`, in relation to the `server` section.
pub(in crate::config) fn metrics(walk: &mut Interpreter, config: Option<&http::MetricsConfig>, server: &http::Config) {
    if let Some(config) = config
        && config.listen.port() == server.listen.port()
        && (config.listen.ip() == server.listen.ip() || config.listen.ip().is_unspecified() || server.listen.ip().is_unspecified())
        && config.listen.port() != 0
    {
        walk.report("metrics.listen", "is where the API listens (server.listen): the metrics ask for no token");
    }
}

/// `logger`.
pub(in crate::config) fn logger(walk: &mut Interpreter, config: &http::Logger) {
    for (index, header) in config.loggable_request_headers.iter().enumerate() {
        let key = format!("logger.loggable_request_headers[{index}].input");
        if http::is_secret_header(&header.input) {
            walk.warning(&key, "names a header that carries secrets: it is never logged");
        }
        if !config.enable_tracing_log {
            walk.warning(&key, "has no effect without logger.enable_tracing_log: true");
        }
    }
}
