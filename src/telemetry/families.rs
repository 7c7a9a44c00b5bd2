//! The families of metrics: names, labels and what they mean. What is said here is what scrapes and the documentation say.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

static SECONDS: Unit = Unit::Seconds;
static BYTES: Unit = Unit::Bytes;

/// The metrics of one name.
#[derive(Debug)]
pub struct Family {
    /// The name without unit and suffix.
    name: &'static str,
    pub(super) unit: Option<&'static Unit>,
    pub(super) kind: MetricType,
    /// The names of the labels, in the order in which values are given.
    pub(super) labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub(super) help: &'static str,
}

impl Family {
    const fn new(kind: MetricType, name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: None, kind, labels, help }
    }

    const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(MetricType::Counter, name, labels, help)
    }

    const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(MetricType::Gauge, name, labels, help)
    }

    const fn unit(mut self, unit: &'static Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// The name as the encoder wants it, which adds the unit and the suffix.
    pub(super) fn stem(&self) -> &'static str {
        self.name
    }

    /// The name of its samples; that of a histogram has `_bucket`, `_sum` and `_count` behind it.
    pub fn name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        format!("{}{unit}{suffix}", self.name)
    }

    /// Its row of the table in the documentation: name, type, labels, meaning.
    pub fn row(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", self.name(), self.kind.as_str(), labels.join(", "), self.help)
    }
}

/// Defines the families, and the list of them all.
macro_rules! define {
    ($($constant:ident = $family:expr;)*) => {
        $(pub(super) static $constant: Family = $family;)*

        /// All of them, in the order in which they are written.
        pub fn families() -> impl Iterator<Item = &'static Family> {
            [$(&$constant),*].into_iter()
        }
    };
}

define! {
    BUILD = Family::new(MetricType::Info, "goldcrest_build", &["version"], "The version that runs; always 1.");
    REQUESTS = Family::counter(
        "goldcrest_http_requests",
        &["method", "route", "code"],
        "Requests answered. `code` is the status, the class such as `4xx` of a rare one, or `abandoned` where the client did not wait.",
    );
    DURATION = Family::new(
        MetricType::Histogram,
        "goldcrest_http_request_duration",
        &["route"],
        "Time from a request's head to its answer's. What is streamed after that is not in it.",
    )
    .unit(&SECONDS);
    IN_FLIGHT = Family::gauge("goldcrest_http_requests_in_flight", &[], "Requests under way, to the last byte of their answers.");
    CONNECTIONS = Family::gauge("goldcrest_http_connections", &[], "Connections of clients that are open.");
    RECEIVED = Family::counter("goldcrest_http_received", &[], "Bytes of requests' bodies that were read.").unit(&BYTES);
    SENT = Family::counter("goldcrest_http_sent", &[], "Bytes of answers' bodies that were written.").unit(&BYTES);
    TOKENS = Family::counter(
        "goldcrest_tokens",
        &["outcome"],
        "Tokens looked at. `accepted`; else `missing`, `malformed`, `signature`, `expired`, `ends_too_soon`, `invalid`, or `unchecked` where no key could be had.",
    );
    DECISIONS = Family::counter(
        "goldcrest_authorization_decisions",
        &["system", "decision", "cached"],
        "Whether callers may use a system: `allowed`, `denied`, or `undecided` where no decision could be had.",
    );
    CHANGES = Family::counter(
        "goldcrest_changes",
        &["system", "action", "outcome"],
        "Changes tried, with action and outcome as in the audit trail. Jobs submitted are the action `jobs.submit`.",
    );
    CONTENT = Family::counter(
        "goldcrest_content",
        &["system", "direction"],
        "Bytes of file contents that were moved: `upload` to the cluster, `download` from it.",
    )
    .unit(&BYTES);
    READS = Family::counter(
        "goldcrest_scheduler_reads",
        &["system", "read", "source"],
        "Questions to the scheduler, and where the answer came from: `asked`, `joined` a question under way, or `remembered`.",
    );
    HEALTHY = Family::gauge(
        "goldcrest_service_healthy",
        &["system", "service"],
        "Whether the last check found the service usable: 1, or 0. `filesystem` stands for all of them, `checker` for the checker itself.",
    );
    LAST_CHECK = Family::gauge("goldcrest_last_check_timestamp", &["system"], "When the last check of the system ended, in Unix time.")
        .unit(&SECONDS);
    SSH_OPEN = Family::gauge("goldcrest_ssh_connections", &["system"], "SSH connections that are open.");
    SSH_WAITING = Family::gauge("goldcrest_ssh_requests_waiting", &["system"], "Requests that wait for a channel now.");
    SSH_OPENED = Family::counter("goldcrest_ssh_connections_opened", &["system"], "SSH connections opened.");
    SSH_FAILED = Family::counter("goldcrest_ssh_connections_failed", &["system"], "Attempts to open an SSH connection that failed.");
    SSH_DROPPED = Family::counter(
        "goldcrest_ssh_connections_dropped",
        &["system"],
        "Attempts that the server dropped before the handshake (`MaxStartups`), and that were made again.",
    );
    SSH_CLOSED = Family::counter(
        "goldcrest_ssh_connections_closed",
        &["system", "reason"],
        "SSH connections closed, or given no more work: `idle`, `evicted`, `yielded`, `credential`, `aged`, `frozen`, `lingering`, `lost`, `shutdown`.",
    );
    SSH_CHANNELS = Family::counter("goldcrest_ssh_channels_opened", &["system"], "Channels opened on SSH connections.");
    SSH_REFUSED = Family::counter("goldcrest_ssh_channels_refused", &["system"], "Channels that the server refused to open (`MaxSessions`).");
    SSH_WAITS = Family::counter("goldcrest_ssh_channel_waits", &["system"], "Requests that had to wait for a channel.");
    SSH_RETRIES = Family::counter("goldcrest_ssh_retries", &["system"], "Requests that were given another connection.");
    SSH_SHELLS = Family::counter("goldcrest_ssh_shells_started", &["system"], "Shells started to run commands in.");
    SSH_REUSED = Family::counter("goldcrest_ssh_shells_reused", &["system"], "Commands given to a shell that was there.");
    CPU = Family::counter("process_cpu", &[], "CPU time that the process has used.").unit(&SECONDS);
    MEMORY = Family::gauge("process_resident_memory", &[], "Memory of the process that is resident.").unit(&BYTES);
    OPEN_FILES = Family::gauge("process_open_fds", &[], "File descriptors that are open.");
    MAX_FILES = Family::gauge("process_max_fds", &[], "File descriptors that may be open.");
    STARTED = Family::gauge("process_start_time", &[], "When the process started, in Unix time.").unit(&SECONDS);
}
