//! The scheduler's operations, composed of PBS's commands.

use std::sync::Arc;

use async_trait::async_trait;
use futures::join;
use tokio::sync::OnceCell;

use super::config::Config;
use super::dialect::{Dialect, Version};
use super::failure::{explain, explain_refusal, history_is_off};
use super::job::{Found, job, metadata};
use super::job_ref::{JobRef, sort_key};
use super::pbs_rstat::Reservations;
use super::pbsnodes::Nodes;
use super::qdel::Qdel;
use super::qselect::{Qselect, Since};
use super::qstat::{Jobs, Qstat, Subjobs};
use super::qsub::Qsub;
use super::queues::Queues;
use super::records::Record;
use super::server::Ping;
use crate::domain::{Account, AccountingQuery, Job, JobDescription, JobId, JobMetadata, JobQuery, Node, Partition, Principal, Reservation};
use crate::scheduler::{AttachOutput, Scheduler, SchedulerError, UnsupportedOperation};
use crate::ssh::{CommandError, Transport, TransportError, run};

const NO_ATTACH: &str = "PBS starts nothing beside a running job";
const NO_ACCOUNTING: &str = "PBS keeps no accounting of jobs that callers may read";

/// PBS through its commands, run on a login node as the caller.
///
/// Jobs are selected first and described then, so that only those of the caller come over the line; older releases and Torque
/// describe a list of ids one connection at a time, so there all jobs are described. What ended is found for as long as the server keeps it (`job_history_duration`); where it keeps nothing, such a job is not found.
pub struct Pbs {
    transport: Arc<dyn Transport>,
    config: Config,
    dialect: OnceCell<Dialect>,
}

impl Pbs {
    /// PBS on the cluster that `transport` reaches.
    pub fn new(transport: Arc<dyn Transport>, config: Config) -> Self {
        Self { transport, config, dialect: OnceCell::new() }
    }

    /// Which member of the family it is. That does not change while a cluster lives, so it is asked for once.
    async fn dialect(&self, principal: &Principal) -> Result<Dialect, SchedulerError> {
        let ask = || async { run(&*self.transport, principal, &Version).await.map_err(explain("read the version of PBS")) };
        self.dialect.get_or_try_init(ask).await.copied()
    }

    /// The records of jobs; with those that ended, where the server keeps them.
    async fn describe(&self, principal: &Principal, dialect: Dialect, jobs: Jobs<'_>) -> Result<Vec<Record>, CommandError> {
        match run(&*self.transport, principal, &Qstat { dialect, jobs, history: true }).await {
            Err(error) if history_is_off(&error) => run(&*self.transport, principal, &Qstat { dialect, jobs, history: false }).await,
            other => other,
        }
    }

    /// The records that answer to an id: of an array, its summary and then its subjobs.
    async fn records(&self, principal: &Principal, id: &JobId) -> Result<Vec<Record>, SchedulerError> {
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
        let records = records.map_err(explain("read the job"))?;
        if records.is_empty() { Err(SchedulerError::JobNotFound) } else { Ok(records) }
    }

    /// The records of the jobs that the query may mean. Others may be among them.
    async fn candidates(&self, principal: &Principal, query: &JobQuery) -> Result<Vec<Record>, SchedulerError> {
        let explained = || explain("list the jobs");
        let dialect = self.dialect(principal).await?;
        if dialect != (Dialect::Pbs { unwrapped: true }) {
            return self.describe(principal, dialect, Jobs::All).await.map_err(explained());
        }
        let user = (!query.all_users).then(|| principal.username.as_str());
        let active = Qselect { user, history: None };
        let ended = Qselect { user, history: Some(Since::window(query.window)) };
        let (active, ended) = join!(run(&*self.transport, principal, &active), run(&*self.transport, principal, &ended));
        let mut ids = active.map_err(explained())?;
        match ended {
            Ok(ended) => ids.extend(ended),
            Err(error) if history_is_off(&error) => {}
            Err(error) => return Err(explained()(error)),
        }
        // A job that ended in between is in both.
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.describe(principal, dialect, Jobs::Listed(&ids)).await.map_err(explained())
    }

    fn read(&self, record: &Record) -> Result<Found, SchedulerError> {
        job(record, self.config.job_states).map_err(explain("read the job"))
    }
}

fn job_ref(id: &JobId) -> Result<JobRef<'_>, SchedulerError> {
    JobRef::new(id).ok_or(SchedulerError::JobNotFound)
}

#[async_trait]
impl Scheduler for Pbs {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<JobId, SchedulerError> {
        let dialect = self.dialect(principal).await?;
        let qsub = Qsub::new(job, dialect, self.config.account)?;
        run(&*self.transport, principal, &qsub).await.map_err(|error| match error {
            // qsub succeeded: the job is there, and only its id was not understood.
            CommandError::Output { reason, .. } => SchedulerError::Unanswered(reason),
            error => explain_refusal("submit the job")(error),
        })
    }

    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Vec<Job>, SchedulerError> {
        let records = self.candidates(principal, query).await?;
        let found: Vec<Found> = records.iter().map(|record| self.read(record)).collect::<Result<_, _>>()?;
        let since = jiff::Timestamp::now().as_second() - i64::from(query.window.hours()) * 3600;
        let user = (!query.all_users).then_some(principal.username.as_str());
        let asked_for = |found: &Found| {
            let job = &found.job;
            user.is_none_or(|user| job.user.as_deref() == Some(user))
                && query.name.as_ref().is_none_or(|name| *name == job.name)
                && query.account.as_ref().is_none_or(|account| found.accounts.contains(&Some(account.clone())))
                && (!found.finished || job.times.end.is_none_or(|end| end >= since))
        };
        let mut jobs: Vec<Job> = found.into_iter().filter(asked_for).map(|found| found.job).collect();
        jobs.sort_by_key(|job| sort_key(&job.id));
        Ok(jobs)
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Vec<Job>, SchedulerError> {
        let records = self.records(principal, id).await?;
        records.iter().map(|record| self.read(record).map(|found| found.job)).collect()
    }

    async fn accounting(&self, _: &Principal, _: &AccountingQuery) -> Result<Vec<Job>, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_ACCOUNTING))
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Vec<JobMetadata>, SchedulerError> {
        let records = self.records(principal, id).await?;
        records.iter().map(|record| metadata(record).map_err(explain("read the job's metadata"))).collect()
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<(), SchedulerError> {
        run(&*self.transport, principal, &Qdel(job_ref(id)?)).await.map_err(explain("cancel the job"))
    }

    async fn attach(&self, _: &Principal, _: &JobId, _: &str) -> Result<AttachOutput, SchedulerError> {
        Err(SchedulerError::Unsupported(NO_ATTACH))
    }

    async fn nodes(&self, principal: &Principal) -> Result<Vec<Node>, SchedulerError> {
        run(&*self.transport, principal, &Nodes).await.map_err(explain("list the nodes"))
    }

    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Vec<Partition>, SchedulerError> {
        run(&*self.transport, principal, &Queues { hidden }).await.map_err(explain("list the queues"))
    }

    async fn reservations(&self, principal: &Principal) -> Result<Vec<Reservation>, SchedulerError> {
        if self.dialect(principal).await? == Dialect::Torque {
            return Ok(Vec::new());
        }
        run(&*self.transport, principal, &Reservations).await.map_err(explain("list the reservations"))
    }

    async fn accounts(&self, _: &Principal) -> Result<Option<Vec<Account>>, SchedulerError> {
        // Neither projects nor account names are declared anywhere in PBS.
        Ok(None)
    }

    fn unsupported(&self) -> &'static [(UnsupportedOperation, &'static str)] {
        const { &[(UnsupportedOperation::Accounting, NO_ACCOUNTING), (UnsupportedOperation::Attach, NO_ATTACH)] }
    }

    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        run(&*self.transport, principal, &Ping).await.map_err(explain("ping the scheduler"))
    }
}
