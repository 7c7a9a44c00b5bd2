//! Indices of the tasks of an array: as clients write them, and as a Job's status does.

use std::fmt::Write;

use crate::domain::ArrayIndices;
use crate::scheduler::SchedulerError;

/// The most tasks of an array.
const MAX_TASKS: u32 = 10_000;

/// What an array is in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tasks {
    /// How many tasks there are, numbered from 0.
    pub(super) count: u32,
    /// How many run at a time.
    pub(super) at_a_time: u32,
}

impl Tasks {
    /// Reads `0-9` or `0-9%4`.
    ///
    /// # Errors
    /// When the indices are others than all from 0 to a last one.
    pub(super) fn read(indices: &ArrayIndices) -> Result<Self, SchedulerError> {
        let refused = |reason| SchedulerError::member("array", reason);
        let (list, limit) = indices.as_str().split_once('%').map_or((indices.as_str(), None), |(list, limit)| (list, Some(limit)));
        let last = if list == "0" { Some("0") } else { list.strip_prefix("0-") };
        let last: Option<u32> = last.and_then(|last| last.parse().ok());
        let count =
            last.ok_or_else(|| refused("write all indices from 0, such as 0-9, and %4 behind them for at most 4 tasks at a time"))?;
        if count >= MAX_TASKS {
            return Err(refused("an array has at most 10000 tasks"));
        }
        let limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(MAX_TASKS);
        Ok(Self { count: count + 1, at_a_time: limit.clamp(1, count + 1) })
    }
}

/// A set of indices, as the status of a Job has them: `1,3-5,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexSet(Vec<(i32, i32)>);

impl IndexSet {
    /// Reads such a set. What is no range counts as none.
    pub(super) fn read(text: &str) -> Self {
        let range = |item: &str| match item.split_once('-') {
            Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
            None => item.parse().ok().map(|index| (index, index)),
        };
        Self(text.split(',').filter_map(range).collect())
    }

    /// Whether it has an index.
    pub(super) fn contains(&self, index: i32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }
}

/// Groups ascending indices into ranges.
pub(super) fn ranges(indices: impl IntoIterator<Item = i32>) -> Vec<(i32, i32)> {
    let mut found: Vec<(i32, i32)> = Vec::new();
    for index in indices {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => found.push((index, index)),
        }
    }
    found
}

/// The id of a task, or of several that have not begun, as Slurm writes them: `name_3`, `name_[4-9]`.
pub(super) fn task_id(name: &str, (first, last): (i32, i32)) -> String {
    let mut id = format!("{name}_");
    // Writing to a text does not fail.
    let _ = if first == last { write!(id, "{first}") } else { write!(id, "[{first}-{last}]") };
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_begin_at_zero_and_have_all_indices() {
        let read = |text: &str| Tasks::read(&ArrayIndices::new(text).unwrap()).ok().map(|tasks| (tasks.count, tasks.at_a_time));
        assert_eq!(read("0"), Some((1, 1)));
        assert_eq!(read("0-9"), Some((10, 10)));
        assert_eq!(read("0-9%4"), Some((10, 4)));
        assert_eq!(read("0-1%4"), Some((2, 2)));
        assert_eq!(read("0-9999"), Some((10_000, 10_000)));
        for text in ["1-9", "0,2", "0-9:2", "5", "0-10000", "0-3,4-9"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn sets_of_a_status_are_read() {
        let set = IndexSet::read("1,3-5,7");
        assert_eq!((0..9).filter(|index| set.contains(*index)).collect::<Vec<_>>(), [1, 3, 4, 5, 7]);
        assert!(!IndexSet::read("").contains(0));
    }

    #[test]
    fn tasks_that_wait_are_told_together() {
        assert_eq!(ranges([0, 1, 2, 5, 7, 8]), [(0, 2), (5, 5), (7, 8)]);
        assert_eq!(task_id("a", (3, 3)), "a_3");
        assert_eq!(task_id("a", (4, 9)), "a_[4-9]");
    }
}
