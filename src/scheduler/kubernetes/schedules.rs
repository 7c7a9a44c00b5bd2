//! Schedules: each is a CronJob in its user's namespace, with the Secret that its jobs share.

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::CronJob;

use super::Kubernetes;
use super::connection::{Actor, Created, Selection};
use super::failure::ApiFailure;
use super::manifest::Manifests;
use super::names::{GOLDCREST, JOB_NAME, MANAGED_BY, OURS, PROFILE, fresh_name};
use super::pod::seconds;
use super::view::annotation;
use crate::domain::{JobId, Overlap, Principal, Schedule, ScheduleDescription, ScheduleId, Username};
use crate::scheduler::{SchedulerError, Schedules};

#[async_trait]
impl Schedules for Kubernetes {
    async fn create(&self, principal: &Principal, schedule: &ScheduleDescription) -> Result<ScheduleId, SchedulerError> {
        let (this, user, schedule) = (self.clone(), principal.username.clone(), schedule.clone());
        self.whole(async move { this.create_schedule(&user, &schedule).await }).await
    }

    async fn list(&self, principal: &Principal) -> Result<Vec<Schedule>, SchedulerError> {
        Ok(self.cron_jobs(&principal.username).await?.iter().filter_map(read).collect())
    }

    async fn get(&self, principal: &Principal, id: &ScheduleId) -> Result<Schedule, SchedulerError> {
        read(&self.cron_job(&principal.username, id).await?).ok_or(SchedulerError::ScheduleNotFound)
    }

    async fn remove(&self, principal: &Principal, id: &ScheduleId) -> Result<(), SchedulerError> {
        self.get(principal, id).await?;
        let (user, connection) = (&principal.username, &self.jobs.connection);
        let namespace = self.jobs.tenants.find(connection, user).await?.ok_or(SchedulerError::ScheduleNotFound)?;
        connection.delete::<CronJob>(Actor::User(user), &namespace, id.as_str()).await.map_err(ApiFailure::of_write)
    }
}

impl Kubernetes {
    /// Makes the CronJob, which owns its Secret, and then that.
    async fn create_schedule(&self, user: &Username, schedule: &ScheduleDescription) -> Result<ScheduleId, SchedulerError> {
        let connection = &self.jobs.connection;
        let (request, namespace) = self.ready(user, &schedule.job).await?;
        let name = fresh_name(schedule.name.as_deref().or(schedule.job.name.as_deref()));
        let id = ScheduleId::new(&name).ok_or_else(|| SchedulerError::Rejected(format!("{name} cannot be the id of a schedule")))?;
        let manifests = Manifests { request: &request, name: &name, user, key: None, policy: &self.policy, files: self.files.as_ref() };
        self.quotas.check(connection, &namespace, &request.resources()).await?;
        let cron_job = manifests.cron_job(schedule)?;
        let created = match connection.create(Actor::User(user), Some(&namespace), &cron_job).await {
            Ok(Created::New(created)) => created,
            Ok(Created::Exists) => return Err(SchedulerError::Rejected(format!("there is a schedule {name} already: try again"))),
            Err(failure) => return Err(self.jobs.tenants.lost(user, failure).await.unwrap_or_else(ApiFailure::of_write)),
        };
        match connection.create(Actor::User(user), Some(&namespace), &manifests.secret("CronJob", &created.metadata)).await {
            Ok(_) => Ok(id),
            // Without its script the schedule is of no use.
            Err(failure) => {
                connection.delete::<CronJob>(Actor::User(user), &namespace, &name).await.map_err(ApiFailure::of_write)?;
                Err(failure.of_write())
            }
        }
    }

    /// The CronJobs of a user.
    pub(super) async fn cron_jobs(&self, user: &Username) -> Result<Vec<CronJob>, SchedulerError> {
        let connection = &self.jobs.connection;
        let Some(namespace) = self.jobs.tenants.find(connection, user).await? else { return Ok(Vec::new()) };
        let ours = Selection { labels: OURS, fields: "" };
        connection.list::<CronJob>(Actor::User(user), Some(&namespace), ours).await.map_err(ApiFailure::without_effect)
    }

    /// One CronJob of a user's.
    pub(super) async fn cron_job(&self, user: &Username, id: &ScheduleId) -> Result<CronJob, SchedulerError> {
        let connection = &self.jobs.connection;
        let namespace = self.jobs.tenants.find(connection, user).await?.ok_or(SchedulerError::ScheduleNotFound)?;
        let found =
            connection.get::<CronJob>(Actor::User(user), Some(&namespace), id.as_str()).await.map_err(ApiFailure::without_effect)?;
        found.filter(is_ours).ok_or(SchedulerError::ScheduleNotFound)
    }
}

fn is_ours(cron_job: &CronJob) -> bool {
    cron_job.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|value| value == GOLDCREST)
}

/// A CronJob as the API has it.
fn read(CronJob { metadata, spec, status }: &CronJob) -> Option<Schedule> {
    let name = metadata.name.as_deref()?;
    let spec = spec.as_ref()?;
    let active = status.iter().flat_map(|status| status.active.iter().flatten());
    Some(Schedule {
        id: ScheduleId::new(name)?,
        name: annotation(metadata, JOB_NAME).unwrap_or_else(|| name.to_owned()),
        cron: spec.schedule.clone(),
        time_zone: spec.time_zone.clone(),
        suspended: spec.suspend.unwrap_or(false),
        overlap: match spec.concurrency_policy.as_deref() {
            Some("Forbid") => Overlap::Skip,
            Some("Replace") => Overlap::Replace,
            _ => Overlap::Allow,
        },
        partition: annotation(metadata, PROFILE),
        created: seconds(metadata.creation_timestamp.as_ref()),
        last_time: seconds(status.as_ref().and_then(|status| status.last_schedule_time.as_ref())),
        last_success: seconds(status.as_ref().and_then(|status| status.last_successful_time.as_ref())),
        active: active.filter_map(|job| JobId::new(job.name.as_deref()?).ok()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cron_job_is_read_with_its_times_and_the_jobs_that_run() {
        let cron_job: CronJob = serde_json::from_value(json!({
            "metadata": {
                "name": "nightly-1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"goldcrest/name": "Nightly", "goldcrest/profile": "small"},
            },
            "spec": {"schedule": "5 1 * * *", "timeZone": "Europe/Zurich", "concurrencyPolicy": "Forbid", "suspend": true, "jobTemplate": {}},
            "status": {"lastScheduleTime": "2026-01-02T00:05:00Z", "active": [{"name": "nightly-1-29456"}]},
        }))
        .unwrap();
        let schedule = read(&cron_job).unwrap();
        assert_eq!((schedule.id.as_str(), schedule.name.as_str(), schedule.partition.as_deref()), ("nightly-1", "Nightly", Some("small")));
        assert_eq!((schedule.overlap, schedule.suspended, schedule.time_zone.as_deref()), (Overlap::Skip, true, Some("Europe/Zurich")));
        assert_eq!((schedule.created, schedule.last_time, schedule.last_success), (Some(1_767_225_600), Some(1_767_312_300), None));
        assert_eq!(schedule.active.iter().map(JobId::as_str).collect::<Vec<_>>(), ["nightly-1-29456"]);
        assert!(!is_ours(&cron_job));
    }
}
