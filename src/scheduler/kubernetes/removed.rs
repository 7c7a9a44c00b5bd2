//! Jobs that somebody removed from the cluster before they had ended, as they are shown from then on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as KubernetesJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::RwLock;
use tokio::time::{Duration, Instant};

use super::state::Observed;
use super::view::end;
use crate::domain::Job;

/// For how long such a job is shown, and how many are kept of all users.
const RETENTION: Duration = Duration::from_secs(3600);
const MAX_KEPT: usize = 10_000;

/// The removed jobs of all users.
#[derive(Default)]
pub(super) struct RemovedJobs(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    /// By namespace and name; an array has several rows.
    jobs: BTreeMap<(String, String), (Instant, Vec<Job>)>,
    /// In the order of their removal, with its time.
    order: VecDeque<(Instant, (String, String))>,
}

impl RemovedJobs {
    /// Keeps a job, unless it is not to be shown.
    pub(super) fn add(&self, namespace: &str, name: &str, rows: Vec<Job>) {
        let (now, mut kept) = (Instant::now(), self.0.write());
        let key = (namespace.to_owned(), name.to_owned());
        if kept.jobs.get(&key).is_some_and(|(at, rows)| rows.is_empty() && !is_past(*at)) {
            return;
        }
        while kept.order.len() >= MAX_KEPT || kept.order.front().is_some_and(|(at, _)| is_past(*at)) {
            let Some((at, key)) = kept.order.pop_front() else { break };
            // One of the same name may have been removed since.
            if kept.jobs.get(&key).is_some_and(|(kept_at, _)| *kept_at == at) {
                kept.jobs.remove(&key);
            }
        }
        kept.order.push_back((now, key.clone()));
        kept.jobs.insert(key, (now, rows));
    }

    /// Shows nothing of a job, whose removal is reported now or later.
    pub(super) fn hide(&self, namespace: &str, name: &str) {
        self.add(namespace, name, Vec::new());
    }

    /// The jobs of a namespace but those of these names, which were made again.
    pub(super) fn of(&self, namespace: &str, is_there: impl Fn(&str) -> bool) -> Vec<Job> {
        let kept = self.0.read();
        let from = kept.jobs.range((namespace.to_owned(), String::new())..);
        let of_namespace = from.take_while(|((of, _), _)| of == namespace);
        let shown = of_namespace.filter(|((_, name), (at, _))| !is_past(*at) && !is_there(name));
        shown.flat_map(|(_, (_, rows))| rows).cloned().collect()
    }

    /// One job; no row where it is not there.
    pub(super) fn one(&self, namespace: &str, name: &str) -> Vec<Job> {
        let kept = self.0.read();
        let found = kept.jobs.get(&(namespace.to_owned(), name.to_owned())).filter(|(at, _)| !is_past(*at));
        found.map(|(_, rows)| rows.clone()).unwrap_or_default()
    }
}

/// What is shown from now on of a Job that was removed; nothing where it had ended before.
pub(super) fn rows(job: &KubernetesJob, pods: Vec<Arc<Pod>>) -> Vec<Job> {
    if end(job).is_some() {
        return Vec::new();
    }
    let mut job = job.clone();
    job.metadata.deletion_timestamp.get_or_insert_with(|| Time(jiff::Timestamp::now()));
    Observed::new(vec![Arc::new(job)], pods).to_jobs()
}

fn is_past(at: Instant) -> bool {
    at.elapsed() >= RETENTION
}

#[cfg(test)]
mod tests {
    use super::super::view::REMOVED;
    use super::*;
    use crate::domain::JobId;

    #[test]
    fn a_removed_job_is_cancelled_and_one_that_had_ended_is_shown_no_more() {
        let job = |status: &str| -> KubernetesJob {
            serde_json::from_str(&format!(r#"{{"metadata": {{"name": "sim-1"}}, "spec": {{"template": {{}}}}, "status": {status}}}"#))
                .unwrap()
        };
        let shown = rows(&job("{}"), Vec::new()).remove(0);
        assert_eq!((shown.status.state.as_str(), shown.status.reason.as_deref()), ("CANCELLED", Some(REMOVED)));
        assert!(shown.times.end.is_some());
        let complete = r#"{"conditions": [{"type": "Complete", "status": "True"}]}"#;
        assert_eq!(rows(&job(complete), Vec::new()), []);
    }

    fn names(jobs: Vec<Job>) -> Vec<String> {
        jobs.into_iter().map(|job| job.id.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn removed_jobs_are_shown_to_their_namespace_for_a_while_unless_they_were_made_again() {
        let removed = RemovedJobs::default();
        for (namespace, name) in [("a", "x"), ("a", "y"), ("a-b", "x"), ("b", "z")] {
            removed.add(namespace, name, vec![Job::new(JobId::new(name).unwrap(), "CANCELLED")]);
        }
        assert_eq!(names(removed.of("a", |_| false)), ["x", "y"]);
        assert_eq!(names(removed.of("a", |name| name == "x")), ["y"]);
        assert_eq!((names(removed.one("b", "z")), names(removed.one("b", "x"))), (vec!["z".to_owned()], vec![]));
        tokio::time::advance(RETENTION / 2).await;
        removed.add("a", "x", vec![Job::new(JobId::new("x").unwrap(), "CANCELLED")]);
        tokio::time::advance(RETENTION / 2).await;
        assert_eq!(names(removed.of("a", |_| false)), ["x"]);
        removed.hide("a", "x");
        removed.add("a", "x", vec![Job::new(JobId::new("x").unwrap(), "CANCELLED")]);
        assert_eq!((names(removed.of("a", |_| false)), names(removed.one("a", "x"))), (vec![], vec![]));
        for number in 0..=MAX_KEPT {
            removed.add("c", &number.to_string(), vec![Job::new(JobId::new("c").unwrap(), "CANCELLED")]);
        }
        assert_eq!((removed.of("a", |_| false).len(), removed.of("c", |_| false).len()), (0, MAX_KEPT));
    }
}
