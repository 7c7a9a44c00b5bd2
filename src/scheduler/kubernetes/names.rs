//! Names of jobs in Kubernetes, their ids in the API, and the labels and annotations that Goldcrest writes.

use k8s_openapi::api::batch::v1::Job;

use crate::domain::JobId;
use crate::scheduler::{SchedulerError, SubmissionKey};

/// Says that an object is Goldcrest's (Kubernetes' recommended labels).
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(super) const GOLDCREST: &str = "goldcrest";

/// Selects the objects that are Goldcrest's.
pub(super) const OURS: &str = "app.kubernetes.io/managed-by=goldcrest";

/// The label by which the Job controller marks the pods of a Job.
pub(super) const POD_JOB: &str = "batch.kubernetes.io/job-name";
/// The annotation by which it numbers the pods of an indexed Job.
pub(super) const POD_INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The one container of a pod.
pub(super) const CONTAINER: &str = "job";

/// Annotations.
pub(super) const USER: &str = "goldcrest/user";
pub(super) const JOB_NAME: &str = "goldcrest/name";
pub(super) const PROFILE: &str = "goldcrest/profile";
pub(super) const ACCOUNT: &str = "goldcrest/account";
/// The digest of the request that an `Idempotency-Key` stands for.
pub(super) const REQUEST: &str = "goldcrest/request";
/// Who cancelled the job.
pub(super) const CANCELLED_BY: &str = "goldcrest/cancelled-by";
/// Why the job was ended although Kubernetes would go on trying.
pub(super) const GIVEN_UP: &str = "goldcrest/given-up";

/// The longest readable part of a name.
const MAX_READABLE: usize = 30;

/// A name for a job without a key: the valid characters of its own name, and random digits.
pub(super) fn fresh_name(name: Option<&str>) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let readable = readable(name.unwrap_or_default(), MAX_READABLE);
    let readable = if readable.is_empty() { "job" } else { &readable };
    format!("{readable}-{}", &random[..12])
}

/// The job name for a key. It lies in the user's own namespace, so no other user can take it.
pub(super) fn name_of(key: &SubmissionKey) -> String {
    format!("job-{}", key.name())
}

/// What a text leaves of itself in a name: `a-z`, `0-9` and single `-` between them.
pub(super) fn readable(text: &str, max: usize) -> String {
    let mut name = String::with_capacity(max);
    for character in text.chars() {
        let character = character.to_ascii_lowercase();
        if character.is_ascii_alphanumeric() {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() >= max {
            break;
        }
    }
    name.trim_end_matches('-').to_owned()
}

/// Whether a Job was made by Goldcrest.
pub(super) fn is_ours(job: &Job) -> bool {
    job.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|value| value == GOLDCREST)
}

/// Whether a text is a name as Kubernetes has them (a DNS label, RFC 1123).
pub(super) fn is_name(text: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && is_edge(text.chars().next())
        && is_edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A job, or a task of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobRef<'a> {
    /// The name of the Job.
    pub(super) name: &'a str,
    /// The index of the task.
    pub(super) task: Option<i32>,
}

impl<'a> JobRef<'a> {
    /// Reads `name` or `name_3`.
    ///
    /// # Errors
    /// [`SchedulerError::JobNotFound`] where no job has such an id.
    pub(super) fn read(id: &'a JobId) -> Result<Self, SchedulerError> {
        let (name, task) = match id.as_str().split_once('_') {
            Some((name, task)) => (name, Some(index(task).ok_or(SchedulerError::JobNotFound)?)),
            None => (id.as_str(), None),
        };
        if is_name(name) { Ok(Self { name, task }) } else { Err(SchedulerError::JobNotFound) }
    }
}

fn index(text: &str) -> Option<i32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_are_names_in_kubernetes() {
        for name in [None, Some(""), Some("My Job!"), Some("--"), Some("ÄÖÜ"), Some(&*"x".repeat(255)), Some("9 lives")] {
            let fresh = fresh_name(name);
            assert!(is_name(&fresh), "{name:?}: {fresh}");
            assert!(fresh.len() <= 50, "{fresh}");
        }
        assert!(fresh_name(Some("My Job!")).starts_with("my-job-"));
        assert_ne!(fresh_name(Some("a")), fresh_name(Some("a")));
        assert_eq!(name_of(&SubmissionKey::new(&[0xab; 16], &[0; 32])), format!("job-{}", "ab".repeat(16)));
    }

    #[test]
    fn ids_name_jobs_and_tasks_and_nothing_else() {
        let read = |text: &str| JobRef::read(&JobId::new(text).unwrap()).map(|job| (job.name.to_owned(), job.task)).ok();
        assert_eq!(read("sim-0a1b"), Some(("sim-0a1b".to_owned(), None)));
        assert_eq!(read("sim-0a1b_7"), Some(("sim-0a1b".to_owned(), Some(7))));
        for text in ["A", "a.b", "a_", "a_01", "a_-1", "a_1_2", "a_99999999999", "a-", &"a".repeat(64)] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
