//! The scheduler's operations, composed of slurmrestd's.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use futures::join;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::alter::{NO_REQUEUE, alter};
use super::calls::{accounted_jobs, point};
use super::endpoint::{Answered, Call, Endpoint};
use super::failure::{accounting_is_off, explain};
use super::submission;
use super::submit::{Tagged, submit};
use super::version::{ApiVersion, Offer};
use super::wire::{AccountedJob, Association, Fault, NodeRecord, PartitionRecord, Ping, QueuedJob, ReservationRecord};
use super::{Settings, UserToken};
use crate::domain::{
    Account, AccountingQuery, InvalidName, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobQuery, JobUsage,
    Node, Partition, Principal, Reported, Reservation,
};
use crate::error::Recurring;
use crate::rest::Client;
use crate::scheduler::slurm::job_ref::JobRef;
use crate::scheduler::slurm::merge::{self, Accounting};
use crate::scheduler::slurm::messages::CONTROLLER_DOWN;
use crate::scheduler::{AttachOutput, Scheduler, SchedulerError, StoredRecords, SubmissionKey, Submitted, UnsupportedOperation};
use crate::ssh::CommandError;

/// The number of concurrent queries for jobs by their ids.
const CONCURRENT_QUERIES: usize = 4;

const NO_METADATA: &str =
    "connection_mode is rest, slurmrestd does not give the script and files of a job, and there is no `ssh` section for Slurm's commands";
const NO_COMMANDS: &str = "connection_mode is rest, slurmrestd does not give the script and files of a job, and the host of the `ssh` section has no Slurm commands";
/// The exit status of a shell that does not find a program.
const NOT_FOUND: u32 = 127;
const NO_RECORD: &str = "connection_mode is rest, and a submission with an Idempotency-Key is recorded by a command on the cluster or in the store, which this site has not: leave the key out, or have the site set the mode hybrid or add the section store";
const NO_TEST: &str = "connection_mode is rest, and slurmrestd does not tell what would become of a job";
const NO_USAGE: &str = "connection_mode is rest, and what jobs have used is read from the output of sacct";
const NO_LIMITS: &str = "connection_mode is rest, and the limits are read from the output of scontrol and sacctmgr";
const NO_SUCH_ID: &str = "connection_mode is rest, and slurmrestd knows neither lists of tasks nor SLUIDs";
const NO_ATTACH: &str = "connection_mode is rest, and slurmrestd does not run commands in a job";
const NO_RESERVATIONS: &str = "version v0.0.36 of slurmrestd's API has no reservations";

/// Slurm through slurmrestd.
///
/// There are two sources of jobs: `/slurm` reads the controller and `/slurmdb` accounting. Both are queried at the same time, and merged
/// as the commands' answers are: see [`merge`].
#[derive(Clone)]
pub struct SlurmRest {
    pub(super) endpoint: Arc<Endpoint>,
    stored: Option<StoredRecords>,
    /// Slurm's commands, for operations that slurmrestd lacks.
    commands: Option<Arc<dyn Scheduler>>,
    accounting_failure: Arc<Recurring>,
}

impl SlurmRest {
    /// Slurm behind the slurmrestd of `settings`, with these tokens. Nothing is sent yet.
    pub fn new(client: Client, settings: Settings, tokens: Arc<dyn UserToken>) -> Self {
        Self {
            endpoint: Arc::new(Endpoint::new(client, settings, tokens)),
            stored: None,
            commands: None,
            accounting_failure: Arc::default(),
        }
    }

    /// The same, with records of submissions in the store.
    #[must_use]
    pub fn storing(mut self, records: Option<StoredRecords>) -> Self {
        self.stored = records;
        self
    }

    /// The same, which reads the script and the files of jobs with Slurm's commands, where they can be run.
    #[must_use]
    pub fn reading_files_with(mut self, commands: Option<Arc<dyn Scheduler>>) -> Self {
        self.commands = commands;
        self
    }

    /// Whether slurmrestd gave no answer a moment ago.
    pub(in super::super) fn is_silent(&self) -> bool {
        self.endpoint.is_silent()
    }

    /// The controller's records that `make` requests.
    async fn records<T: DeserializeOwned>(
        &self,
        principal: &Principal,
        make: impl Fn(ApiVersion) -> Call,
    ) -> Result<Vec<T>, SchedulerError> {
        let answered: Answered<T> = self.endpoint.call(principal, |offer| Ok(make(offer.slurm))).await?;
        let success = answered.success;
        let (records, faults) = answered.answer.into_records();
        // Where only accounting did not help, the controller's records are there and whole.
        let excused = !faults.is_empty() && faults.iter().all(Fault::is_of_accounting);
        match records {
            Some(records) if excused || (success && faults.is_empty()) => Ok(records),
            None if success && faults.is_empty() => Err(SchedulerError::Unanswered("slurmrestd's answer holds no records".to_owned())),
            _ => Err(explain(&faults)),
        }
    }

    /// The controller's jobs.
    async fn queued(&self, principal: &Principal) -> Result<Vec<merge::Queued>, SchedulerError> {
        let jobs: Vec<QueuedJob> = self.records(principal, |version| Call::slurm(version, &["jobs"])).await?;
        jobs_of(jobs).map(numbered)
    }

    /// One job or its parts as the controller has them, each with its number; empty where it knows none. A task that waits has no number yet:
    /// it shares its array's record, which only the array's number finds in every version.
    pub(super) async fn queued_as(&self, principal: &Principal, id: JobRef<'_>) -> Result<Vec<merge::Queued>, SchedulerError> {
        let make = |version: ApiVersion| Call::slurm(version, &["job", asked_as(id, false)]);
        match self.records::<QueuedJob>(principal, make).await {
            Ok(records) => {
                let holds = |record: &QueuedJob| id.task().is_some_and(|task| record.holds_waiting_task(task));
                let (waiting, others): (Vec<_>, Vec<_>) = records.into_iter().partition(holds);
                let others = jobs_of(others)?.into_iter().filter(|(number, job)| is_meant(id, *number, job)).collect();
                let waiting = jobs_of(waiting)?.into_iter().map(|(_, job)| Ok::<merge::Queued, SchedulerError>((None, shown_as(id, job)?)));
                numbered(others).into_iter().map(Ok).chain(waiting).collect()
            }
            Err(SchedulerError::JobNotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Accounting's jobs, of the question that `make` puts; each with its number.
    async fn accounted(
        &self,
        principal: &Principal,
        with_steps: bool,
        make: impl Fn(ApiVersion) -> Call,
    ) -> Result<Result<Vec<(i64, Job)>, Accounting>, SchedulerError> {
        let make = |offer: Offer| offer.slurmdb.map(&make).ok_or(SchedulerError::Unsupported("this slurmrestd has no accounting"));
        let answered: Answered<AccountedJob> = match self.endpoint.call(principal, make).await {
            Ok(answered) => answered,
            Err(SchedulerError::Unsupported(_)) => return Ok(Err(Accounting::Off)),
            Err(error @ (SchedulerError::Down(_) | SchedulerError::Unanswered(_))) => return Ok(Err(Accounting::Unavailable(error))),
            Err(error) => return Err(error),
        };
        let (records, faults) = answered.answer.into_records();
        if !faults.is_empty() {
            return match explain(&faults) {
                SchedulerError::JobNotFound => Ok(Ok(Vec::new())),
                error if accounting_is_off(&error) => Ok(Err(Accounting::Off)),
                error => Ok(Err(Accounting::Unavailable(error))),
            };
        }
        let records = records.ok_or_else(|| SchedulerError::Unanswered("slurmrestd's answer holds no jobs".to_owned()))?;
        let job = |record: AccountedJob| {
            let number = record.number();
            record.into_job(with_steps).map(|job| (number, job)).map_err(|error| not_a_job(&error))
        };
        records.into_iter().map(job).collect::<Result<_, _>>().map(Ok)
    }

    /// Accounting's jobs of a span of time, of one user or of all.
    async fn accounted_of(
        &self,
        principal: &Principal,
        since: &str,
        until: &str,
        user: Option<&str>,
    ) -> Result<Accounting, SchedulerError> {
        let make = |version: ApiVersion| accounted_jobs(version, since, until, user);
        let accounting = match self.accounted(principal, false, make).await? {
            Ok(jobs) => Accounting::Jobs(jobs.into_iter().map(|(_, job)| job).collect()),
            Err(accounting) => accounting,
        };
        Ok(accounting.noted(&self.accounting_failure))
    }

    /// One job or its parts as accounting has them.
    pub(super) async fn accounted_as(&self, principal: &Principal, id: JobRef<'_>) -> Result<Accounting, SchedulerError> {
        let make = |version: ApiVersion| Call::slurmdb(version, &["job", asked_as(id, version.accounts_for_tasks())]);
        let accounting = match self.accounted(principal, true, make).await? {
            Ok(jobs) => Accounting::Jobs(jobs.into_iter().filter(|(number, job)| is_meant(id, *number, job)).map(|(_, job)| job).collect()),
            Err(accounting) => accounting,
        };
        Ok(accounting.noted(&self.accounting_failure))
    }
}

fn job_ref(id: &JobId) -> Result<JobRef<'_>, SchedulerError> {
    let id = JobRef::new(id).ok_or(SchedulerError::JobNotFound)?;
    if id.is_for_commands() { Err(SchedulerError::Unsupported(NO_SUCH_ID)) } else { Ok(id) }
}

/// The id in a path: the whole, where tasks are known, or the number of the array or of the first component.
pub(super) fn asked_as(id: JobRef<'_>, knows_tasks: bool) -> &str {
    let text = id.as_str();
    match text.find(['_', '+']) {
        Some(at) if !(knows_tasks && text[at..].starts_with('_')) => &text[..at],
        _ => text,
    }
}

/// Whether a record answers to a question for this job: by the id it is shown under, or by its own number.
fn is_meant(id: JobRef<'_>, number: i64, job: &Job) -> bool {
    id.covers(&job.id) || id.as_str().parse() == Ok(number)
}

/// Whether a job that was queried by its id is in the time span.
fn is_within(job: &Job, query: &AccountingQuery) -> bool {
    let ended_before = |since: i64| job.times.end.is_some_and(|end| end < since);
    let began_after = |until: i64| job.times.start.is_some_and(|start| start >= until);
    !query.since.is_some_and(ended_before) && !query.until.is_some_and(began_after)
}

/// A task of the record that the waiting tasks of its array share.
fn shown_as(id: JobRef<'_>, job: Job) -> Result<Job, SchedulerError> {
    Ok(Job { id: JobId::new(id.as_str()).map_err(|error| not_a_job(&error))?, ..job })
}

fn jobs_of(records: Vec<QueuedJob>) -> Result<Vec<(i64, Job)>, SchedulerError> {
    let now = jiff::Timestamp::now().as_second();
    let job = |record: QueuedJob| {
        let number = record.number();
        record.into_job(now).map(|job| (number, job)).map_err(|error| not_a_job(&error))
    };
    records.into_iter().map(job).collect()
}

fn numbered(jobs: Vec<(i64, Job)>) -> Vec<merge::Queued> {
    jobs.into_iter().map(|(number, job)| (u64::try_from(number).ok(), job)).collect()
}

fn not_a_job(error: &InvalidName) -> SchedulerError {
    SchedulerError::Unanswered(format!("slurmrestd's answer holds a job without an id: {error}"))
}

#[async_trait]
impl Scheduler for SlurmRest {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        submit(&self.endpoint, principal, job, None).await.map(Reported::from)
    }

    async fn settle(&self) {
        if let Some(records) = &self.stored {
            records.settle().await;
        }
    }

    /// With the record in the store: slurmrestd runs no command that could keep one on the cluster.
    async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError> {
        let records = self.stored.as_ref().ok_or(SchedulerError::Unsupported(NO_RECORD))?;
        let tagged = Tagged { endpoint: Arc::clone(&self.endpoint), principal: principal.clone(), job: job.clone(), key: key.clone() };
        records.submit(key, Arc::new(tagged), None).await.map(Reported::from)
    }

    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        // The cluster counts the hours back, so that its clock need not be ours.
        let since = format!("now-{}hours", query.window.hours());
        let user = (!query.all_users).then(|| principal.username.as_str());
        let (queued, accounted) = join!(self.queued(principal), self.accounted_of(principal, &since, "now", user));
        let mut jobs = merge::list(queued?, accounted?, query);
        // The oldest version does not name the controller's users: a job that accounting does not name either has no known owner.
        jobs.value.retain(|job| query.all_users || job.user.as_deref() == Some(principal.username.as_str()));
        Ok(jobs)
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let id = job_ref(id)?;
        let (queued, accounted) = join!(self.queued_as(principal, id), self.accounted_as(principal, id));
        merge::single(id, queued, accounted?)
    }

    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        if query.jobs.is_empty() {
            let user = (!query.all_users).then(|| principal.username.as_str());
            let until = query.until.map_or_else(|| "now".to_owned(), point);
            let accounting = self.accounted_of(principal, &point(query.since.unwrap_or(0)), &until, user).await?;
            return merge::accounts(accounting, principal, query).map(Reported::from);
        }
        let mut jobs = Vec::new();
        let ids = query.jobs.iter().map(job_ref).collect::<Result<Vec<_>, _>>()?;
        for ids in ids.chunks(CONCURRENT_QUERIES) {
            let mut asked = Vec::with_capacity(ids.len());
            for &id in ids {
                asked.push(self.accounted_as(principal, id));
            }
            for accounting in try_join_all(asked).await? {
                jobs.extend(merge::accounts(accounting, principal, query)?);
            }
        }
        jobs.retain(|job| is_within(job, query));
        jobs.iter_mut().for_each(|job| job.steps = None);
        Ok(jobs.into())
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        let commands = self.commands.as_ref().ok_or(SchedulerError::Unsupported(NO_METADATA))?;
        commands.metadata(principal, id).await.map_err(|error| match error {
            SchedulerError::Command { source: CommandError::Exit { exit: NOT_FOUND, .. }, .. } => SchedulerError::Unsupported(NO_COMMANDS),
            error => error,
        })
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        self.cancel_job(principal, job_ref(id)?).await.map(Reported::from)
    }

    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        alter(&self.endpoint, principal, id, change).await.map(Reported::from)
    }

    async fn validate(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_TEST))
    }

    async fn usage(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_USAGE))
    }

    async fn limits(&self, _: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_LIMITS))
    }

    async fn attach(&self, _: &Principal, _: &JobId, _: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_ATTACH))
    }

    async fn nodes(&self, principal: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        let nodes: Vec<NodeRecord> = self.records(principal, |version| Call::slurm(version, &["nodes"])).await?;
        Ok(nodes.into_iter().map(Node::from).collect::<Vec<_>>().into())
    }

    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        let make = |version: ApiVersion| {
            let call = Call::slurm(version, &["partitions"]);
            if hidden && version.hides_partitions() { call.with("flags", "ALL") } else { call }
        };
        let partitions: Vec<PartitionRecord> = self.records(principal, make).await?;
        let shown = partitions.into_iter().filter(|partition| hidden || !partition.is_hidden());
        Ok(shown.map(Partition::from).collect::<Vec<_>>().into())
    }

    async fn reservations(&self, principal: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        if !self.endpoint.offer(principal).await?.slurm.has_reservations() {
            return Err(SchedulerError::Unsupported(NO_RESERVATIONS));
        }
        let reservations: Vec<ReservationRecord> = self.records(principal, |version| Call::slurm(version, &["reservations"])).await?;
        let now = jiff::Timestamp::now().as_second();
        Ok(reservations.into_iter().map(|reservation| reservation.into_reservation(now)).collect::<Vec<_>>().into())
    }

    async fn accounts(&self, principal: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        if self.endpoint.offer(principal).await?.slurmdb.is_none() {
            return Ok(None.into());
        }
        let user = principal.username.as_str();
        let make = |offer: Offer| {
            let version = offer.slurmdb.unwrap_or(offer.slurm);
            Ok(Call::slurmdb(version, &["associations"]).with("user", user))
        };
        let Answered { success, answer, .. } = self.endpoint.call::<Association>(principal, make).await?;
        let cluster = answer.cluster().map(str::to_owned);
        let (associations, faults) = answer.into_records();
        if !faults.is_empty() {
            let error = explain(&faults);
            return if accounting_is_off(&error) { Ok(None.into()) } else { Err(error) };
        }
        let Some(associations) = associations.filter(|_| success) else {
            return Err(SchedulerError::Unanswered("slurmrestd's answer holds no associations".to_owned()));
        };
        // The first versions give those of all users. Several clusters may share a database.
        let is_own = |association: &Association| {
            association.user.0.as_deref() == Some(user)
                && cluster.as_ref().is_none_or(|cluster| association.cluster.0.as_ref() == Some(cluster))
        };
        let mut accounts: BTreeMap<String, bool> = BTreeMap::new();
        for association in associations.into_iter().filter(is_own) {
            let default = association.is_default();
            if let Some(name) = association.account.given() {
                *accounts.entry(name).or_default() |= default;
            }
        }
        let accounts = accounts.into_iter().map(|(name, default)| Account { name, default }).collect();
        Ok(Some(accounts).into())
    }

    fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        let all = const {
            &[
                (UnsupportedOperation::Metadata, NO_METADATA),
                (UnsupportedOperation::ScriptPath, submission::SCRIPT_PATH),
                (UnsupportedOperation::Attach, NO_ATTACH),
                (UnsupportedOperation::Requeue, NO_REQUEUE),
                (UnsupportedOperation::Validate, NO_TEST),
                (UnsupportedOperation::Usage, NO_USAGE),
                (UnsupportedOperation::Limits, NO_LIMITS),
            ]
        };
        // The first is done by the commands.
        &all[usize::from(self.commands.is_some())..]
    }

    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        let pings: Vec<Ping> = self.records(principal, |version| Call::slurm(version, &["ping"])).await?;
        if pings.iter().any(Ping::is_up) {
            return Ok(());
        }
        // Slurm 26.05 calls a controller down that refuses the token. A question says which it is.
        match self.records::<IgnoredAny>(principal, |version| Call::slurm(version, &["partitions"])).await {
            Err(refused @ SchedulerError::Denied(_)) => Err(refused),
            _ => Err(SchedulerError::Down(CONTROLLER_DOWN.to_owned())),
        }
    }
}
