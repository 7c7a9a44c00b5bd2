//! The ids of Slurm's jobs: which of those that a client may send can be one, and which one a record is shown under.

use crate::domain::{InvalidName, JobId};

/// An id that Slurm's commands take: a job or a whole array (`123`), a task (`123_4`), some tasks (`123_[1-3,7]`), a component of a
/// heterogeneous job (`123+1`), or an id that is unique among clusters (`sESXM8N04SF500`, a SLUID, from Slurm 25.11 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobRef<'a>(&'a str);

impl<'a> JobRef<'a> {
    /// The id, where it can be one of Slurm's.
    pub(super) fn new(id: &'a JobId) -> Option<Self> {
        let text = id.as_str();
        let is_valid = match text.split_once(['_', '+']) {
            Some((job, part)) if text.contains("_[") => is_number(job) && ranges(part).is_some(),
            Some((job, part)) => is_number(job) && is_number(part),
            None => is_number(text) || is_sluid(text),
        };
        (is_valid && !text.starts_with('0')).then_some(Self(text))
    }

    /// The id for reads. Each command interprets a list of tasks differently, so that they query the whole array.
    pub(super) fn read_as(self) -> &'a str {
        match self.0.split_once("_[") {
            Some((array, _)) => array,
            None => self.0,
        }
    }

    /// Whether this names jobs in a form that the REST API does not know: some tasks, or by a SLUID.
    pub(super) fn is_for_commands(self) -> bool {
        self.0.contains("_[") || is_sluid(self.0)
    }

    /// Whether a record is shown under the id of a task that is on the list, where this is a list of tasks; nothing where it is none.
    fn lists(self, id: &JobId) -> Option<bool> {
        let (array, _) = self.0.split_once("_[")?;
        let task = id.as_str().strip_prefix(array)?.strip_prefix('_')?.parse::<u32>().ok();
        let ranges = ranges(&self.0[array.len() + 1..])?;
        Some(task.is_some_and(|task| ranges.iter().any(|(first, last)| (*first..=*last).contains(&task))))
    }

    /// The id as the commands take it.
    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether a record of this id answers to a question for this one: the job itself, or a part of it.
    pub(super) fn covers(self, id: &JobId) -> bool {
        if self.is_for_commands() {
            // The tasks that wait share the record of their array, which may hold some of these.
            return is_sluid(self.0) || self.lists(id).unwrap_or(id.as_str() == self.read_as());
        }
        id.as_str().strip_prefix(self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '+']))
    }

    /// The task of an array that this names, and no other.
    pub(super) fn task(self) -> Option<u32> {
        self.0.split_once('_').and_then(|(_, task)| task.parse().ok())
    }

    /// The id of the job or array that this is, or is a part of.
    pub(super) fn whole(self) -> &'a str {
        self.0.split_once(['_', '+']).map_or(self.0, |(whole, _)| whole)
    }

    /// Whether a record that is shown under `id`, and has `number` of its own, is meant by a question for this job. Slurm answers a
    /// question for one component with all of them.
    pub(super) fn means(self, id: &JobId, number: Option<u64>) -> bool {
        self.covers(id) || (self.is_whole() && number.is_some() && self.0.parse().ok() == number)
    }

    /// Whether this names a job or an array, and no part of one.
    pub(super) fn is_whole(self) -> bool {
        !self.0.contains(['_', '+'])
    }

    /// Whether this names one component of a heterogeneous job.
    pub(super) fn is_component(self) -> bool {
        self.0.contains('+')
    }
}

/// The ranges of `[1-3,7]`; nothing where the text is no such list.
fn ranges(text: &str) -> Option<Vec<(u32, u32)>> {
    let list = text.strip_prefix('[')?.strip_suffix(']')?;
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        (is_number(first) && is_number(last)).then(|| Some((first.parse().ok()?, last.parse().ok()?)))?
    };
    list.split(',').map(range).collect()
}

/// Whether the text is a SLUID: an `s` and 13 digits of Crockford's base 32.
fn is_sluid(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (byte.is_ascii_uppercase() && !b"ILOU".contains(&byte));
    text.len() == 14 && text.strip_prefix('s').is_some_and(|digits| digits.bytes().all(is_digit))
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
/// If it cannot be an id of Slurm's.
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
    fn some_tasks_and_sluids_are_ids_too() {
        let means = |asked: &str, shown: &str| JobRef::new(&id(asked)).unwrap().means(&id(shown), Some(12));
        for (shown, expected) in
            [("12_1", true), ("12_3", true), ("12_4", false), ("12_7", true), ("12", true), ("13_1", false), ("12_70", false)]
        {
            assert_eq!(means("12_[1-3,7]", shown), expected, "{shown}");
        }
        assert!(means("sESXM8N04SF500", "12"));
        assert_eq!(JobRef::new(&id("12_[1-3,7]")).unwrap().read_as(), "12");
        for text in ["12_[]", "12_[a]", "12_[1-]", "12_[1", "12+[1]", "sESXM8N04SF50", "sESXM8N04SF50U"] {
            assert_eq!(JobRef::new(&id(text)), None, "{text}");
        }
    }

    #[test]
    fn steps_and_ids_of_other_schedulers_are_not() {
        for text in ["1[2].srv", "12.batch", "1_", "abc", "1_2_3", "12345678901", "4294967294", "4294968234", "0", "0123", "1_4294967296"] {
            assert_eq!(JobRef::new(&id(text)), None, "{text}");
        }
    }

    #[test]
    fn a_question_for_a_part_means_that_part_alone() {
        let means = |asked: &str, shown: &str, number| JobRef::new(&id(asked)).unwrap().means(&id(shown), number);
        assert!(means("40", "40+1", Some(41)) && means("40+1", "40+1", Some(41)) && means("41", "40+1", Some(41)));
        assert!(!means("40+1", "40+0", Some(40)) && !means("40+7", "40+0", Some(40)) && !means("42", "40+1", None));
        assert!(means("36_5", "36_5", None) && !means("36_5", "36_50", None) && !means("36_5", "36", Some(36)));
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
