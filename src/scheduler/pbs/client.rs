//! The scheduler's operations, composed of PBS's commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::alter::Alter;
use super::budget::Budget;
use super::config::Config;
use super::dialect::{Dialect, Version};
use super::failure::{BUDGET_USED_UP, explain, explain_refusal, history_is_off};
use super::job::{Found, job, metadata};
use super::job_ref::{JobRef, is_same_host, number_of, sequence_of, sort_key};
use super::pbs_rstat::Reservations;
use super::pbsnodes::Nodes;
use super::qdel::{Deleted, Qdel};
use super::qselect::{Qselect, Since};
use super::qstat::{Jobs, Qstat, Subjobs};
use super::qstat_plain::Sequences;
use super::qsub::{Qsub, TAG, recorded_id};
use super::queues::{QueueLimits, Queues};
use super::records::PbsRecord;
use super::server::ServerName;
use crate::domain::{
    Account, AccountingQuery, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobQuery, JobUsage, Node,
    Partition, Principal, Reported, Reservation,
};
use crate::scheduler::submission_record::{self, Adopt, Attempt, InStore, NextAttempt, RecordedSubmission, TaggedSubmission, Trace};
use crate::scheduler::{
    AttachOutput, RecordSettings, Scheduler, SchedulerError, StoredRecords, SubmissionKey, Submitted, UnsupportedOperation, cancel_ended,
};
use crate::ssh::{CommandError, RemoteCommand, Transport, TransportError};

const NO_RECORD_ELSEWHERE: &str = "the job of a submission with an Idempotency-Key cannot be looked for on another server: leave out the key, or `@` with what follows it in `partition`";
const NO_HISTORY: &str = "the server keeps no jobs that have ended (job_history_enable)";
const NO_ATTACH: &str = "PBS starts nothing beside a running job";
const NO_TEST: &str = "PBS does not tell what would become of a job before it is submitted";
const NO_ACCOUNTING: &str = "PBS keeps no accounting of jobs that callers may read";

/// The maximum number of jobs that are described one by one because their records in the list are ambiguous.
const MAX_AMBIGUOUS: usize = 32;

/// PBS through its commands, run on a login node as the caller.
///
/// The jobs of the caller are read with one command. Those of all users, and those of a caller who has too many for one answer, are
/// selected first and described then; older releases and Torque can neither select nor describe several at once, so there all jobs
/// are described. Ended jobs are found for as long as the server keeps them (`job_history_duration`); if it keeps none, such a job
/// is not found.
#[derive(Clone)]
pub struct Pbs {
    transport: Arc<dyn Transport>,
    config: Config,
    budget: Arc<Budget>,
    dialect: Arc<OnceCell<Dialect>>,
    server: Arc<OnceCell<String>>,
    records: RecordSettings,
    stored: Option<StoredRecords>,
}

/// A submission with a key, without a record on the cluster. The job has the tag among its variables.
struct Tagged {
    pbs: Pbs,
    principal: Principal,
    job: JobDescription,
    key: SubmissionKey,
}

/// A submission with a record. The job has the tag among its variables.
struct Recorded<'a> {
    pbs: &'a Pbs,
    principal: &'a Principal,
    job: &'a JobDescription,
    key: &'a SubmissionKey,
}

impl Pbs {
    /// PBS on the cluster that `transport` reaches.
    pub fn new(transport: Arc<dyn Transport>, config: Config) -> Self {
        let budget = Arc::new(Budget::new(config.commands_per_minute));
        Self {
            transport,
            config,
            budget,
            dialect: Arc::default(),
            server: Arc::default(),
            records: RecordSettings::default(),
            stored: None,
        }
    }

    /// The same, with records of submissions that are kept as `records` say.
    #[must_use]
    pub fn recording(mut self, records: RecordSettings) -> Self {
        self.records = records;
        self
    }

    /// The same, with records in the store for submissions that cannot have one on the cluster.
    #[must_use]
    pub fn storing(mut self, records: Option<StoredRecords>) -> Self {
        self.stored = records;
        self
    }

    async fn run<C: RemoteCommand>(&self, principal: &Principal, command: &C) -> Result<C::Output, CommandError> {
        if !self.budget.take().await {
            return Err(CommandError::Exit { exit: 0, stderr: BUDGET_USED_UP.to_owned() });
        }
        crate::ssh::run(&*self.transport, principal, command).await
    }

    /// The member of the PBS family. It does not change during the life of a cluster, so it is queried once.
    async fn dialect(&self, principal: &Principal) -> Result<Dialect, SchedulerError> {
        let ask = || async { self.run(principal, &Version).await.map_err(explain("read the version of PBS")) };
        self.dialect.get_or_try_init(ask).await.copied()
    }

    /// Whether a named server is another one than the default server.
    async fn is_elsewhere(&self, principal: &Principal, server: &str) -> Result<bool, SchedulerError> {
        let ask = || async { self.run(principal, &ServerName).await.map_err(explain("read the name of the server")) };
        let own = self.server.get_or_try_init(ask).await?;
        Ok(!is_same_host(server, own))
    }

    /// The records of jobs; including ended ones, if the server keeps them.
    async fn describe(&self, principal: &Principal, dialect: Dialect, jobs: Jobs<'_>) -> Result<Vec<PbsRecord>, CommandError> {
        match self.run(principal, &Qstat { dialect, jobs, history: true }).await {
            Err(error) if history_is_off(&error) => self.run(principal, &Qstat { dialect, jobs, history: false }).await,
            other => other,
        }
    }

    /// The records that answer to an id: of an array, its summary and then its subjobs.
    async fn records(&self, principal: &Principal, id: &JobId) -> Result<Vec<PbsRecord>, SchedulerError> {
        let id = job_ref(id)?;
        let dialect = self.dialect(principal).await?;
        let described = self.describe(principal, dialect, Jobs::One(id, Subjobs::Described)).await;
        let records = match described {
            // An array may have thousands. Its summary counts them.
            Err(CommandError::Transport(TransportError::Output(_))) if id.is_array() => {
                self.describe(principal, dialect, Jobs::One(id, Subjobs::Counted)).await
            }
            other => other,
        };
        let records = answering(records.map_err(explain("read the job"))?, id);
        if records.is_empty() { Err(SchedulerError::JobNotFound) } else { Ok(records) }
    }

    /// The records of the jobs that have not ended or ended since then, of all users or the caller. Others may be among them.
    async fn candidates(&self, principal: &Principal, all_users: bool, since: Since) -> Result<Vec<PbsRecord>, SchedulerError> {
        let dialect = self.dialect(principal).await?;
        if dialect != (Dialect::Pbs { unwrapped: true }) {
            return self.all(principal, dialect).await;
        }
        if !all_users {
            match self.describe(principal, dialect, Jobs::Of(principal.username.as_str())).await {
                // The whole history of a user with thousands of jobs.
                Err(CommandError::Transport(TransportError::Output(_))) => {}
                other => return other.map_err(explain("list the jobs")),
            }
        }
        self.selected(principal, dialect, all_users, since).await
    }

    /// The unfinished jobs and those that ended since then, one query after the other: a job that ends in between is in both.
    async fn selected(
        &self,
        principal: &Principal,
        dialect: Dialect,
        all_users: bool,
        since: Since,
    ) -> Result<Vec<PbsRecord>, SchedulerError> {
        let explained = || explain("list the jobs");
        let user = (!all_users).then(|| principal.username.as_str());
        let mut ids = self.run(principal, &Qselect { user, history: None }).await.map_err(explained())?;
        match self.run(principal, &Qselect { user, history: Some(since) }).await {
            Ok(ended) => ids.extend(ended),
            Err(error) if history_is_off(&error) => {}
            Err(error) => return Err(explained()(error)),
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.describe(principal, dialect, Jobs::Listed(&ids)).await.map_err(explained())
    }

    /// All jobs, for releases that print a line feed in a variable of a job unescaped, so that any user can forge the record
    /// of another job. Only jobs of the plain table are accepted, and one that appears twice is described by itself.
    async fn all(&self, principal: &Principal, dialect: Dialect) -> Result<Vec<PbsRecord>, SchedulerError> {
        let explained = || explain("list the jobs");
        let records = self.describe(principal, dialect, Jobs::All).await.map_err(explained())?;
        let known = match self.run(principal, &Sequences { dialect, history: true }).await {
            Err(error) if history_is_off(&error) => self.run(principal, &Sequences { dialect, history: false }).await,
            other => other,
        };
        let known = known.map_err(explained())?;
        let mut found: BTreeMap<String, Vec<PbsRecord>> = BTreeMap::new();
        for record in records.into_iter().filter(|record| known.contains(sequence_of(&record.name))) {
            found.entry(record.name.clone()).or_default().push(record);
        }
        let (certain, doubtful): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, records)| records.len() == 1);
        let mut records: Vec<PbsRecord> = certain.into_iter().flat_map(|(_, records)| records).collect();
        if doubtful.len() > MAX_AMBIGUOUS {
            return Err(SchedulerError::Unanswered(format!("{} jobs are described twice", doubtful.len())));
        }
        for (name, _) in doubtful {
            let id = JobId::new(&name).map_err(|_| SchedulerError::JobNotFound)?;
            let one = self.describe(principal, dialect, Jobs::One(job_ref(&id)?, Subjobs::Counted)).await.map_err(explained())?;
            records.extend(answering(one, job_ref(&id)?));
        }
        Ok(records)
    }

    /// Looks for the caller's job with the tag among those that have not ended or ended since `began` (Unix seconds).
    async fn find_tagged(&self, principal: &Principal, key: &SubmissionKey, began: i64) -> Result<Trace, SchedulerError> {
        // The clocks of the hosts may differ a little.
        let records = self.candidates(principal, false, Since(began - 600)).await?;
        let found = records.iter().find(|record| record.variable(TAG).as_deref() == Some(key.name()));
        let is_own = |found: &Found| found.job.user.as_deref() == Some(principal.username.as_str());
        if let Some(found) = found.map(|record| self.read(record)).transpose()?.filter(is_own) {
            return Ok(Trace::Job(found.job.id));
        }
        let history = Qselect { user: Some(principal.username.as_str()), history: Some(Since(jiff::Timestamp::now().as_second())) };
        match self.run(principal, &history).await {
            Ok(_) => Ok(Trace::Nowhere),
            Err(error) if history_is_off(&error) => Ok(Trace::Unsure(NO_HISTORY.to_owned())),
            Err(error) => Err(explain("look for the job")(error)),
        }
    }

    fn read(&self, record: &PbsRecord) -> Result<Found, SchedulerError> {
        job(record, self.config).map_err(explain("read the job"))
    }
}

/// The records that can belong to a job: those with its number, each once; one, unless it is an array. Other records were
/// created by a line feed in a variable of the job.
fn answering(records: Vec<PbsRecord>, id: JobRef<'_>) -> Vec<PbsRecord> {
    let mut seen = BTreeSet::new();
    let mut records: Vec<PbsRecord> =
        records.into_iter().filter(|record| number_of(&record.name) == id.number() && seen.insert(record.name.clone())).collect();
    if !id.is_array() {
        records.truncate(1);
    }
    records
}

fn refused(error: CommandError) -> SchedulerError {
    if let Some(signal) = error.signal() {
        return SchedulerError::Unanswered(format!("qsub was ended by signal {signal}"));
    }
    match error {
        // qsub succeeded: the job is there, and only its id was not understood.
        CommandError::Output { reason, .. } => SchedulerError::Unanswered(reason),
        error => explain_refusal("submit the job")(error),
    }
}

#[async_trait]
impl TaggedSubmission for Tagged {
    async fn send(&self) -> Result<JobId, SchedulerError> {
        let dialect = self.pbs.dialect(&self.principal).await?;
        let qsub = Qsub::new(&self.job, dialect, self.pbs.config.account, false)?;
        self.pbs.run(&self.principal, &qsub).await.map_err(refused)
    }

    async fn find(&self, began: i64) -> Result<Trace, SchedulerError> {
        self.pbs.find_tagged(&self.principal, &self.key, began).await
    }
}

#[async_trait]
impl RecordedSubmission for Recorded<'_> {
    async fn attempt(&self, after: u32) -> Result<Attempt, SchedulerError> {
        let dialect = self.pbs.dialect(self.principal).await?;
        let next = NextAttempt { key: self.key, after, settings: self.pbs.records };
        let qsub = Qsub::new(self.job, dialect, self.pbs.config.account, false)?.recorded(next);
        self.pbs.run(self.principal, &qsub).await.map_err(refused)
    }

    fn printed(&self, text: &str) -> Option<JobId> {
        recorded_id(text)
    }

    async fn find(&self, began: i64) -> Result<Trace, SchedulerError> {
        self.pbs.find_tagged(self.principal, self.key, began).await
    }

    async fn adopt(&self, id: &JobId) -> Result<(), SchedulerError> {
        self.pbs.run(self.principal, &Adopt { key: self.key, id }).await.map_err(explain("record the job"))
    }
}

fn job_ref(id: &JobId) -> Result<JobRef<'_>, SchedulerError> {
    JobRef::new(id).ok_or(SchedulerError::JobNotFound)
}

#[async_trait]
impl Scheduler for Pbs {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        let dialect = self.dialect(principal).await?;
        let server = job.partition.as_deref().and_then(|queue| queue.split_once('@')).map(|(_, server)| server);
        let elsewhere = match server {
            Some(server) => self.is_elsewhere(principal, server).await?,
            None => false,
        };
        let qsub = Qsub::new(job, dialect, self.config.account, elsewhere)?;
        self.run(principal, &qsub).await.map(Reported::from).map_err(refused)
    }

    async fn settle(&self) {
        if let Some(records) = &self.stored {
            records.settle().await;
        }
    }

    async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError> {
        if job.partition.as_deref().is_some_and(|queue| queue.contains('@')) {
            return Err(SchedulerError::Rejected(NO_RECORD_ELSEWHERE.to_owned()));
        }
        let mut job = job.clone();
        job.environment.insert(TAG.to_owned(), key.name().to_owned());
        let tagged = || -> Arc<dyn TaggedSubmission> {
            Arc::new(Tagged { pbs: self.clone(), principal: principal.clone(), job: job.clone(), key: key.clone() })
        };
        let fallback = self.stored.as_ref().map(|records| InStore { records, key, submission: &tagged });
        submission_record::submit_once(&Recorded { pbs: self, principal, job: &job, key }, fallback).await.map(Reported::from)
    }

    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let records = self.candidates(principal, query.all_users, Since::window(query.window)).await?;
        let found: Vec<Found> = records.iter().map(|record| self.read(record)).collect::<Result<_, _>>()?;
        let since = jiff::Timestamp::now().as_second() - i64::from(query.window.hours()) * 3600;
        let user = (!query.all_users).then_some(principal.username.as_str());
        let asked_for = |found: &Found| {
            let job = &found.job;
            user.is_none_or(|user| job.user.as_deref() == Some(user))
                && query.name.as_ref().is_none_or(|name| *name == job.name)
                && query.account.as_ref().is_none_or(|account| job.account.as_ref() == Some(account))
                && (!found.finished || job.times.end.is_none_or(|end| end >= since))
        };
        let mut jobs: Vec<Job> = found.into_iter().filter(asked_for).map(|found| found.job).collect();
        jobs.sort_by_key(|job| sort_key(&job.id));
        Ok(jobs.into())
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let records = self.records(principal, id).await?;
        let mut jobs: Vec<Job> = records.iter().map(|record| self.read(record).map(|found| found.job)).collect::<Result<_, _>>()?;
        if let Some(server) = job_ref(id)?.server()
            && self.is_elsewhere(principal, server).await?
        {
            // Without the server its number means another job here.
            for (job, record) in jobs.iter_mut().zip(&records) {
                job.id = JobId::new(&record.name).map_err(|_| SchedulerError::JobNotFound)?;
            }
        }
        Ok(jobs.into())
    }

    async fn accounting(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_ACCOUNTING))
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        let records = self.records(principal, id).await?;
        let read = |record| metadata(record).map_err(explain("read the job's metadata"));
        records.iter().map(read).collect::<Result<Vec<_>, _>>().map(Reported::from)
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        let job = job_ref(id)?;
        let deleted = self.run(principal, &Qdel(job)).await.map_err(explain_refusal("cancel the job"))?;
        if deleted == Deleted::Now {
            return Ok(().into());
        }
        let jobs = self.job(principal, id).await?;
        cancel_ended(&jobs, principal).map(Reported::from)
    }

    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        let alter = Alter { job: job_ref(id)?, change };
        self.run(principal, &alter).await.map(Reported::from).map_err(explain_refusal("change the job"))
    }

    async fn validate(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_TEST))
    }

    async fn usage(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_ACCOUNTING))
    }

    async fn limits(&self, principal: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        let partitions = self.run(principal, &QueueLimits).await.map_err(explain("read the limits"))?;
        Ok(JobLimits { partitions, qos: None, associations: None }.into())
    }

    async fn attach(&self, _: &Principal, _: &JobId, _: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_ATTACH))
    }

    async fn nodes(&self, principal: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        self.run(principal, &Nodes).await.map(Reported::from).map_err(explain("list the nodes"))
    }

    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        self.run(principal, &Queues { hidden }).await.map(Reported::from).map_err(explain("list the queues"))
    }

    async fn reservations(&self, principal: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        if self.dialect(principal).await? == Dialect::Torque {
            return Ok(Vec::new().into());
        }
        self.run(principal, &Reservations).await.map(Reported::from).map_err(explain("list the reservations"))
    }

    async fn accounts(&self, _: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        // Neither projects nor account names are declared anywhere in PBS.
        Ok(None.into())
    }

    fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        const {
            &[
                (UnsupportedOperation::Accounting, NO_ACCOUNTING),
                (UnsupportedOperation::Attach, NO_ATTACH),
                (UnsupportedOperation::Validate, NO_TEST),
                (UnsupportedOperation::Usage, NO_ACCOUNTING),
            ]
        }
    }

    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        self.run(principal, &ServerName).await.map(drop).map_err(explain("ping the scheduler"))
    }
}
