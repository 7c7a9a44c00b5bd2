//! The `server` and `logger` sections, and the site's details in the documentation.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Maintenance, Network};
use crate::http::tls::TlsConfig;
use crate::service::UserBounds;

/// The HTTP server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct Config {
    /// IP address and port to listen on, such as `0.0.0.0:8000` or `[::]:8000`; names are not looked up.
    #[serde(deserialize_with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Time limit of a request in seconds. Transfers of file contents are exempt.
    pub request_timeout: u64,
    /// Seconds to wait after SIGTERM for running requests to end.
    pub drain_timeout: u64,
    /// Size limit of a JSON body, in bytes.
    pub max_body_size: usize,
    /// Maximum number of concurrent requests of one user, on all clusters together. A request counts until the last byte of its response is read.
    /// Further requests are refused with 429.
    pub max_requests_per_user: u64,
    /// Maximum number of those that transfer file contents: uploads, downloads, archives, followed files, and streamed listings and searches.
    pub max_transfers_per_user: u64,
    /// Maximum number of tasks of one user that have not ended, such as copies to another system. Further ones are refused with 429.
    pub max_tasks_per_user: u64,
    /// Origins whose pages may call the API from a browser (CORS); `*` for all.
    pub cors_allowed_origins: Vec<String>,
    /// Whether to ignore unknown names, as FirecREST does: query parameters, members of JSON documents, parts of forms. Otherwise they are
    /// refused with 400 and the nearest known name. A parameter or member that is given twice is refused too, or its last value counts.
    pub lenient: bool,
    /// Certificate for HTTPS, to serve without a TLS proxy. If absent, the server speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Trusted proxies, as addresses or ranges such as `10.0.0.0/8`. Goldcrest accepts `forwarding_header` from these only. The
    /// client's address in the log is the last address in the header that is not a trusted proxy.
    pub trusted_proxies: Vec<Network>,
    /// Header in which these proxies send the client's address: `x-forwarded-for` (default) or `forwarded` (RFC 7239). Write it beside
    /// `trusted_proxies`. The other header is ignored, because proxies pass on what a client wrote there.
    pub forwarding_header: ForwardingHeader,
    /// When the configuration is reloaded: `signal` (default) at SIGHUP, `watch` also after a change of the files.
    pub reload: ReloadTrigger,
    /// Notice for callers while the whole site is under maintenance. Requests for a system are then refused with 503, the notice as
    /// `message`, and `"reason": "maintenance"`; `/status/liveness/`, `/status/systems`, `/status/parameters` and `/status/whoami`
    /// still answer. If empty, there is no maintenance.
    pub maintenance: String,
    /// Seconds after which callers may try again, sent as `Retry-After` during a maintenance.
    #[schemars(range(min = 1))]
    pub maintenance_retry_after: Option<u32>,
}

impl Config {
    /// The maintenance of the whole site, if there is one.
    pub fn maintenance(&self) -> Option<Maintenance> {
        Maintenance::announced(&self.maintenance, self.maintenance_retry_after)
    }
}

/// The header in which proxies say for whom they send a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// When the configuration is reloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadTrigger {
    /// At SIGHUP, as sent by `systemctl reload`.
    #[default]
    Signal,
    /// Also a few seconds after the file, a file of its clusters or a secret file has changed.
    Watch,
}

impl Config {
    /// The limits of one user.
    pub(crate) fn user_bounds(&self) -> UserBounds {
        UserBounds { requests: self.max_requests_per_user, transfers: self.max_transfers_per_user, tasks: self.max_tasks_per_user }
    }
}

impl Default for Config {
    fn default() -> Self {
        let UserBounds { requests, transfers, tasks } = UserBounds::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            request_timeout: 60,
            drain_timeout: 30,
            max_body_size: 8 * 1024 * 1024,
            max_requests_per_user: requests,
            max_transfers_per_user: transfers,
            max_tasks_per_user: tasks,
            cors_allowed_origins: Vec::new(),
            lenient: false,
            tls: None,
            trusted_proxies: Vec::new(),
            forwarding_header: ForwardingHeader::default(),
            reload: ReloadTrigger::Signal,
            maintenance: String::new(),
            maintenance_retry_after: None,
        }
    }
}

/// The metrics endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct MetricsConfig {
    /// IP address and port of `GET /metrics`, such as `127.0.0.1:9090`. It needs no token, so choose an address that only the
    /// monitoring reaches. It must differ from `server.listen`.
    #[serde(deserialize_with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| serde::de::Error::custom("is no IP address with a port, such as 127.0.0.1:8000 or [::]:8000");
    text.parse().map_err(wrong)
}

/// A server in the API's documentation (OpenAPI 3.1, 4.8.5).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocServer {
    /// Its URL.
    pub url: String,
    /// A short description.
    #[serde(default)]
    pub description: Option<String>,
}

/// Settings of the log.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logger {
    /// Add the request headers in `loggable_request_headers` to the access log. Commands on the cluster are never logged, because they
    /// may contain secrets.
    pub enable_tracing_log: bool,
    /// Request headers to log, as members of the field `headers`. Headers with secrets are never logged.
    pub loggable_request_headers: Vec<LoggedHeader>,
}

/// A request header to log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct LoggedHeader {
    /// Name of the header.
    pub input: String,
    /// Name of the member in the log.
    pub output: String,
}
