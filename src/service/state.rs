//! State that outlives a request and its configuration: locks on uploads, the work under way of each user, and
//! counters.
//!
//! It lives as long as the process. State that replicas share is behind this type, and nowhere else in `service`. To add a part: a
//! field here, reached by [`Access::state`](super::Access::state).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::counts::{SystemCounts, TokenCounts};
use super::grep::Searches;
use super::limits::{UserBounds, UserLimits};
use super::links::Links;
use super::shared_follow::SharedFollows;
use super::streams::Streams;
use super::tasks::Tasks;
use super::upload_locks::UploadLocks;
use crate::domain::SystemName;
use crate::notify::Webhooks;

/// The state that outlives a request. Clones share it.
#[derive(Clone, Default)]
pub struct State {
    /// The locks on resumable uploads.
    pub(super) uploads: Arc<UploadLocks>,
    /// The work on uploads that goes on without its request: additions to resumable ones, and transfers through an object store that begin.
    pub(super) additions: TaskTracker,
    /// The work under way of each user.
    pub(super) limits: UserLimits,
    /// Searches in files under way.
    pub(super) searches: Searches,
    /// Outputs of jobs that are followed.
    pub(super) follows: SharedFollows,
    /// The counters of the outcomes of callers' tokens.
    pub(super) tokens: Arc<TokenCounts>,
    /// The transfers by the protocol of firecrest-streamer.
    pub(super) streams: Arc<Streams>,
    /// The webhooks of the users, if the site has webhooks.
    pub(super) webhooks: Option<Webhooks>,
    /// The tasks of the users, if the site has a store.
    pub(super) tasks: Option<Tasks>,
    /// The share links, if the site has some.
    pub(super) links: Option<Links>,
    /// The counters of each system, by its name.
    systems: Arc<Mutex<BTreeMap<SystemName, Arc<SystemCounts>>>>,
}

impl State {
    /// The same, with these bounds for each user from now on.
    pub(super) fn with_bounds(&self, bounds: UserBounds) -> Self {
        Self { limits: self.limits.with_bounds(bounds), ..self.clone() }
    }

    /// The same, with the limits of whoever follows the share links of a user who has this many channels.
    pub(super) fn of_links(&self, channels: usize) -> Self {
        Self { limits: self.limits.of_links(channels), ..self.clone() }
    }

    /// The same, with these webhooks.
    #[must_use]
    pub fn with_webhooks(self, webhooks: Option<Webhooks>) -> Self {
        Self { webhooks, ..self }
    }

    /// The same, with these tasks.
    #[must_use]
    pub fn with_tasks(self, tasks: Option<Tasks>) -> Self {
        Self { tasks, ..self }
    }

    /// The same, with these share links.
    #[must_use]
    pub fn with_links(self, links: Option<Links>) -> Self {
        Self { links, ..self }
    }

    /// Whether there are share links.
    pub fn has_share_links(&self) -> bool {
        self.links.is_some()
    }

    /// The transfers by the protocol of firecrest-streamer.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The counters of a system.
    pub(super) fn counts(&self, system: &SystemName) -> Arc<SystemCounts> {
        Arc::clone(self.systems.lock().entry(system.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Username;

    #[test]
    fn what_is_under_way_and_counted_goes_on_under_another_configuration() {
        let (before, ada, daint) = (State::default(), Username::new("ada").unwrap(), SystemName::new("daint").unwrap());
        let _request = before.limits.requests.take(&ada, 1).unwrap();
        let after = before.clone().with_bounds(UserBounds { requests: 1, transfers: 1, tasks: 1 });
        assert!(after.limits.requests.take(&ada, 1).is_none(), "a request that began before is not counted");
        assert!(Arc::ptr_eq(&before.counts(&daint), &after.counts(&daint)));
        assert!(Arc::ptr_eq(&before.uploads, &after.uploads) && Arc::ptr_eq(&before.tokens, &after.tokens));
    }
}
