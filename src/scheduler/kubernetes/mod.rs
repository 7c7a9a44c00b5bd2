//! Kubernetes as a scheduler: each job is a Job of `batch/v1` in its user's own namespace.
//!
//! A job's script and variables are in a Secret that goes with it, arrays are indexed Jobs, and the states are told in Slurm's words. The record of a
//! submission with a key is the Job itself: its name is made of the key. Everything lies in the cluster, so the proxy may restart at any time.
//!
//! This module must not know the API of `http`. Of `ssh` it knows commands as values and the trait `Transport`, which `files.rs` implements, and no connection. What a user sends is read in `request.rs` and turned into objects in `manifest.rs`, the only place
//! where they are made, past `admission`; `state.rs`, `view.rs` and `pod.rs` read what became of them; `tenant.rs` keeps each user in their namespace.
//! `cache.rs` watches the jobs of all users, and `jobs.rs` answers from it where it is current.

mod admission;
mod cache;
mod config;
mod connection;
mod exec;
mod failure;
mod files;
mod helper;
mod images;
mod indices;
mod jobs;
mod local_queue;
mod logs;
mod manifest;
mod names;
mod namespace_pattern;
mod native;
mod pod;
mod process;
mod program;
mod quantity;
mod queues;
mod quotas;
mod removed;
mod request;
mod schedules;
mod site;
mod start;
mod state;
mod submit;
mod template;
mod tenant;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod, Secret};
use serde_json::json;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use config::{AccessMode, Config, FilesConfig, Mistake, PodSecurity, Profile, TolerationConfig};
pub use connection::SetupError;
pub use request::MAX_CONTENT;

use self::connection::{Actor, Selection};
use self::failure::ApiFailure;
use self::files::HelperPods;
use self::helper::Helper;
use self::images::Images;
use self::jobs::{Jobs, is_over, rejected};
use self::logs::Outputs;
use self::manifest::{Policy, SCRIPT};
use self::names::{CANCELLED_BY, JobRef, OURS};
use self::quotas::Quotas;
use self::request::{HELD_BY_KUEUE, NO_SCRIPT_PATH};
use super::{
    AttachOutput, ChangeListener, JobOutputs, NativeJobs, Scheduler, SchedulerError, Schedules, SubmissionKey, Submitted,
    UnsupportedOperation,
};
use crate::domain::{
    Account, AccountingQuery, Job, JobChange, JobDescription, JobEstimate, JobId, JobLimits, JobMetadata, JobProfile, JobQuery, JobUsage,
    Node, Partition, Principal, Reported, Reservation, ResourceUsage, Username, bytes_to_text,
};
use crate::ssh::Transport;

const NO_REQUEUE: &str = "a Job runs once: submit it again";
const NO_NEW_LIMIT: &str = "the time limit of a pod is set when the job is submitted";

/// A Kubernetes cluster. Clones share everything that changes.
#[derive(Clone)]
pub struct Kubernetes {
    jobs: Arc<Jobs>,
    quotas: Quotas,
    outputs: Outputs,
    profiles: Vec<Profile>,
    /// Whether queues of Kueue are partitions too.
    has_queues: bool,
    images: Images,
    default_image: Option<String>,
    policy: Policy,
    files: Option<FilesConfig>,
    /// The submissions under way, which go on without their requests.
    submissions: TaskTracker,
}

impl Kubernetes {
    /// A scheduler with this configuration, each of whose requests may take so long.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub fn new(config: &Config, timeout: Duration) -> Result<Self, SetupError> {
        let profiles = config.profiles();
        let named = profiles.iter().filter_map(|profile| profile.image.as_ref()).chain(&config.default_image);
        let jobs = Arc::new(Jobs::new(config, timeout)?);
        Ok(Self {
            outputs: Outputs(Arc::clone(&jobs)),
            quotas: Quotas::new(),
            jobs,
            images: Images::new(&config.images, named),
            default_image: config.default_image.clone(),
            policy: Policy {
                run_as_user: config.run_as_user,
                finished_job_ttl: config.finished_job_ttl,
                code_image: config.code_image.clone(),
            },
            profiles,
            has_queues: config.kueue,
            files: config.files.clone(),
            submissions: TaskTracker::new(),
        })
    }

    /// The way to the files of users, where the site has given them volumes.
    pub fn files(&self) -> Option<Arc<dyn Transport>> {
        let helper = Helper::new(self.files.clone()?, self.policy.run_as_user);
        Some(Arc::new(HelperPods::new(Arc::clone(&self.jobs), helper)))
    }

    /// Does work that makes several objects, which belong together: it goes on if its request ends.
    async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SchedulerError>> + Send + 'static,
    ) -> Result<T, SchedulerError> {
        let work = self.submissions.spawn(work.in_current_span());
        work.await.unwrap_or_else(|_| Err(SchedulerError::Unanswered("the submission was broken off".to_owned())))
    }

    async fn submit_whole(&self, user: &Username, job: &JobDescription, key: Option<&SubmissionKey>) -> Result<Submitted, SchedulerError> {
        let (this, user, job, key) = (self.clone(), user.clone(), job.clone(), key.cloned());
        self.whole(async move { this.place(&user, &job, key.as_ref()).await }).await
    }

    async fn suspend(&self, user: &Username, id: &JobId, suspend: bool) -> Result<(), SchedulerError> {
        let (namespace, observed) = self.jobs.changeable(user, id).await?;
        if observed.jobs.iter().any(|job| queues::of(job).is_some()) {
            return Err(rejected(HELD_BY_KUEUE));
        }
        if suspend && observed.to_jobs().iter().any(|job| job.status.state != "PENDING") {
            return Err(rejected("the job runs already: a job is held before it starts"));
        }
        let patch = json!({"spec": {"suspend": suspend}});
        self.jobs.change(user, &namespace, id.as_str(), &patch).await.map_err(ApiFailure::of_write)
    }

    async fn node_objects(&self) -> Result<Vec<KubernetesNode>, SchedulerError> {
        self.jobs.connection.list(Actor::Own, None, Selection::default()).await.map_err(ApiFailure::without_effect)
    }
}

#[async_trait]
impl Scheduler for Kubernetes {
    async fn submit(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        self.submit_whole(&principal.username, job, None).await.map(|submitted| submitted.id.into())
    }

    async fn submit_once(
        &self,
        principal: &Principal,
        job: &JobDescription,
        key: &SubmissionKey,
    ) -> Result<Reported<Submitted>, SchedulerError> {
        self.submit_whole(&principal.username, job, Some(key)).await.map(Reported::from)
    }

    /// Those of the caller, whose namespace is all that a caller sees.
    async fn jobs(&self, principal: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let Some((_, observed)) = self.jobs.all(&principal.username).await? else { return Ok(Vec::new().into()) };
        let oldest = jiff::Timestamp::now().as_second() - i64::from(query.window.hours()) * 3600;
        let mut jobs = observed.to_jobs();
        jobs.retain(|job| {
            query.account.as_ref().is_none_or(|account| job.account.as_ref() == Some(account))
                && query.name.as_ref().is_none_or(|name| job.name == *name)
                && (!is_over(&job.status.state) || job.times.end.is_none_or(|end| end >= oldest))
        });
        Ok(jobs.into())
    }

    async fn job(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let JobRef { name, task } = JobRef::read(id)?;
        let (_, observed) = self.jobs.one(&principal.username, name).await?;
        match task {
            None => Ok(observed.to_jobs().into()),
            Some(index) => observed.to_task(index).map(|job| vec![job].into()).ok_or(SchedulerError::JobNotFound),
        }
    }

    /// For as long as finished jobs are kept (`finished_job_ttl`).
    async fn accounting(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let Some((_, observed)) = self.jobs.all(&principal.username).await? else { return Ok(Vec::new().into()) };
        let mut jobs = observed.to_jobs();
        let array = |job: &Job| job.id.as_str().split_once('_').and_then(|(name, _)| JobId::new(name).ok());
        jobs.retain(|job| {
            (query.jobs.is_empty() || query.jobs.contains(&job.id) || array(job).is_some_and(|array| query.jobs.contains(&array)))
                && query.account.as_ref().is_none_or(|account| job.account.as_ref() == Some(account))
                && query.since.is_none_or(|since| job.times.end.is_none_or(|end| end >= since))
                && query.until.is_none_or(|until| job.times.start.is_none_or(|start| start <= until))
        });
        Ok(jobs.into())
    }

    async fn metadata(&self, principal: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        let (JobRef { name, .. }, user) = (JobRef::read(id)?, &principal.username);
        let (namespace, observed) = self.jobs.one(user, name).await?;
        // Jobs of a schedule share its Secret.
        let secret = observed.script_secret().unwrap_or_else(|| name.to_owned());
        let secret =
            self.jobs.connection.get::<Secret>(Actor::User(user), Some(&namespace), &secret).await.map_err(ApiFailure::without_effect)?;
        let script = secret.and_then(|mut secret| secret.data.as_mut()?.remove(SCRIPT)).map(|script| bytes_to_text(&script.0));
        let (standard_input, standard_output, standard_error) = (None, None, None);
        Ok(vec![JobMetadata { id: id.clone(), script, standard_input, standard_output, standard_error, is_array: false }].into())
    }

    async fn cancel(&self, principal: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        let user = &principal.username;
        let (namespace, observed) = self.jobs.changeable(user, id).await?;
        let ended = self.jobs.end(user, &namespace, &observed, id.as_str(), (CANCELLED_BY, user.as_str())).await;
        ended.map(Reported::from).map_err(ApiFailure::of_write)
    }

    async fn alter(&self, principal: &Principal, id: &JobId, change: JobChange) -> Result<Reported<()>, SchedulerError> {
        let user = &principal.username;
        match change {
            JobChange::Hold => self.suspend(user, id, true).await.map(Reported::from),
            JobChange::Release => self.suspend(user, id, false).await.map(Reported::from),
            JobChange::Requeue => Err(SchedulerError::Unsupported(NO_REQUEUE)),
            JobChange::TimeLimit(_) => Err(SchedulerError::Unsupported(NO_NEW_LIMIT)),
            JobChange::Signal(signal) => self.jobs.signal(user, id, signal).await.map(Reported::from),
        }
    }

    async fn validate(&self, principal: &Principal, job: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        self.estimate(&principal.username, job).await.map(Reported::from)
    }

    /// The time that jobs ran, and the CPUs that they had meanwhile.
    async fn usage(&self, principal: &Principal, query: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        let jobs = self.accounting(principal, query).await?;
        let usage = |job: Job| {
            let elapsed = job.times.elapsed.and_then(|elapsed| u64::try_from(elapsed).ok());
            let resources = ResourceUsage { elapsed, node_seconds: elapsed, ..ResourceUsage::default() };
            JobUsage { id: job.id, user: job.user, account: job.account, resources }
        };
        Ok(jobs.map(|jobs| jobs.into_iter().map(usage).collect()))
    }

    async fn limits(&self, principal: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        let namespace = self.jobs.tenants.find(&self.jobs.connection, &principal.username).await?;
        let quotas = match &namespace {
            Some(namespace) => quotas::list(&self.jobs.connection, namespace).await?,
            None => Vec::new(),
        };
        let queues = self.queues(namespace.as_deref()).await?;
        let of_queues = queues.iter().filter_map(|queue| queues::limits(queue, &self.profiles));
        let partitions: Vec<Profile> = self.profiles.iter().cloned().chain(of_queues).collect();
        Ok(site::limits(&partitions, namespace.as_deref(), &quotas).into())
    }

    async fn attach(&self, principal: &Principal, id: &JobId, command: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        self.jobs.attach(&principal.username, id, command).await.map(Reported::from)
    }

    async fn nodes(&self, _: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        let ours = Selection { labels: OURS, fields: "" };
        let pods = async { self.jobs.connection.list::<Pod>(Actor::Own, None, ours).await.map_err(ApiFailure::without_effect) };
        let (nodes, pods) = futures::future::try_join(self.node_objects(), pods).await?;
        Ok(site::nodes(&nodes, &pods, &self.profiles).into())
    }

    /// The profiles, and the queues of Kueue that the caller has.
    async fn partitions(&self, principal: &Principal, _: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        let mut partitions = site::partitions(&self.node_objects().await?, &self.profiles);
        if self.has_queues {
            let namespace = self.jobs.tenants.find(&self.jobs.connection, &principal.username).await?;
            partitions.extend(self.queues(namespace.as_deref()).await?.iter().filter_map(queues::partition));
        }
        Ok(partitions.into())
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
                (UnsupportedOperation::ScriptPath, NO_SCRIPT_PATH),
                (UnsupportedOperation::Requeue, NO_REQUEUE),
                (UnsupportedOperation::TimeLimit, NO_NEW_LIMIT),
            ]
        }
    }

    /// It says of a name whether there is such a Job.
    fn knows_every_job(&self) -> bool {
        true
    }

    fn outputs(&self) -> Option<&dyn JobOutputs> {
        Some(&self.outputs)
    }

    fn schedules(&self) -> Option<&dyn Schedules> {
        Some(self)
    }

    fn native_jobs(&self) -> Option<&dyn NativeJobs> {
        Some(self)
    }

    fn profiles(&self) -> Option<Vec<JobProfile>> {
        Some(site::profiles(&self.profiles, self.default_image.as_deref()))
    }

    async fn settle(&self) {
        self.submissions.close();
        self.submissions.wait().await;
    }

    async fn keep_current(&self, changed: &ChangeListener<'_>) {
        self.jobs.keep_current(changed).await;
    }

    async fn ping(&self, _: &Principal) -> Result<(), SchedulerError> {
        self.jobs.connection.ready().await.map_err(ApiFailure::without_effect)
    }
}
