//! The jobs of one user: from the cache where that is current, and otherwise from the API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job as KubernetesJob;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::Config;
use super::cache::{Cache, REFUSALS};
use super::connection::{Actor, Connection, Selection, SetupError};
use super::failure::ApiFailure;
use super::names::{self, GIVEN_UP, JobRef, OURS, POD_JOB};
use super::queues;
use super::state::Observed;
use super::tenant::Tenants;
use crate::domain::{JobId, Username};
use crate::scheduler::{ChangeListener, SchedulerError};

/// The jobs of all users.
pub(super) struct Jobs {
    pub(super) connection: Connection,
    pub(super) tenants: Tenants,
    pub(super) cache: Cache,
    /// Whether the cluster decides what each user sees, so that nothing is read in Goldcrest's own name.
    impersonates: bool,
}

impl Jobs {
    /// The jobs of the cluster that the configuration describes.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub(super) fn new(config: &Config, timeout: Duration) -> Result<Self, SetupError> {
        Ok(Self {
            connection: Connection::new(config, timeout)?,
            tenants: Tenants::new(config),
            cache: Cache::new(),
            impersonates: config.impersonate,
        })
    }

    /// Keeps the cache current until it is dropped, and calls `changed` with each user whose jobs have changed.
    pub(super) async fn keep_current(&self, changed: &ChangeListener<'_>) {
        if self.impersonates {
            return std::future::pending().await;
        }
        self.cache.run(&self.connection, changed).await;
    }

    /// All of a user's; none where the user has no namespace yet.
    pub(super) async fn all(&self, user: &Username) -> Result<Option<(Arc<str>, Observed)>, SchedulerError> {
        let Some(namespace) = self.tenants.find(&self.connection, user).await? else { return Ok(None) };
        let mut observed = match self.cache.all(&namespace) {
            Some(known) => Observed::from(known),
            None => self.query_all(user, &namespace).await?,
        };
        let is_there = |name: &str| observed.jobs.iter().any(|job| job.metadata.name.as_deref() == Some(name));
        observed.removed = self.cache.removed().of(&namespace, is_there);
        self.end_unrecoverable(user, &namespace, &observed).await;
        Ok(Some((namespace, observed)))
    }

    /// One job of the user's. Only the API server says that there is none: another replica may have made it a moment ago.
    pub(super) async fn one(&self, user: &Username, name: &str) -> Result<(Arc<str>, Observed), SchedulerError> {
        let namespace = self.tenants.find(&self.connection, user).await?.ok_or(SchedulerError::JobNotFound)?;
        let mut observed = match self.cache.one(&namespace, name) {
            Some(known) => Observed::from(known),
            None => self.query_one(user, &namespace, name).await?,
        };
        if observed.jobs.is_empty() {
            self.cache.note_absence(&namespace, name);
            observed.removed = self.cache.removed().one(&namespace, name);
        }
        if observed.is_empty() {
            return Err(SchedulerError::JobNotFound);
        }
        self.end_unrecoverable(user, &namespace, &observed).await;
        Ok((namespace, observed))
    }

    async fn query_all(&self, user: &Username, namespace: &str) -> Result<Observed, SchedulerError> {
        let (actor, scope) = (Actor::User(user), Some(namespace));
        let ours = Selection { labels: OURS, fields: "" };
        let jobs = self.connection.list::<KubernetesJob>(actor, scope, ours);
        let pods = self.connection.list::<Pod>(actor, scope, ours);
        let (jobs, pods) = futures::future::try_join(jobs, pods).await.map_err(ApiFailure::without_effect)?;
        self.with_refusals(user, namespace, jobs, pods).await
    }

    async fn query_one(&self, user: &Username, namespace: &str, name: &str) -> Result<Observed, SchedulerError> {
        let (actor, scope, labels) = (Actor::User(user), Some(namespace), format!("{OURS},{POD_JOB}={name}"));
        let job = self.connection.get::<KubernetesJob>(actor, scope, name);
        let pods = self.connection.list::<Pod>(actor, scope, Selection { labels: &labels, fields: "" });
        let (job, pods) = futures::future::try_join(job, pods).await.map_err(ApiFailure::without_effect)?;
        self.with_refusals(user, namespace, job.filter(names::is_ours).into_iter().collect(), pods).await
    }

    /// Adds what the Job controller reports, where pods are missing.
    async fn with_refusals(
        &self,
        user: &Username,
        namespace: &str,
        jobs: Vec<KubernetesJob>,
        pods: Vec<Pod>,
    ) -> Result<Observed, SchedulerError> {
        self.cache.learn(&jobs, &pods);
        let observed = Observed::new(shared(jobs), shared(pods));
        if !observed.lacks_pods() {
            return Ok(observed);
        }
        let refusals =
            self.connection.list::<Event>(Actor::User(user), Some(namespace), REFUSALS).await.map_err(ApiFailure::without_effect)?;
        Ok(observed.with_refusals(&shared(refusals)))
    }

    /// Ends the jobs that Kubernetes would go on trying although nothing will come of them.
    async fn end_unrecoverable(&self, user: &Username, namespace: &str, observed: &Observed) {
        for (name, reason) in observed.unrecoverable() {
            // The next request tries again.
            if let Err(failure) = self.end(user, namespace, observed, &name, (GIVEN_UP, &reason)).await {
                tracing::warn!(job = name, namespace, ?failure, "a job that cannot run could not be ended");
            }
        }
    }

    /// Ends a Job and says why: its pods go, and no more come. It stays for as long as any that has finished.
    pub(super) async fn end(
        &self,
        user: &Username,
        namespace: &str,
        observed: &Observed,
        name: &str,
        (annotation, value): (&str, &str),
    ) -> Result<(), ApiFailure> {
        if observed.jobs.iter().any(|job| job.metadata.name.as_deref() == Some(name) && queues::of(job).is_some()) {
            return self.end_queued(user, namespace, name, &json!({annotation: value})).await;
        }
        let patch = json!({
            "metadata": {"annotations": {annotation: value}},
            // A Job that is held, or has no place yet, begins to count its time with this, and starts nothing.
            "spec": {"parallelism": 0, "suspend": false, "activeDeadlineSeconds": 1},
        });
        self.change(user, namespace, name, &patch).await
    }

    /// Ends a Job in a queue of Kueue, which would suspend it again if it began by itself: one that waits is removed.
    async fn end_queued(&self, user: &Username, namespace: &str, name: &str, annotations: &Value) -> Result<(), ApiFailure> {
        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"activeDeadlineSeconds": 1}});
        let marked = self.connection.merge::<KubernetesJob>(Actor::User(user), namespace, name, &patch).await?;
        let waits = marked.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
        self.cache.store(marked);
        if waits { self.connection.delete::<KubernetesJob>(Actor::User(user), namespace, name).await } else { Ok(()) }
    }

    /// Changes members of a Job.
    pub(super) async fn change(&self, user: &Username, namespace: &str, name: &str, patch: &Value) -> Result<(), ApiFailure> {
        let changed = self.connection.merge::<KubernetesJob>(Actor::User(user), namespace, name, patch).await?;
        self.cache.store(changed);
        Ok(())
    }

    /// A job that is to be changed: not over, and no task of an array.
    pub(super) async fn changeable(&self, user: &Username, id: &JobId) -> Result<(Arc<str>, Observed), SchedulerError> {
        let JobRef { name, task } = JobRef::read(id)?;
        let (namespace, observed) = self.one(user, name).await?;
        if task.is_some() {
            return Err(rejected("a task of an array cannot be changed by itself: name the whole array"));
        }
        if observed.to_jobs().iter().all(|job| is_over(&job.status.state)) {
            return Err(rejected("the job has ended already"));
        }
        Ok((namespace, observed))
    }
}

fn shared<T>(objects: Vec<T>) -> Vec<Arc<T>> {
    objects.into_iter().map(Arc::new).collect()
}

/// Whether nothing more happens to a job in this state.
pub(super) fn is_over(state: &str) -> bool {
    !matches!(state, "PENDING" | "RUNNING")
}

pub(super) fn rejected(message: &str) -> SchedulerError {
    SchedulerError::Rejected(message.to_owned())
}
