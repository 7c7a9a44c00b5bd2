//! What one user may have under way, on all clusters together.
//!
//! Each bound is counted when work begins and given back when it has ended, however it ends: a permit goes with the answer to its last
//! byte, and with work that goes on without its client.

mod slow_clients;
mod user_limit;

use super::grep::Searches;
use super::ready::{MAX_READY, MAX_READY_PER_USER};
use super::{Access, ServiceError};
use slow_clients::SlowClients;

pub(super) use user_limit::{UserLimit, UserPermit};

/// The most files that one user follows at a time. Each is open on a cluster until the user's token ends.
const MAX_FOLLOWED_PER_USER: u64 = 16;

/// The bounds that a site sets for each user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserBounds {
    /// Requests, to the last byte of their answers.
    pub requests: u64,
    /// Of those, the ones that move contents of files, or entries as a stream: as many as a user has channels on one cluster by default.
    pub transfers: u64,
}

impl Default for UserBounds {
    fn default() -> Self {
        Self { requests: 512, transfers: 32 }
    }
}

/// What is under way, by the user.
#[derive(Clone)]
pub(super) struct Limits {
    pub(super) requests: UserLimit,
    transfers: UserLimit,
    followed: UserLimit,
    pub(super) commands: UserLimit,
    pub(super) searches: Searches,
    pub(super) ready: UserLimit,
    pub(super) slow_clients: SlowClients,
}

impl Default for Limits {
    fn default() -> Self {
        let UserBounds { requests, transfers } = UserBounds::default();
        Self {
            requests: UserLimit::new(requests, u64::MAX),
            transfers: UserLimit::new(transfers, u64::MAX),
            followed: UserLimit::new(MAX_FOLLOWED_PER_USER, u64::MAX),
            // Each system has a bound of its own.
            commands: UserLimit::new(1, u64::MAX),
            searches: Searches::default(),
            ready: UserLimit::new(MAX_READY_PER_USER, MAX_READY),
            slow_clients: SlowClients::default(),
        }
    }
}

impl Limits {
    /// What is under way goes on; further work has these bounds.
    pub(super) fn with_bounds(&self, bounds: UserBounds) -> Self {
        let (requests, transfers) = (self.requests.with_bound(bounds.requests), self.transfers.with_bound(bounds.transfers));
        Self { requests, transfers, ..self.clone() }
    }
}

/// Content that is on its way for its user until this is dropped.
pub(super) struct TransferPermit(#[expect(dead_code, reason = "what it holds is given back when it is dropped")] UserPermit);

impl TransferPermit {
    /// Leave to move content for the caller.
    ///
    /// # Errors
    /// When the caller has as much under way as one may.
    pub(super) fn take(access: &Access) -> Result<Self, ServiceError> {
        let limit = &access.state().limits.transfers;
        limit.take(&access.principal().username, 1).map(Self).ok_or_else(|| {
            let message = format!(
                "you have {} transfers under way (uploads, downloads, archives, streams of entries, followed files), the limit of one \
                 user (server.max_transfers_per_user): wait for one of them, or end it, before another one",
                limit.per_user()
            );
            ServiceError::TooMany(message.into())
        })
    }
}

/// A file that its user follows until this is dropped.
pub(super) struct FollowPermit {
    _followed: UserPermit,
    _transfer: TransferPermit,
}

impl FollowPermit {
    /// Leave to follow a file for the caller.
    ///
    /// # Errors
    /// When the caller follows, or moves, as much as one may.
    pub(super) fn take(access: &Access) -> Result<Self, ServiceError> {
        let followed = access.state().limits.followed.take(&access.principal().username, 1).ok_or_else(|| {
            let message = format!("you follow {MAX_FOLLOWED_PER_USER} files, the limit of one user: end one of them before another one");
            ServiceError::TooMany(message.into())
        })?;
        Ok(Self { _followed: followed, _transfer: TransferPermit::take(access)? })
    }
}
