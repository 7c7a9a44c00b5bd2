//! The `server` and `logger` sections, and what the documentation says of the site.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Maintenance;
use crate::http::middleware::client_address::{ForwardingHeader, Network};
use crate::http::tls::TlsConfig;

/// How the API is served.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct Config {
    /// IP address and port to listen on, such as `0.0.0.0:8000` or `[::]:8000`; names are not looked up.
    #[serde(deserialize_with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Seconds that a request may take, transfers of file contents excepted.
    pub request_timeout: u64,
    /// Seconds that requests under way are given to end after SIGTERM.
    pub drain_timeout: u64,
    /// The largest JSON body in bytes.
    pub max_body_size: usize,
    /// Origins that browsers may call from (CORS); `*` for all.
    pub cors_allowed_origins: Vec<String>,
    /// Serve HTTPS by itself, without a proxy in front. Absent: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Proxies in front, as addresses or ranges such as `10.0.0.0/8`. From them alone the header of `forwarding_header` is believed: the address
    /// of a client in the log is the last one in it that is not one of theirs.
    pub trusted_proxies: Vec<Network>,
    /// The header that these proxies write. The other one is not read: proxies pass on what a client wrote there.
    pub forwarding_header: ForwardingHeader,
    /// When this file is read anew.
    pub reload: ReloadTrigger,
    /// What callers are told while the whole site is under maintenance. Every request for a system is then refused with 503, this text as
    /// `message`, and `"reason": "maintenance"`; `/status/liveness/`, `/status/systems`, `/status/parameters` and `/status/whoami` answer
    /// on. Empty: no maintenance.
    pub maintenance: String,
    /// Seconds after which callers may ask again, sent as `Retry-After` during `maintenance`.
    #[schemars(range(min = 1))]
    pub maintenance_retry_after: Option<u32>,
}

impl Config {
    /// The maintenance of the whole site, where there is one.
    pub fn maintenance(&self) -> Option<Maintenance> {
        Maintenance::announced(&self.maintenance, self.maintenance_retry_after)
    }
}

/// When the configuration is read anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadTrigger {
    /// At SIGHUP, which `systemctl reload` sends.
    #[default]
    Signal,
    /// Also a few seconds after the file, a file of its clusters or a secret file has changed.
    Watch,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            request_timeout: 60,
            drain_timeout: 30,
            max_body_size: 8 * 1024 * 1024,
            cors_allowed_origins: Vec::new(),
            tls: None,
            trusted_proxies: Vec::new(),
            forwarding_header: ForwardingHeader::default(),
            reload: ReloadTrigger::Signal,
            maintenance: String::new(),
            maintenance_retry_after: None,
        }
    }
}

/// Where numbers about the service are shown.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct MetricsConfig {
    /// IP address and port on which `GET /metrics` answers without a token, such as `127.0.0.1:9090`. Another one than `server.listen`, and one
    /// that only the monitoring reaches.
    #[serde(deserialize_with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| serde::de::Error::custom("is no IP address with a port (allowed: such as 127.0.0.1:8000, 0.0.0.0:8000 or [::]:8000)");
    text.parse().map_err(wrong)
}

/// A server that the documentation names (OpenAPI 3.1, 4.8.5).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocServer {
    /// Its URL.
    pub url: String,
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
}

/// What is logged.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logger {
    /// Add the headers named below to the access line, which every request leaves in any case. The commands that ran on the
    /// cluster are not logged: they may hold secrets.
    pub enable_tracing_log: bool,
    /// Request headers that are logged, each in the member of the field `headers` that `output` names. Headers that carry
    /// secrets are left out.
    pub loggable_request_headers: Vec<LoggedHeader>,
}

/// A request header and its name in the log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct LoggedHeader {
    /// Name of the header.
    pub input: String,
    /// Name in the log.
    pub output: String,
}
