//! The events that a reader selects.

use std::collections::BTreeSet;

use crate::domain::JobId;

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
            Self::Jobs(ids) => ids.contains(id) || ids.iter().any(|wanted| JobId::covers(wanted, id)),
        }
    }
}
