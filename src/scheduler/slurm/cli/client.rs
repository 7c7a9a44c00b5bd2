//! The scheduler's operations, composed of Slurm's commands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::join;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::alter::{Alter, Kill};
use super::controller::Controller;
use super::delimiter::Delimiter;
use super::ended::EndedJobs;
use super::failure::{accounting_is_off, explain, explain_refusal, is_not_known_here};
use super::file_names::{NamedFiles, are_suspect, settle};
use super::limits::{ShowAssociations, ShowPartitions, ShowQos, Sshare};
use super::sacct::{Runs, Sacct, Span};
use super::sacct_metadata::{AccountedFiles, AccountedScript};
use super::sacctmgr::Accounts;
use super::sbatch::Sbatch;
use super::sbatch_test::TestOnly;
use super::scancel::{Cancelled, Scancel};
use super::scontrol::{ClusterConfig, Ping, Reservations, ShowConfig};
use super::scontrol_job::{JobFiles, JobScriptText};
use super::sinfo_nodes::Nodes;
use super::sinfo_partitions::Partitions;
use super::squeue::{Queued, Selection, Squeue};
use super::srun::Srun;
use super::submission::{self, WithKey};
use super::usage::SacctUsage;
use crate::domain::{
    Account, AccountingQuery, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobQuery, JobUsage, Node,
    Partition, Principal, Reported, Reservation,
};
use crate::error::Recurring;
use crate::scheduler::slurm::job_ref::JobRef;
use crate::scheduler::slurm::merge::{self, Accounting};
use crate::scheduler::{AttachOutput, RecordSettings, Scheduler, SchedulerError, StoredRecords, SubmissionKey, Submitted, cancel_ended};
use crate::ssh::{CommandError, RemoteCommand, Transport, TransportError, run};

const READ_METADATA: &str = "read the job's metadata";
/// For single jobs, which are searched whenever they ran.
const ANY_TIME: Span = Span::Points(None, None);

/// Slurm through its commands, run on a login node as the caller.
///
/// There are two sources of jobs: squeue reads the controller, sacct the accounting database. Both run at the same time.
/// If the site keeps no accounting, squeue is the only source. If accounting does not answer, lists contain what
/// squeue knows (all pending and running jobs, and those that just ended) and a warning is logged; a single job that squeue does
/// not know is then not "not found" but an error, because accounting might know it.
#[derive(Clone)]
pub struct SlurmCli {
    controller: Controller,
    config: Arc<OnceCell<ClusterConfig>>,
    ended: Option<Arc<EndedJobs>>,
    records: RecordSettings,
    stored: Option<StoredRecords>,
    accounting_failure: Arc<Recurring>,
}

impl SlurmCli {
    /// Slurm on the cluster that `transport` reaches.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self::with_delimiter(transport, Delimiter::random)
    }

    /// The same with a known separator of fields, to replay recorded outputs. Job names can forge records then.
    pub fn with_delimiter(transport: Arc<dyn Transport>, delimiter: fn() -> Delimiter) -> Self {
        let controller = Controller { transport, delimiter };
        let (config, accounting_failure) = Default::default();
        Self { controller, config, ended: None, records: RecordSettings::default(), stored: None, accounting_failure }
    }

    /// The same, with accounting's answer to a list reused for up to `freshness` where that is safe.
    #[must_use]
    pub fn remembering(mut self, freshness: Duration) -> Self {
        self.ended = (!freshness.is_zero()).then(|| Arc::new(EndedJobs::new(freshness)));
        self
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

    /// See [`Controller::ask`].
    async fn ask<C: RemoteCommand>(&self, principal: &Principal, command: &C) -> Result<C::Output, CommandError> {
        self.controller.ask(principal, command).await
    }

    async fn queued(&self, principal: &Principal, selection: Selection<'_>) -> Result<Vec<Queued>, SchedulerError> {
        let command = Squeue { delimiter: (self.controller.delimiter)(), selection };
        match self.ask(principal, &command).await.map_err(explain("list jobs")) {
            // squeue fails for a single id that the controller does not know, and for no other reason with these words.
            Err(SchedulerError::JobNotFound) => Ok(Vec::new()),
            // It answers a question for one component of a heterogeneous job with all of them.
            Ok(queued) => Ok(match selection {
                Selection::Job(asked) => {
                    queued.into_iter().filter(|queued| asked.means(&queued.job.id, queued.number.parse().ok())).collect()
                }
                _ => queued,
            }),
            Err(error) => Err(error),
        }
    }

    async fn accounted(
        &self,
        principal: &Principal,
        selection: Selection<'_>,
        span: Span,
        runs: Runs,
    ) -> Result<Accounting, SchedulerError> {
        let command = Sacct { delimiter: (self.controller.delimiter)(), selection, span, runs };
        let accounting = match run(&*self.controller.transport, principal, &command).await {
            Ok(jobs) => Accounting::Jobs(jobs),
            Err(error) if accounting_is_off(&error) => Accounting::Off,
            Err(error) if could_not_be_asked(&error) => Accounting::Unavailable(explain("ask accounting")(error)),
            Err(error) => return Err(explain("ask accounting")(error)),
        };
        Ok(accounting.noted(&self.accounting_failure))
    }

    /// Fills in the cluster's name where only the controller knows the job, which does not print it.
    async fn name_cluster(&self, principal: &Principal, jobs: &mut [Job]) -> Result<(), SchedulerError> {
        if jobs.iter().all(|job| !job.cluster.is_empty()) {
            return Ok(());
        }
        let known = jobs.iter().find(|job| !job.cluster.is_empty()).map(|job| job.cluster.clone());
        let name = match known {
            Some(name) => name,
            None => self.cluster_name(principal).await?.to_owned(),
        };
        for job in jobs.iter_mut().filter(|job| job.cluster.is_empty()) {
            job.cluster.clone_from(&name);
        }
        Ok(())
    }

    async fn cluster_name(&self, principal: &Principal) -> Result<&str, SchedulerError> {
        Ok(&self.config(principal).await?.name)
    }

    /// The cluster's configuration. The values that are read hardly change during the life of a cluster, so it is queried once.
    async fn config(&self, principal: &Principal) -> Result<&ClusterConfig, SchedulerError> {
        let ask = || async { self.ask(principal, &ShowConfig).await.map_err(explain("read the cluster's configuration")) };
        self.config.get_or_try_init(ask).await
    }

    /// The data of the controller and of accounting about the jobs of a list; that of accounting may be a reused answer.
    async fn listed(&self, principal: &Principal, query: &JobQuery) -> Result<(Vec<merge::Queued>, Accounting), SchedulerError> {
        let user = (!query.all_users).then(|| principal.username.as_str());
        let selection = Selection::Filter { user, account: query.account.as_deref(), name: query.name.as_deref() };
        let accounted = || self.accounted(principal, selection, Span::Window(query.window), Runs::Last);
        let Some(ended) = &self.ended else {
            let (queued, accounted) = join!(self.queued(principal, selection), accounted());
            return Ok((jobs_of(queued?), accounted?));
        };
        let memory = self.config(principal).await?.min_job_age;
        let asked = Instant::now();
        let (queued, accounted) = match ended.get(principal, query, memory).await {
            Some(answer) => {
                let queued = jobs_of(self.queued(principal, selection).await?);
                if let Some(jobs) = answer.beside(&queued) {
                    return Ok((queued, Accounting::Jobs(jobs)));
                }
                (queued, accounted().await?)
            }
            None => {
                let (queued, accounted) = join!(self.queued(principal, selection), accounted());
                (jobs_of(queued?), accounted?)
            }
        };
        if let Accounting::Jobs(jobs) = &accounted {
            ended.keep(principal, query, asked, jobs).await;
        }
        Ok((queued, accounted))
    }

    /// The job as accounting has it, when the controller has it no more.
    async fn forgotten(&self, principal: &Principal, job: JobRef<'_>) -> Result<Vec<Job>, SchedulerError> {
        merge::forgotten(self.accounted(principal, Selection::Job(job), ANY_TIME, Runs::Last).await?)
    }

    /// Asks for the names that a job gave its files, where those that Slurm printed may be others.
    async fn settle_names(
        &self,
        principal: &Principal,
        job: JobRef<'_>,
        files: &mut [JobMetadata],
        of_accounting: bool,
    ) -> Result<(), SchedulerError> {
        if !files.iter().any(are_suspect) {
            return Ok(());
        }
        let command = NamedFiles { delimiter: (self.controller.delimiter)(), job, of_accounting };
        let answer = match of_accounting {
            true => run(&*self.controller.transport, principal, &command).await,
            false => self.ask(principal, &command).await,
        };
        let given = match answer.map_err(explain(READ_METADATA)) {
            // The controller has forgotten it since.
            Err(SchedulerError::JobNotFound) => Vec::new(),
            given => given?,
        };
        files.iter_mut().for_each(|files| settle(files, &given));
        Ok(())
    }

    /// The files and script of a job that the controller has no more, as far as the release and the site keep them.
    async fn accounted_metadata(&self, principal: &Principal, job: JobRef<'_>) -> Result<Vec<JobMetadata>, SchedulerError> {
        let jobs = self.forgotten(principal, job).await?;
        let files = AccountedFiles { delimiter: (self.controller.delimiter)(), job };
        let script = AccountedScript(job);
        let (files, script) =
            join!(run(&*self.controller.transport, principal, &files), run(&*self.controller.transport, principal, &script));
        let mut files = known_here(files).map_err(explain(READ_METADATA))?.unwrap_or_default();
        self.settle_names(principal, job, &mut files, true).await?;
        let script = known_here(script).map_err(explain(READ_METADATA))?.flatten();
        let metadata = |job: Job| {
            let known = files.iter().find(|files| files.id == job.id).cloned();
            let (standard_input, standard_output, standard_error) = (None, None, None);
            let unknown = JobMetadata { id: job.id, script: None, standard_input, standard_output, standard_error, is_array: false };
            JobMetadata { script: script.clone(), ..known.unwrap_or(unknown) }
        };
        Ok(jobs.into_iter().map(metadata).collect())
    }
}

/// Whether accounting itself failed, rather than the connection to the cluster or the parsing of an output.
fn could_not_be_asked(error: &CommandError) -> bool {
    matches!(error, CommandError::Exit { .. } | CommandError::Transport(TransportError::Execution(_)))
}

fn job_refs(query: &AccountingQuery) -> Result<Vec<JobRef<'_>>, SchedulerError> {
    query.jobs.iter().map(job_ref).collect()
}

/// The jobs to query from accounting.
fn selection<'a>(principal: &'a Principal, query: &'a AccountingQuery, ids: &'a [JobRef<'a>]) -> Selection<'a> {
    let user = (!query.all_users).then(|| principal.username.as_str());
    match ids {
        [] => Selection::Filter { user, account: query.account.as_deref(), name: None },
        ids => Selection::Jobs(ids),
    }
}

fn job_ref(id: &JobId) -> Result<JobRef<'_>, SchedulerError> {
    JobRef::new(id).ok_or(SchedulerError::JobNotFound)
}

#[async_trait]
impl Scheduler for SlurmCli {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        submission::submit(&self.controller, principal, job).await.map(Reported::from)
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
        let stored = self.stored.as_ref();
        let submission = WithKey { controller: &self.controller, settings: self.records, stored, principal, job, key };
        submission.submit().await.map(Reported::from)
    }

    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let (queued, accounted) = self.listed(principal, query).await?;
        let mut jobs = merge::list(queued, accounted, query);
        self.name_cluster(principal, &mut jobs.value).await?;
        Ok(jobs)
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let asked = job_ref(id)?;
        let selection = Selection::Job(asked);
        let (queued, accounted) = join!(self.queued(principal, selection), self.accounted(principal, selection, ANY_TIME, Runs::Last));
        let mut jobs = merge::single(asked, queued.map(jobs_of), accounted?)?;
        self.name_cluster(principal, &mut jobs.value).await?;
        Ok(jobs)
    }

    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let ids = job_refs(query)?;
        let selection = selection(principal, query, &ids);
        let accounted = self.accounted(principal, selection, Span::Points(query.since, query.until), Runs::All).await?;
        merge::accounts(accounted, principal, query).map(Reported::from)
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        let job = job_ref(id)?;
        let transport = &*self.controller.transport;
        match self.ask(principal, &JobFiles(job)).await.map_err(explain(READ_METADATA)) {
            Ok(mut files) => {
                let script = run(transport, principal, &JobScriptText(job)).await.map_err(explain(READ_METADATA))?;
                self.settle_names(principal, job, &mut files, false).await?;
                files.iter_mut().for_each(|files| files.script.clone_from(&script));
                Ok(files.into())
            }
            Err(SchedulerError::JobNotFound) => self.accounted_metadata(principal, job).await.map(Reported::from),
            Err(error) => Err(error),
        }
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        let job = job_ref(id)?;
        match self.ask(principal, &Scancel(job)).await.map_err(explain("cancel the job"))? {
            Cancelled::Done => Ok(().into()),
            Cancelled::GoesOn(state) => Err(SchedulerError::Unanswered(format!("scancel reported success, but the job is still {state}"))),
            Cancelled::Over => cancel_ended(&self.job(principal, id).await?, principal).map(Reported::from),
            Cancelled::NotKnown => cancel_ended(&self.forgotten(principal, job).await?, principal).map(Reported::from),
        }
    }

    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        let job = job_ref(id)?;
        let JobChange::Signal(signal) = change else {
            let altered = self.ask(principal, &Alter { job, change }).await;
            return altered.map(Reported::from).map_err(explain_refusal("change the job"));
        };
        if self.ask(principal, &Kill { job, signal }).await.map_err(explain_refusal("signal the job"))? {
            return Ok(().into());
        }
        // scancel does not tell a job that waits from one that it does not know.
        match self.job(principal, id).await?.value.first() {
            Some(job) => Err(SchedulerError::Rejected(format!("the job is not running: its state is {}", job.status.state))),
            None => Err(SchedulerError::JobNotFound),
        }
    }

    async fn validate(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        let test = TestOnly(Sbatch::new(job)?);
        self.ask(principal, &test).await.map(Reported::from).map_err(explain_refusal("test the job"))
    }

    async fn usage(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        let ids = job_refs(query)?;
        let command = SacctUsage { selection: selection(principal, query, &ids), span: Span::Points(query.since, query.until) };
        let mut jobs = run(&*self.controller.transport, principal, &command).await.map_err(|error| match accounting_is_off(&error) {
            true => SchedulerError::Unsupported("the site keeps no accounting"),
            false => explain("ask accounting")(error),
        })?;
        let is_asked_for = |job: &JobUsage| {
            (query.all_users || job.user.as_deref() == Some(principal.username.as_str()))
                && query.account.as_ref().is_none_or(|account| job.account.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(account)))
        };
        jobs.retain(is_asked_for);
        Ok(jobs.into())
    }

    async fn limits(&self, principal: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        let explained = || explain("read the limits");
        let cluster = self.cluster_name(principal).await?;
        let partitions = self.ask(principal, &ShowPartitions).await.map_err(explained())?;
        let show = ShowAssociations { user: &principal.username, cluster };
        let qos = match run(&*self.controller.transport, principal, &ShowQos).await {
            Err(error) if accounting_is_off(&error) => return Ok(JobLimits { partitions, qos: None, associations: None }.into()),
            answer => answer.map_err(explained())?,
        };
        let mut associations = run(&*self.controller.transport, principal, &show).await.map_err(explained())?;
        // Sites without shares have a sshare that fails.
        let mut shares = run(&*self.controller.transport, principal, &Sshare(&principal.username)).await.unwrap_or_default();
        for association in &mut associations {
            association.fair_share = shares.remove(&association.account);
        }
        Ok(JobLimits { partitions, qos: Some(qos), associations: Some(associations) }.into())
    }

    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        let queued = self.queued(principal, Selection::Job(job_ref(id)?)).await?;
        let number = number_of_the_running(&queued)?;
        run(&*self.controller.transport, principal, &Srun { number, command })
            .await
            .map(Reported::from)
            .map_err(explain_refusal("attach to the job"))
    }

    async fn nodes(&self, principal: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        self.ask(principal, &Nodes { delimiter: (self.controller.delimiter)() })
            .await
            .map(Reported::from)
            .map_err(explain("list the nodes"))
    }

    async fn partitions(&self, principal: &Principal, hidden: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        let command = Partitions { delimiter: (self.controller.delimiter)(), hidden };
        self.ask(principal, &command).await.map(Reported::from).map_err(explain("list the partitions"))
    }

    async fn reservations(&self, principal: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        self.ask(principal, &Reservations).await.map(Reported::from).map_err(explain("list the reservations"))
    }

    async fn accounts(&self, principal: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        let cluster = self.cluster_name(principal).await?;
        match run(&*self.controller.transport, principal, &Accounts { user: &principal.username, cluster }).await {
            Ok(accounts) => Ok(Some(accounts).into()),
            Err(error) if accounting_is_off(&error) => Ok(None.into()),
            Err(error) => Err(explain("list the accounts")(error)),
        }
    }

    async fn ping(&self, principal: &Principal) -> Result<(), SchedulerError> {
        run(&*self.controller.transport, principal, &Ping).await.map_err(explain("ping the scheduler"))
    }
}

fn jobs_of(queued: Vec<Queued>) -> Vec<merge::Queued> {
    queued.into_iter().map(|queued| (queued.number.parse().ok(), queued.job)).collect()
}

/// The number of the one job that runs; a job that does not run, or several that do, cannot be attached to.
fn number_of_the_running(queued: &[Queued]) -> Result<&str, SchedulerError> {
    let mut running = queued.iter().filter(|queued| queued.job.status.state == "RUNNING");
    match (running.next(), running.next()) {
        (Some(one), None) => Ok(&one.number),
        (Some(_), Some(_)) => Err(SchedulerError::Rejected("several tasks of this array are running: name one of them".to_owned())),
        (None, _) => match queued.first() {
            Some(queued) => Err(SchedulerError::Rejected(format!("the job is not running: its state is {}", queued.job.status.state))),
            None => Err(SchedulerError::JobNotFound),
        },
    }
}

/// Nothing where this release's command has no such option or field.
fn known_here<T>(result: Result<T, CommandError>) -> Result<Option<T>, CommandError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_known_here(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
