//! A batch scheduler for one host that has none: over SSH, as the caller, with a POSIX shell and nothing installed.
//!
//! Every job has a runner, a detached shell on the host that waits for a slot, runs the script in a session of its own and
//! records its end; state lives in files below `${XDG_STATE_HOME:-$HOME/.local/state}/goldcrest`, so the proxy may restart at
//! any time. Each user has a queue and sees only their own jobs: `allusers` changes nothing. The words for states are
//! Slurm's: `PENDING`, `RUNNING`, `COMPLETED`, `FAILED`, `CANCELLED`, `TIMEOUT`, and `NODE_FAIL` when the runner or the host
//! died. A cancel reaches the job's process group and, on Linux, every process that carries the job's variable.
//!
//! This module must not know HTTP or russh. A new operation is a program in `shell/` and a value in `commands.rs`;
//! `shell/prelude.sh` describes the files.

mod commands;
mod config;
mod directives;
mod record;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use config::Config;

use self::commands::{Attach, Cancel, DescribeNode, Find, List, Metadata, Ping, ReadScript, SendSignal, Submit, Validate};
use self::directives::Directives;
use super::directives::DOS_LINE_BREAKS;
use super::submission_record::{self, Adopt, Attempt, NextAttempt, RecordedSubmission, Trace};
use super::{AttachOutput, RecordSettings, Scheduler, SchedulerError, SubmissionKey, Submitted, UnsupportedOperation};
use crate::domain::{
    Account, AccountingQuery, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobOptions, JobQuery, JobScript,
    JobUsage, Node, NodeState, Partition, PartitionLimits, Principal, Reported, Reservation, ResourceUsage, bytes_to_text,
    is_variable_name, text_to_bytes,
};
use crate::ssh::{CommandLine, RemoteCommand, Transport, run};

/// The one partition's name, and the cluster's.
const PARTITION: &str = "local";

const NO_HOLD: &str = "the local scheduler starts jobs in the order of their submission, and holds none";
const NO_REQUEUE: &str = "the local scheduler runs each job once: submit it again";
const NO_NEW_LIMIT: &str = "the local scheduler reads the time limit of a job when the job is submitted";

/// The longest script in bytes: Slurm's default `max_script_size`.
const MAX_SCRIPT: usize = 4 * 1024 * 1024;

/// The longest name, path pattern or account in bytes: `PATH_MAX` of Linux.
const MAX_TEXT: usize = 4096;

/// The scheduler of one host.
pub struct Local {
    transport: Arc<dyn Transport>,
    config: Config,
    records: RecordSettings,
}

/// A submission with a record.
struct Recorded<'a> {
    local: &'a Local,
    principal: &'a Principal,
    job: &'a JobDescription,
    key: &'a SubmissionKey,
}

impl Local {
    /// A scheduler that runs its programs through `transport`.
    pub fn new(transport: Arc<dyn Transport>, config: Config) -> Self {
        Self { transport, config, records: RecordSettings::default() }
    }

    /// The same, with records of submissions that are kept as `records` say.
    #[must_use]
    pub fn recording(mut self, records: RecordSettings) -> Self {
        self.records = records;
        self
    }

    async fn run<T, C>(&self, principal: &Principal, operation: &'static str, command: &C) -> Result<T, SchedulerError>
    where
        C: RemoteCommand<Output = Result<T, SchedulerError>>,
    {
        run(self.transport.as_ref(), principal, command).await.map_err(SchedulerError::command(operation))?
    }

    /// Submits a job, as the next attempt if the submission has a record.
    async fn submit_attempt(
        &self,
        principal: &Principal,
        job: &JobDescription,
        attempt: Option<NextAttempt<'_>>,
    ) -> Result<Attempt, SchedulerError> {
        let script = match &job.script {
            JobScript::Inline(script) => text_to_bytes(script),
            JobScript::Path(path) => self.run(principal, "reading the script", &ReadScript(path)).await?,
        };
        let submission = Submit { attempt, ..self.submission(principal, job, script)? };
        self.run(principal, "submitting the job", &submission).await
    }

    fn submission<'a>(&self, principal: &Principal, job: &JobDescription, script: Vec<u8>) -> Result<Submit<'a>, SchedulerError> {
        if script.is_empty() {
            return Err(rejected("the script is empty"));
        }
        if script.len() > MAX_SCRIPT {
            return Err(rejected("the script is larger than 4 MiB"));
        }
        if script.windows(2).any(|pair| pair == b"\r\n") {
            return Err(rejected(DOS_LINE_BREAKS));
        }
        if script.contains(&0) {
            return Err(rejected("the script holds a NUL byte"));
        }
        if job.partition.as_ref().is_some_and(|partition| !partition.is_empty() && partition != PARTITION) {
            return Err(rejected("invalid partition: the only one is `local`"));
        }
        if job.reservation.as_ref().is_some_and(|reservation| !reservation.is_empty()) {
            return Err(rejected("the local scheduler has no reservations"));
        }
        if job.constraints.as_ref().is_some_and(|constraints| !constraints.is_empty()) {
            return Err(rejected("the local scheduler has no node features to constrain to"));
        }
        check_options(&job.options)?;
        let directives = Directives::read(&bytes_to_text(&script)).map_err(SchedulerError::Rejected)?;
        let name = bounded("name", first(&job.name, directives.name).unwrap_or_else(|| "job".to_owned()))?;
        let account = first(&job.account, directives.account).map(|account| bounded("account", account)).transpose()?;
        let user = principal.username.as_str();
        let pattern = |what, requested: &Option<String>, directive, default: &str| {
            let pattern = bounded(what, first(requested, directive).unwrap_or_else(|| default.to_owned()))?;
            Ok::<_, SchedulerError>(text_to_bytes(&expand(&pattern, &name, user)))
        };
        let limit = self.limit(job.options.time_limit.map(u64::from).or(directives.time))?;
        let parameters = CommandLine::new("set")
            .flag("--")
            .arg(self.config.slots.to_string())
            .arg(limit.to_string())
            .arg(self.config.kill_wait.to_string())
            .arg(job.working_directory.as_bytes())
            .arg(pattern("standard input", &job.standard_input, directives.input, "")?)
            .arg(pattern("standard output", &job.standard_output, directives.output, "job-%j.out")?)
            .arg(pattern("standard error", &job.standard_error, directives.error, "")?)
            .arg(text_to_bytes(&name))
            .arg(self.config.retention_days.max(7).to_string());
        let directory = job.working_directory.to_text();
        let limit = Some(limit).filter(|limit| *limit > 0);
        Ok(Submit {
            script,
            parameters,
            record: record::fixed_fields(&name, &directory, user, account.as_deref(), limit),
            environment: environment(job)?,
            queue_limit: self.config.queue_limit,
            attempt: None,
        })
    }

    /// The time limit in seconds; 0 for none.
    fn limit(&self, requested: Option<u64>) -> Result<u64, SchedulerError> {
        let limit = requested.unwrap_or(self.config.default_time_limit);
        let longest = self.config.max_time_limit;
        match (requested, longest) {
            (_, 0) => Ok(limit),
            (None, _) if limit == 0 || limit > longest => Ok(longest),
            _ if limit == 0 || limit > longest => {
                Err(SchedulerError::Rejected(format!("Requested time limit is invalid: the longest is {longest} s")))
            }
            _ => Ok(limit),
        }
    }
}

#[async_trait]
impl Scheduler for Local {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        match self.submit_attempt(principal, job, None).await? {
            Attempt::Submitted(id) => Ok(id.into()),
            other => Err(SchedulerError::Unanswered(format!("a submission without a record told of one: {other:?}"))),
        }
    }

    async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError> {
        submission_record::submit_once(&Recorded { local: self, principal, job, key }, None).await.map(Reported::from)
    }

    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let mut jobs = self.run(principal, "listing the jobs", &List::Days(query.window.hours().div_ceil(24))).await?;
        // The host filters by days; the clock is the host's too, as the newest job's elapsed time would be wrong otherwise.
        let oldest = jiff::Timestamp::now().as_second() - i64::from(query.window.hours()) * 3600;
        jobs.retain(|job| {
            query.account.as_ref().is_none_or(|account| job.account.as_ref() == Some(account))
                && query.name.as_ref().is_none_or(|name| job.name == *name)
                && (matches!(job.status.state.as_str(), "PENDING" | "RUNNING") || job.times.end.is_none_or(|end| end >= oldest))
        });
        Ok(jobs.into())
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        self.run(principal, "reading the job", &List::One(known(id)?)).await.map(Reported::from)
    }

    /// As far back as the host keeps its records (`retention_days`).
    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let now = jiff::Timestamp::now().as_second();
        let since = query.since.unwrap_or(0);
        let days = u32::try_from((now - since).max(0) / 86_400 + 1).unwrap_or(u32::MAX).min(self.config.retention_days.max(7));
        let mut jobs = self.run(principal, "listing the jobs", &List::Days(days)).await?;
        jobs.retain(|job| {
            (query.jobs.is_empty() || query.jobs.contains(&job.id))
                && query.account.as_ref().is_none_or(|account| job.account.as_ref() == Some(account))
                && job.times.end.is_none_or(|end| end >= since)
                && query.until.is_none_or(|until| job.times.start.is_none_or(|start| start <= until))
        });
        Ok(jobs.into())
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        let files = self.run(principal, "reading the job's files", &Metadata(known(id)?)).await?;
        let [input, output, error] = files.paths;
        let text = |bytes: &[u8]| Some(bytes_to_text(bytes)).filter(|text| !text.is_empty());
        Ok(vec![JobMetadata {
            id: id.clone(),
            script: Some(bytes_to_text(&files.script)),
            standard_input: text(&input).or_else(|| Some("/dev/null".to_owned())),
            standard_error: text(&error).or_else(|| text(&output)),
            standard_output: text(&output),
            is_array: false,
        }]
        .into())
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        self.run(principal, "cancelling the job", &Cancel(known(id)?)).await.map(Reported::from)
    }

    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        match change {
            JobChange::Signal(signal) => {
                self.run(principal, "signalling the job", &SendSignal { id: known(id)?, signal }).await.map(Reported::from)
            }
            JobChange::Hold | JobChange::Release => Err(SchedulerError::Unsupported(NO_HOLD)),
            JobChange::Requeue => Err(SchedulerError::Unsupported(NO_REQUEUE)),
            JobChange::TimeLimit(_) => Err(SchedulerError::Unsupported(NO_NEW_LIMIT)),
        }
    }

    /// Checks the job as its submission does. A start time is not predicted.
    async fn validate(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        let script = match &job.script {
            JobScript::Inline(script) => text_to_bytes(script),
            JobScript::Path(path) => self.run(principal, "reading the script", &ReadScript(path)).await?,
        };
        let validation = Validate(self.submission(principal, job, script)?);
        self.run(principal, "checking the job", &validation).await?;
        Ok(JobEstimate { partition: Some(PARTITION.to_owned()), ..JobEstimate::default() }.into())
    }

    /// The time that jobs ran is all that the host knows.
    async fn usage(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        let jobs = self.accounting(principal, query).await?;
        let usage = |job: Job| {
            let elapsed = job.times.elapsed.and_then(|elapsed| u64::try_from(elapsed).ok());
            let resources = ResourceUsage { elapsed, node_seconds: elapsed, ..ResourceUsage::default() };
            JobUsage { id: job.id, user: job.user, account: job.account, resources }
        };
        Ok(jobs.map(|jobs| jobs.into_iter().map(usage).collect()))
    }

    async fn limits(&self, _: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        let given = |seconds: u64| Some(seconds).filter(|seconds| *seconds > 0);
        let partition = PartitionLimits {
            name: PARTITION.to_owned(),
            is_default: true,
            state: Some("UP".to_owned()),
            max_time: given(self.config.max_time_limit),
            default_time: given(self.config.default_time_limit),
            max_nodes: Some(1),
            ..PartitionLimits::default()
        };
        Ok(JobLimits { partitions: vec![partition], qos: None, associations: None }.into())
    }

    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        if command.contains('\0') {
            return Err(rejected("the command holds a NUL byte"));
        }
        self.run(principal, "attaching to the job", &Attach { id: known(id)?, command }).await.map(Reported::from)
    }

    async fn nodes(&self, principal: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        let host = self.run(principal, "describing the node", &DescribeNode).await?;
        let slots = if self.config.slots == 0 { host.cpus } else { self.config.slots };
        let allocated = host.running.min(host.cpus);
        let state = match host.running {
            0 => NodeState::Idle,
            running if running < slots => NodeState::Mixed,
            _ => NodeState::Allocated,
        };
        Ok(vec![Node {
            name: host.name.clone(),
            cpus: host.cpus,
            cpu_load: host.load,
            free_memory: host.free.map(|kib| kib / 1024),
            alloc_cpus: Some(allocated),
            idle_cpus: Some(host.cpus - allocated),
            hostname: Some(host.name),
            state: vec![state],
            partitions: vec![PARTITION.to_owned()],
            ..Node::default()
        }]
        .into())
    }

    async fn partitions(&self, principal: &Principal, _: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        let host = self.run(principal, "describing the partition", &DescribeNode).await?;
        let state = vec!["UP".to_owned()];
        Ok(vec![Partition { name: PARTITION.to_owned(), cpus: Some(host.cpus), total_nodes: Some(1), state }].into())
    }

    async fn reservations(&self, _: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        Ok(Vec::new().into())
    }

    async fn accounts(&self, _: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        Ok(None.into())
    }

    fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        const {
            &[
                (UnsupportedOperation::Hold, NO_HOLD),
                (UnsupportedOperation::Release, NO_HOLD),
                (UnsupportedOperation::Requeue, NO_REQUEUE),
                (UnsupportedOperation::TimeLimit, NO_NEW_LIMIT),
            ]
        }
    }

    /// The job ran on the machine on which its output is read.
    fn output_transit_time(&self) -> Duration {
        Duration::ZERO
    }

    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        self.run(principal, "asking the host", &Ping).await
    }
}

#[async_trait]
impl RecordedSubmission for Recorded<'_> {
    async fn attempt(&self, after: u32) -> Result<Attempt, SchedulerError> {
        let next = NextAttempt { key: self.key, after, settings: self.local.records };
        self.local.submit_attempt(self.principal, self.job, Some(next)).await
    }

    fn printed(&self, text: &str) -> Option<JobId> {
        JobId::new(text).ok()
    }

    async fn find(&self, _: i64) -> Result<Trace, SchedulerError> {
        let found = self.local.run(self.principal, "looking for the job", &Find(self.key)).await?;
        Ok(found.map_or(Trace::Nowhere, Trace::Job))
    }

    async fn adopt(&self, id: &JobId) -> Result<(), SchedulerError> {
        let adopt = Adopt { key: self.key, id };
        run(self.local.transport.as_ref(), self.principal, &adopt).await.map_err(SchedulerError::command("recording the job"))
    }
}

/// Rejects options that one host cannot satisfy. Every job has one node and one task.
fn check_options(options: &JobOptions) -> Result<(), SchedulerError> {
    const ONE_HOST: &str = "the local scheduler runs each job on one host, as one task";
    const NO_SHARES: &str = "the local scheduler does not share out CPUs, memory or GPUs";
    const NO_QUEUE: &str = "the local scheduler starts jobs in the order of their submission";
    const NO_CONTAINERS: &str = "the local scheduler starts no containers: let the script do it";
    let more_than_one = |count: Option<u32>| count.is_some_and(|count| count > 1);
    let refused = [
        ("nodes", more_than_one(options.nodes), ONE_HOST),
        ("tasks", more_than_one(options.tasks), ONE_HOST),
        ("tasksPerNode", more_than_one(options.tasks_per_node), ONE_HOST),
        ("array", options.array.is_some(), ONE_HOST),
        ("cpusPerTask", options.cpus_per_task.is_some(), NO_SHARES),
        ("memory", options.memory.is_some(), NO_SHARES),
        ("memoryPerCpu", options.memory_per_cpu.is_some(), NO_SHARES),
        ("gpus", options.gpus.is_some(), NO_SHARES),
        ("gpusPerNode", options.gpus_per_node.is_some(), NO_SHARES),
        ("exclusive", options.exclusive, NO_SHARES),
        ("licenses", !options.licenses.is_empty(), NO_SHARES),
        ("qos", options.qos.is_some(), NO_QUEUE),
        ("hold", options.hold, NO_QUEUE),
        ("dependencies", !options.dependencies.is_empty(), NO_QUEUE),
        ("mailUser", options.mail_user.is_some(), "the local scheduler sends no mail"),
        ("mailEvents", !options.mail_events.is_empty(), "the local scheduler sends no mail"),
        ("container", options.container.is_some(), NO_CONTAINERS),
        ("containerImage", options.container_image.is_some(), NO_CONTAINERS),
    ];
    SchedulerError::refuse_members(refused)
}

fn rejected(message: &'static str) -> SchedulerError {
    SchedulerError::Rejected(message.to_owned())
}

/// Ids are decimal numbers of ours without leading zeros. They become file names, so nothing else may pass.
fn known(id: &JobId) -> Result<&JobId, SchedulerError> {
    let digits = id.as_str();
    if digits.len() <= 18 && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(id)
    } else {
        Err(SchedulerError::JobNotFound)
    }
}

fn first(requested: &Option<String>, directive: Option<String>) -> Option<String> {
    requested.clone().filter(|text| !text.is_empty()).or(directive)
}

fn bounded(what: &'static str, text: String) -> Result<String, SchedulerError> {
    if text.contains('\0') {
        Err(SchedulerError::Rejected(format!("the job's {what} holds a NUL byte")))
    } else if text.len() >= MAX_TEXT {
        Err(SchedulerError::Rejected(format!("the job's {what} is longer than {} bytes", MAX_TEXT - 1)))
    } else {
        Ok(text)
    }
}

/// Replaces `%x` (name) and `%u` (user). `%j`, and `%A` as `%j`, and `%%` are left to the host, which knows the id. A slash in a
/// name would make directories of it and becomes `_`.
fn expand(pattern: &str, name: &str, user: &str) -> String {
    let mut expanded = String::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            expanded.push(character);
            continue;
        }
        match characters.peek() {
            Some('j' | 'A') => expanded.push_str("%j"),
            Some('x') => expanded.push_str(&name.replace('/', "_").replace('%', "%%")),
            Some('u') => expanded.push_str(user),
            Some('%') => expanded.push_str("%%"),
            _ => {
                expanded.push_str("%%");
                continue;
            }
        }
        characters.next();
    }
    expanded
}

/// The environment as a file for `.`, which prints the names of variables that the shell keeps read-only or makes something else of;
/// through `command`, so that such a one does not end it.
fn environment(job: &JobDescription) -> Result<Vec<u8>, SchedulerError> {
    let mut lines = Vec::new();
    for (name, value) in &job.environment {
        if !is_variable_name(name) {
            return Err(SchedulerError::Rejected(format!("invalid name of an environment variable: {name}")));
        }
        if value.contains('\0') {
            return Err(SchedulerError::Rejected(format!("the environment variable {name} holds a NUL byte")));
        }
        let value = text_to_bytes(value);
        let assignment = [name.as_bytes(), b"=", &value].concat();
        lines.extend_from_slice(CommandLine::new("command").flag("export").arg(assignment).as_bytes());
        lines.extend_from_slice(b" && [ \"x$");
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(CommandLine::new("\" =").arg([b"x", value.as_slice()].concat()).flag("] || echo").arg(name).as_bytes());
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
