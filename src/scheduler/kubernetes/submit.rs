//! Submitting a job, and asking whether it could be.
//!
//! The Job is made first, since it owns the Secret: whatever is left is removed with it. Its name is what makes a submission with a key happen once:
//! the API server takes a name once, in the user's own namespace. If the name is taken, the request reads the existing Job and creates whatever
//! the earlier attempt did not. A quota or a rule may refuse the second one before the name is looked at: with a key, each refusal is an answer
//! only if there is no Job of the name.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as KubernetesJob;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Kubernetes;
use super::admission::Disallowed;
use super::connection::{Actor, Created};
use super::failure::ApiFailure;
use super::local_queue::LocalQueue;
use super::manifest::Manifests;
use super::names::{REQUEST, fresh_name, is_ours, name_of};
use super::quantity;
use super::queues;
use super::quotas;
use super::request::JobRequest;
use super::view::annotation;
use crate::domain::{JobDescription, JobEstimate, JobId, Username};
use crate::scheduler::{RecordPlace, SchedulerError, SubmissionKey, Submitted};

impl Kubernetes {
    /// Submits a job; with a key, unless that was done before.
    pub(super) async fn place(
        &self,
        user: &Username,
        job: &JobDescription,
        key: Option<&SubmissionKey>,
    ) -> Result<Submitted, SchedulerError> {
        let (request, namespace) = match self.ready(user, job).await {
            Ok(ready) => ready,
            Err(refusal) => return self.made_before(user, key, None, refusal).await,
        };
        let name = key.map_or_else(|| fresh_name(job.name.as_deref()), name_of);
        let id = JobId::new(&name).map_err(|error| SchedulerError::Rejected(error.to_string()))?;
        let manifests = Manifests { request: &request, name: &name, user, key, policy: &self.policy, files: self.files.as_ref() };
        let created = match self.create(user, &namespace, &manifests).await {
            Ok(created) => created,
            Err(refusal) => return self.made_before(user, key, Some(&manifests), refusal).await,
        };
        // The Job is its own record.
        let record = key.map(|_| RecordPlace::Cluster);
        match created {
            Created::New(created) => {
                self.jobs.cache.store(created.clone());
                self.complete(user, &namespace, &manifests, &created.metadata).await?;
                Ok(Submitted { id, repeated: false, record })
            }
            Created::Exists => {
                self.adopt(user, &namespace, &manifests).await?;
                Ok(Submitted { id, repeated: true, record })
            }
        }
    }

    /// Makes the Job, unless there is one of its name.
    async fn create(
        &self,
        user: &Username,
        namespace: &Arc<str>,
        manifests: &Manifests<'_>,
    ) -> Result<Created<KubernetesJob>, SchedulerError> {
        self.quotas.check(&self.jobs.connection, namespace, &manifests.request.resources()).await?;
        match self.jobs.connection.create(Actor::User(user), Some(namespace), &manifests.job()?).await {
            Ok(created) => Ok(created),
            Err(failure) => Err(self.jobs.tenants.lost(user, failure).await.unwrap_or_else(ApiFailure::of_write)),
        }
    }

    /// The answer to a submission that was refused: the Job of an earlier one with the same key, if there is one; otherwise the refusal.
    async fn made_before(
        &self,
        user: &Username,
        key: Option<&SubmissionKey>,
        manifests: Option<&Manifests<'_>>,
        refusal: SchedulerError,
    ) -> Result<Submitted, SchedulerError> {
        let Some(key) = key.filter(|_| is_refusal(&refusal)) else { return Err(refusal) };
        let name = name_of(key);
        let (namespace, job) = match self.find_made(user, &name, key).await {
            Ok(Some(found)) => found,
            // Who may not look either has no job here any more.
            Ok(None) | Err(SchedulerError::Denied(_)) => return Err(refusal),
            Err(error) => return Err(error),
        };
        let id = JobId::new(&name).map_err(|error| SchedulerError::Rejected(error.to_string()))?;
        self.make_secret(user, &namespace, &name, manifests.map(|manifests| manifests.secret("Job", &job.metadata))).await?;
        Ok(Submitted { id, repeated: true, record: Some(RecordPlace::Cluster) })
    }

    /// The namespace of a user and the Job of this key in it, if both are there.
    async fn find_made(
        &self,
        user: &Username,
        name: &str,
        key: &SubmissionKey,
    ) -> Result<Option<(Arc<str>, KubernetesJob)>, SchedulerError> {
        let Some(namespace) = self.jobs.tenants.find(&self.jobs.connection, user).await.map_err(unanswered)? else { return Ok(None) };
        Ok(self.made(user, &namespace, name, key).await?.map(|job| (namespace, job)))
    }

    /// The Job that stands under the name, which must be the one that was asked for.
    async fn made(
        &self,
        user: &Username,
        namespace: &str,
        name: &str,
        key: &SubmissionKey,
    ) -> Result<Option<KubernetesJob>, SchedulerError> {
        let found = self.jobs.connection.get::<KubernetesJob>(Actor::User(user), Some(namespace), name).await;
        let Some(found) = found.map_err(unknown)? else { return Ok(None) };
        if !is_ours(&found) || annotation(&found.metadata, REQUEST).as_deref() != Some(key.digest()) {
            return Err(SchedulerError::KeyReused);
        }
        Ok(Some(found))
    }

    /// Makes the Secret of a Job that is there, if the attempt before ended between the two; a Secret that is there stays as it is. It cannot be made
    /// for a description that is not allowed any more.
    async fn make_secret(&self, user: &Username, namespace: &str, name: &str, secret: Option<Secret>) -> Result<(), SchedulerError> {
        let (actor, scope) = (Actor::User(user), Some(namespace));
        // A quota would refuse a second one rather than say that it is there.
        if self.jobs.connection.get::<Secret>(actor, scope, name).await.map_err(unknown)?.is_some() {
            return Ok(());
        }
        let lacks =
            |reason: String| SchedulerError::Unanswered(format!("the job {name} is there, and its Secret cannot be made: {reason}"));
        let secret = secret.ok_or_else(|| lacks("its description is refused now".to_owned()))?;
        self.jobs.connection.create(actor, scope, &secret).await.map(drop).map_err(|failure| lacks(failure.into_reason()))
    }

    /// Makes the Secret of a new Job. Where it is refused, the Job goes too: nothing is left of a submission that failed.
    async fn complete(&self, user: &Username, namespace: &str, manifests: &Manifests<'_>, job: &ObjectMeta) -> Result<(), SchedulerError> {
        let created = self.jobs.connection.create(Actor::User(user), Some(namespace), &manifests.secret("Job", job)).await;
        match created {
            Ok(_) => Ok(()),
            Err(failure @ ApiFailure::Refused { code: ..500, .. }) => {
                self.jobs
                    .connection
                    .delete::<KubernetesJob>(Actor::User(user), namespace, manifests.name)
                    .await
                    .map_err(ApiFailure::of_write)?;
                self.jobs.cache.forget(namespace, manifests.name);
                Err(failure.without_effect())
            }
            Err(ApiFailure::Unreached(reason)) => Err(SchedulerError::Unanswered(reason)),
            Err(failure) => Err(failure.of_write()),
        }
    }

    /// Takes the Job that stands under the name for the one that was asked for, where it is.
    async fn adopt(&self, user: &Username, namespace: &str, manifests: &Manifests<'_>) -> Result<(), SchedulerError> {
        let gone = || SchedulerError::Unanswered(format!("the job {} was removed a moment ago", manifests.name));
        // A name that was drawn for one submission belongs to another one now.
        let key = manifests.key.ok_or(SchedulerError::KeyReused)?;
        let found = self.made(user, namespace, manifests.name, key).await?.ok_or_else(gone)?;
        self.make_secret(user, namespace, manifests.name, Some(manifests.secret("Job", &found.metadata))).await
    }

    /// Asks the API server, which stores nothing. It cannot be asked before the user has a namespace; then the description alone is checked.
    pub(super) async fn estimate(&self, user: &Username, job: &JobDescription) -> Result<JobEstimate, SchedulerError> {
        let namespace = self.jobs.tenants.find(&self.jobs.connection, user).await?;
        let queue = match self.names_queue(job) {
            Some(partition) if namespace.is_none() && self.jobs.tenants.gives_queue(partition) => Some(partition.to_owned()),
            Some(partition) => Some(self.queue(partition, namespace.as_deref()).await?),
            None => None,
        };
        let request = self.read(job, queue)?;
        if let Some(namespace) = namespace {
            let name = fresh_name(job.name.as_deref());
            let manifests = Manifests { request: &request, name: &name, user, key: None, policy: &self.policy, files: self.files.as_ref() };
            quantity::check(&quotas::list(&self.jobs.connection, &namespace).await?, &request.resources())?;
            let asked = self.jobs.connection.dry_run(Actor::User(user), &namespace, &manifests.job()?).await;
            asked.map_err(ApiFailure::without_effect)?;
        }
        Ok(JobEstimate { cpus: Some(request.cpus), partition: Some(request.partition().to_owned()), ..JobEstimate::default() })
    }

    /// Checks a description, and gives the user a namespace for it.
    pub(super) async fn ready<'a>(
        &'a self,
        user: &Username,
        job: &'a JobDescription,
    ) -> Result<(JobRequest<'a>, Arc<str>), SchedulerError> {
        let ensured = self.jobs.tenants.ensure(&self.jobs.connection, user);
        let Some(partition) = self.names_queue(job) else {
            let request = self.read(job, None)?;
            return Ok((request, ensured.await?));
        };
        // The namespace may come with the queue.
        let namespace = ensured.await?;
        let queue = self.queue(partition, Some(&namespace)).await?;
        Ok((self.read(job, Some(queue))?, namespace))
    }

    /// The partition of a job, if that can only be a queue.
    fn names_queue<'a>(&self, job: &'a JobDescription) -> Option<&'a str> {
        let is_profile = |name: &str| self.profiles.iter().any(|profile| profile.name == name);
        job.partition.as_deref().filter(|name| self.has_queues && !name.is_empty() && !is_profile(name))
    }

    async fn queue(&self, partition: &str, namespace: Option<&str>) -> Result<String, SchedulerError> {
        queues::chosen(partition, &self.queues(namespace).await?, &self.profiles)
    }

    /// The queues of a user's namespace.
    pub(super) async fn queues(&self, namespace: Option<&str>) -> Result<Vec<LocalQueue>, SchedulerError> {
        match namespace {
            Some(namespace) if self.has_queues => queues::list(&self.jobs.connection, namespace, &self.profiles).await,
            _ => Ok(Vec::new()),
        }
    }

    fn read<'a>(&'a self, job: &'a JobDescription, queue: Option<String>) -> Result<JobRequest<'a>, SchedulerError> {
        JobRequest::read(job, &self.profiles, self.default_image.as_ref(), &self.images, queue)
    }
}

/// Whether an error says that somebody refuses the submission, which says nothing of an earlier one.
fn is_refusal(error: &SchedulerError) -> bool {
    matches!(error, SchedulerError::Rejected(_) | SchedulerError::Denied(_) | SchedulerError::Members(_) | SchedulerError::Unsupported(_))
}

/// The failure of looking for a job that may be there.
fn unknown(failure: ApiFailure) -> SchedulerError {
    unanswered(failure.without_effect())
}

fn unanswered(error: SchedulerError) -> SchedulerError {
    match error {
        SchedulerError::Down(reason) => SchedulerError::Unanswered(reason),
        error => error,
    }
}

impl From<Disallowed> for SchedulerError {
    fn from(refusal: Disallowed) -> Self {
        Self::Denied(refusal.to_string())
    }
}
