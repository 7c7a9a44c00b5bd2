//! The events that a reader selects.

use std::collections::BTreeSet;

/// The events that a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The events of the jobs of the user with this login name.
    Owner(String),
    /// The events of the jobs with these ids and of their parts.
    Jobs(BTreeSet<String>),
}

impl Selection {
    /// The events of these jobs.
    pub fn jobs<T: Into<String>>(ids: impl IntoIterator<Item = T>) -> Self {
        Self::Jobs(ids.into_iter().map(Into::into).collect())
    }

    /// Whether an event of a job with this id and owner is selected.
    pub(super) fn selects(&self, id: &str, owner: &str) -> bool {
        match self {
            Self::Owner(wanted) => wanted == owner,
            Self::Jobs(ids) => ids.contains(id) || ids.iter().any(|wanted| concerns(wanted, id)),
        }
    }
}

/// Whether a selection of the job `asked` includes `id`: the same job, a task of the array (`123_4` of `123`), a component (`123+1`), a
/// subjob (`123[4].server` of `123[].server`), or the same with the server's name (`123.server` of `123`).
pub(super) fn concerns(asked: &str, id: &str) -> bool {
    let (asked_stem, asked_rest) = cut(asked);
    let (stem, rest) = cut(id);
    asked == id || (asked_stem == stem && (asked_rest.is_empty() || (is_array(asked_rest) && is_subjob(rest))))
}

/// The number of a job, and the rest of its id.
fn cut(id: &str) -> (&str, &str) {
    id.split_at(id.find(['_', '+', '[', '.']).unwrap_or(id.len()))
}

/// `[]` or `[].server`.
fn is_array(rest: &str) -> bool {
    rest.starts_with("[]")
}

fn is_subjob(rest: &str) -> bool {
    rest.starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_job_has_its_parts_and_a_part_has_no_others() {
        for (asked, id) in [("12", "12"), ("12", "12_3"), ("12", "12+1"), ("12", "12.srv"), ("12[].srv", "12[3].srv"), ("12", "12[].srv")] {
            assert!(concerns(asked, id), "{asked} {id}");
        }
        for (asked, id) in
            [("12", "123"), ("12_3", "12"), ("12_3", "12_31"), ("12.srv", "12[1].srv"), ("12[1].srv", "12[].srv"), ("1", "12_1")]
        {
            assert!(!concerns(asked, id), "{asked} {id}");
        }
    }
}
