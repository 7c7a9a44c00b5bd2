//! The ids of Slurm's jobs: which of those that a client may send can be one, and which one a record is shown under.

use crate::domain::{InvalidName, JobId};

/// An id that Slurm's commands take: a job or a whole array (`123`), a task (`123_4`), a component of a heterogeneous job
/// (`123+1`). Lists of tasks are left out on purpose: each command reads them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobRef<'a>(&'a str);

impl<'a> JobRef<'a> {
    /// The id, where it can be one of Slurm's.
    pub(super) fn new(id: &'a JobId) -> Option<Self> {
        let text = id.as_str();
        let (job, part) = match text.split_once(['_', '+']) {
            Some((job, part)) => (job, Some(part)),
            None => (text, None),
        };
        (!text.starts_with('0') && is_number(job) && part.is_none_or(is_number)).then_some(Self(text))
    }

    /// The id as the commands take it.
    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether a record of this id answers to a question for this one: the job itself, or a part of it.
    pub(super) fn covers(self, id: &JobId) -> bool {
        id.as_str().strip_prefix(self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '+']))
    }

    /// Whether a record that is shown under `id`, and has `number` of its own, is meant by a question for this job. Slurm answers a
    /// question for one component with all of them. A task that waits may share the record of its array.
    pub(super) fn means(self, id: &JobId, number: Option<u64>) -> bool {
        match self.0.split_once('_') {
            Some((array, _)) => id.as_str() == self.0 || id.as_str() == array,
            None => self.covers(id) || (number.is_some() && self.0.parse().ok() == number),
        }
    }

    /// Whether this names one component of a heterogeneous job.
    pub(super) fn is_component(self) -> bool {
        self.0.contains('+')
    }
}

/// Whether this can be the number of a job or of a part of it. Slurm's are of 32 bits, of which the two largest mean something else
/// (`NO_VAL`, `INFINITE`); of larger ones its commands take the lower bits alone, and mean another job.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_ok_and(|number| number < 0xffff_fffe)
}

/// The id that a record is shown under. The tasks of an array that still wait share one record (`123_[4-10%2]`), whose id
/// changes with every task that starts and which not every command takes back; they are shown under the array's own id, the
/// one that the submission answered.
///
/// # Errors
/// When it cannot be an id of Slurm's.
pub(super) fn shown_id(printed: &str) -> Result<JobId, InvalidName> {
    let id = match printed.split_once("_[") {
        Some((array, _)) => array,
        None => printed,
    };
    JobId::new(id)
}

/// The order in which people expect ids: by number, then by part.
pub(super) fn sort_key(id: &JobId) -> (u64, u64) {
    let mut parts = id.as_str().split(['_', '+']);
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        JobId::new(text).unwrap()
    }

    #[test]
    fn jobs_tasks_and_components_are_ids_of_slurm() {
        for text in ["1", "123_4", "123+1", "123_0", "4294967293"] {
            assert_eq!(JobRef::new(&id(text)).map(JobRef::as_str), Some(text));
        }
    }

    #[test]
    fn lists_steps_and_ids_of_other_schedulers_are_not() {
        for text in [
            "1[2].srv",
            "123_[1-4]",
            "12.batch",
            "1_",
            "abc",
            "1_2_3",
            "12345678901",
            "4294967294",
            "4294968234",
            "0",
            "0123",
            "1_4294967296",
        ] {
            assert_eq!(JobRef::new(&id(text)), None, "{text}");
        }
    }

    #[test]
    fn a_question_for_a_part_means_that_part_alone() {
        let means = |asked: &str, shown: &str, number| JobRef::new(&id(asked)).unwrap().means(&id(shown), number);
        assert!(means("40", "40+1", Some(41)) && means("40+1", "40+1", Some(41)) && means("41", "40+1", Some(41)));
        assert!(!means("40+1", "40+0", Some(40)) && !means("40+7", "40+0", Some(40)) && !means("42", "40+1", None));
        assert!(means("36_5", "36", Some(36)) && means("36_5", "36_5", None) && !means("36_5", "36_50", None));
    }

    #[test]
    fn waiting_tasks_are_shown_under_the_array() {
        assert_eq!(shown_id("123_[1-10%2]").unwrap(), id("123"));
        assert_eq!(shown_id("123_[1,3,5-7...]").unwrap(), id("123"));
        assert_eq!(shown_id("123_4").unwrap(), id("123_4"));
        assert!(shown_id("").is_err());
    }

    #[test]
    fn an_array_covers_its_tasks_and_no_job_that_starts_alike() {
        let array = id("12");
        let array = JobRef::new(&array).unwrap();
        assert!(array.covers(&id("12")) && array.covers(&id("12_3")) && array.covers(&id("12+0")));
        assert!(!array.covers(&id("123")) && !array.covers(&id("1")));
    }
}
