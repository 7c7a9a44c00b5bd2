//! Putting together what the controller and accounting say of the same jobs.

use std::collections::BTreeMap;

use super::job_ref::sort_key;
use super::values::is_finished;
use crate::domain::Job;

/// One list of both, in the order of the ids. Of a job that both know, the controller's word is newer and its texts are
/// whole (accounting replaces some characters); accounting adds what the controller does not keep.
pub(super) fn merge(queued: Vec<Job>, accounted: Vec<Job>) -> Vec<Job> {
    let mut jobs: BTreeMap<_, Job> = BTreeMap::new();
    for job in accounted {
        jobs.insert(key(&job), job);
    }
    for job in queued {
        let key = key(&job);
        let job = match jobs.remove(&key) {
            Some(accounted) => complete(job, accounted),
            None => job,
        };
        jobs.insert(key, job);
    }
    jobs.into_values().collect()
}

/// Whether a job belongs into a list that reaches back to `since`, in Unix seconds: it still goes on, or ended later.
pub(super) fn is_recent(job: &Job, since: i64) -> bool {
    !is_finished(&job.status.state) || job.times.end.is_none_or(|end| end >= since)
}

fn key(job: &Job) -> ((u64, u64), String) {
    (sort_key(&job.id), job.id.as_str().to_owned())
}

fn complete(queued: Job, accounted: Job) -> Job {
    let cancelled = queued.status.state == "CANCELLED";
    let mut times = queued.times;
    times.suspended = times.suspended.or(accounted.times.suspended);
    Job {
        steps: accounted.steps,
        cluster: accounted.cluster,
        group: queued.group.or(accounted.group),
        user: queued.user.or(accounted.user),
        account: queued.account.or(accounted.account),
        priority: queued.priority.or(accounted.priority),
        kill_request_user: accounted.kill_request_user.filter(|_| cancelled),
        times,
        ..queued
    }
}
