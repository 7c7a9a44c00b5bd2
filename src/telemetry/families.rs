//! The families of metrics: names, labels and meanings. Scrapes and the documentation use these texts.

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
    /// Its meaning, in one sentence.
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

    /// The name for the encoder, which adds the unit and the suffix.
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
    BUILD = Family::new(MetricType::Info, "goldcrest_build", &["version"], "Version of the running program; the value is always 1.");
    REQUESTS = Family::counter(
        "goldcrest_http_requests",
        &["method", "route", "code"],
        "Answered requests. `code` is the status, its class such as `4xx` for rare ones, or `abandoned` if the client did not wait.",
    );
    DURATION = Family::new(
        MetricType::Histogram,
        "goldcrest_http_request_duration",
        &["route"],
        "Time from the head of a request to the head of its answer, without the content streamed after it.",
    )
    .unit(&SECONDS);
    IN_FLIGHT = Family::gauge("goldcrest_http_requests_in_flight", &[], "Running requests, up to the last byte of their answers.");
    CONNECTIONS = Family::gauge("goldcrest_http_connections", &[], "Open connections of clients.");
    RECEIVED = Family::counter("goldcrest_http_received", &[], "Bytes read from request bodies.").unit(&BYTES);
    SENT = Family::counter("goldcrest_http_sent", &[], "Bytes written to answer bodies.").unit(&BYTES);
    TOKENS = Family::counter(
        "goldcrest_tokens",
        &["outcome"],
        "Verified tokens: `accepted`, `missing`, `malformed`, `signature`, `expired`, `ends_too_soon`, `invalid`, or `unchecked` if no key was available.",
    );
    DECISIONS = Family::counter(
        "goldcrest_authorization_decisions",
        &["system", "decision", "cached"],
        "Decisions whether a caller may use a system: `allowed`, `denied`, or `undecided` if no decision was available.",
    );
    CHANGES = Family::counter(
        "goldcrest_changes",
        &["system", "action", "outcome"],
        "Attempted changes, with action and outcome as in the audit trail. Submitted jobs have the action `jobs.submit`.",
    );
    CONTENT = Family::counter(
        "goldcrest_content",
        &["system", "direction"],
        "Bytes of transferred file contents: `upload` to the cluster, `download` from it.",
    )
    .unit(&BYTES);
    READS = Family::counter(
        "goldcrest_scheduler_reads",
        &["system", "read", "source"],
        "Queries of the scheduler by source of the answer: `asked` the scheduler, `joined` a running query, or `remembered` from the cache.",
    );
    MIRROR_QUERIES = Family::counter(
        "goldcrest_mirror_queries",
        &["system", "query", "outcome"],
        "Queries of the job mirror: of a `list` of jobs or of one `job`, `answered` or `failed`.",
    );
    MIRROR_ANSWER = Family::gauge(
        "goldcrest_mirror_last_answer_timestamp",
        &["system"],
        "Time of the newest answer to the job mirror, in Unix time. Absent before the first. It ages while no jobs are watched, or while another replica queries.",
    )
    .unit(&SECONDS);
    MIRROR_EVENTS = Family::counter("goldcrest_mirror_events", &["system"], "Changes of jobs that this process found.");
    MIRROR_WATCHERS = Family::gauge(
        "goldcrest_mirror_watchers",
        &["system"],
        "Clients that wait for jobs or read their events, and users with webhooks.",
    );
    MIRROR_PUSHES = Family::counter(
        "goldcrest_mirror_pushes",
        &["system", "outcome"],
        "Reports of ended jobs from the scheduler: `taken`, `unwatched` if no jobs of that user are watched, or `unreadable`.",
    );
    HEALTHY = Family::gauge(
        "goldcrest_service_healthy",
        &["system", "service"],
        "Result of the last check of a service: 1 if healthy, 0 otherwise. `filesystem` covers all file systems, `checker` is the checker itself.",
    );
    LAST_CHECK = Family::gauge("goldcrest_last_check_timestamp", &["system"], "Time of the last check of the system, in Unix time.")
        .unit(&SECONDS);
    SSH_OPEN = Family::gauge("goldcrest_ssh_connections", &["system"], "Open SSH connections.");
    SSH_WAITING = Family::gauge("goldcrest_ssh_requests_waiting", &["system"], "Requests that are waiting for a channel.");
    SSH_OPENED = Family::counter("goldcrest_ssh_connections_opened", &["system"], "Opened SSH connections.");
    SSH_FAILED = Family::counter("goldcrest_ssh_connections_failed", &["system"], "Failed attempts to open an SSH connection.");
    SSH_DROPPED = Family::counter(
        "goldcrest_ssh_connections_dropped",
        &["system"],
        "Attempts that the server dropped before the handshake (`MaxStartups`) and that were repeated.",
    );
    SSH_CLOSED = Family::counter(
        "goldcrest_ssh_connections_closed",
        &["system", "reason"],
        "SSH connections closed or retired: `idle`, `evicted`, `yielded`, `credential`, `aged`, `frozen`, `lingering`, `lost`, `shutdown`.",
    );
    SSH_CHANNELS = Family::counter("goldcrest_ssh_channels_opened", &["system"], "Channels opened on SSH connections.");
    SSH_REFUSED = Family::counter("goldcrest_ssh_channels_refused", &["system"], "Channels that the server refused to open (`MaxSessions`).");
    SSH_WAITS = Family::counter("goldcrest_ssh_channel_waits", &["system"], "Requests that waited for a channel.");
    SSH_RETRIES = Family::counter("goldcrest_ssh_retries", &["system"], "Requests that were repeated on another connection.");
    SSH_SHELLS = Family::counter("goldcrest_ssh_shells_started", &["system"], "Shells started to run commands.");
    SSH_REUSED = Family::counter("goldcrest_ssh_shells_reused", &["system"], "Commands run in an existing shell.");
    STORE_UP = Family::gauge("goldcrest_store_up", &[], "Whether the last operation of the store was done: 1 if so, 0 otherwise. Absent without a store.");
    STORE_OPERATIONS = Family::counter(
        "goldcrest_store_operations",
        &["outcome"],
        "Operations of the store: `done`, `failed`, or `full` if it had no space left.",
    );
    WEBHOOKS = Family::counter(
        "goldcrest_webhook_deliveries",
        &["outcome"],
        "Attempts to deliver a message to a webhook: `delivered`, `refused` by the receiver, or `not_reached`; and messages that were `given_up`.",
    );
    TASKS = Family::gauge("goldcrest_background_task_up", &["task"], "State of a background task: 1 if it is running, 0 if it has panicked.");
    CPU = Family::counter("process_cpu", &[], "CPU time used by the process.").unit(&SECONDS);
    MEMORY = Family::gauge("process_resident_memory", &[], "Resident memory of the process.").unit(&BYTES);
    OPEN_FILES = Family::gauge("process_open_fds", &[], "Open file descriptors.");
    MAX_FILES = Family::gauge("process_max_fds", &[], "Limit of open file descriptors.");
    STARTED = Family::gauge("process_start_time", &[], "Start time of the process, in Unix time.").unit(&SECONDS);
}
