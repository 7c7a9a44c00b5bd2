//! Limits on the concurrent work of one user, on all clusters together.
//!
//! A permit is taken when work begins and released when it has ended, however it ends: it is kept until the last byte of the response,
//! and by work that continues without its client.

mod slow_clients;
mod user_limit;

use futures::stream::{BoxStream, Stream, StreamExt};

use super::ServiceError;
use crate::domain::Username;
use slow_clients::SlowClients;

pub(super) use user_limit::{UserLimit, UserPermit};

/// The maximum number of files and tasks that one user follows at a time. Each file is open on a cluster until the user's token ends.
const MAX_FOLLOWED_PER_USER: u64 = 16;

/// The maximum number of transfers by the share links of one user.
const MAX_LINKED_PER_USER: u64 = 8;

/// The memory limit for the unread responses of one user, in bytes.
const MAX_READY_PER_USER: u64 = 64 * 1024 * 1024;

/// The memory limit for the unread responses of all users together, in bytes.
const MAX_READY: u64 = 256 * 1024 * 1024;

/// The bounds that a site sets for each user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserBounds {
    /// Requests, to the last byte of their answers.
    pub requests: u64,
    /// Of those, the ones that move contents of files, or entries as a stream: as many as a user has channels on one cluster by default.
    pub transfers: u64,
    /// Tasks that have not ended.
    pub tasks: u64,
}

impl Default for UserBounds {
    fn default() -> Self {
        Self { requests: 512, transfers: 32, tasks: 16 }
    }
}

/// The work under way, by user.
#[derive(Clone)]
pub(super) struct UserLimits {
    pub(super) requests: UserLimit,
    transfers: UserLimit,
    followed: UserLimit,
    pub(super) commands: UserLimit,
    pub(super) ready: UserLimit,
    /// Unlimited: tasks and share links have limits of their own.
    pub(super) background: UserLimit,
    /// Transfers of whoever follows the share links of a user.
    linked: UserLimit,
    /// The clients of those.
    linked_clients: SlowClients,
    /// Tasks of one user that have not ended.
    pub(super) max_tasks: u64,
    slow_clients: SlowClients,
}

impl Default for UserLimits {
    fn default() -> Self {
        let UserBounds { requests, transfers, tasks } = UserBounds::default();
        Self {
            requests: UserLimit::new(requests, u64::MAX),
            transfers: UserLimit::new(transfers, u64::MAX),
            followed: UserLimit::new(MAX_FOLLOWED_PER_USER, u64::MAX),
            // Each system has a bound of its own.
            commands: UserLimit::new(1, u64::MAX),
            ready: UserLimit::new(MAX_READY_PER_USER, MAX_READY),
            background: UserLimit::new(u64::MAX, u64::MAX),
            linked: UserLimit::new(MAX_LINKED_PER_USER, u64::MAX),
            linked_clients: SlowClients::default(),
            max_tasks: tasks,
            slow_clients: SlowClients::default(),
        }
    }
}

impl UserLimits {
    /// The same limits with other bounds: work under way continues, further work has the new bounds.
    pub(super) fn with_bounds(&self, bounds: UserBounds) -> Self {
        let (requests, transfers) = (self.requests.with_bound(bounds.requests), self.transfers.with_bound(bounds.transfers));
        Self { requests, transfers, max_tasks: bounds.tasks, ..self.clone() }
    }

    /// The limits of whoever follows the share links of a user who has this many channels: what they do is no transfer of the user's own, and leaves
    /// the user most of the channels.
    pub(super) fn of_links(&self, channels: usize) -> Self {
        let share = u64::try_from(channels / 4).unwrap_or(u64::MAX).clamp(1, MAX_LINKED_PER_USER);
        Self { transfers: self.linked.with_bound(share), slow_clients: self.linked_clients.clone(), ..self.clone() }
    }
}

/// A user and the limits that apply.
#[derive(Clone, Copy)]
pub(super) struct LimitedUser<'a> {
    pub(super) limits: &'a UserLimits,
    pub(super) username: &'a Username,
}

/// The permit for one transfer of a user, released when dropped.
pub(super) struct TransferPermit(#[expect(dead_code, reason = "it is released when dropped")] UserPermit);

impl TransferPermit {
    /// Takes a permit for one transfer of the caller.
    ///
    /// # Errors
    /// If the caller has reached the limit.
    pub(super) fn take<'a>(caller: impl Into<LimitedUser<'a>>) -> Result<Self, ServiceError> {
        let LimitedUser { limits: UserLimits { transfers: limit, .. }, username } = caller.into();
        limit.take(username, 1).map(Self).ok_or_else(|| {
            let message = format!(
                "you have {} transfers under way (uploads, downloads, archives, streams of entries, followed files), the limit of one \
                 user (server.max_transfers_per_user): wait for one of them, or end it, before another one",
                limit.per_user()
            );
            ServiceError::TooMany(message.into())
        })
    }
}

/// The permit for a transfer to the caller, which the content keeps.
pub(super) struct OutgoingTransfer {
    permit: TransferPermit,
    clients: SlowClients,
    user: Username,
}

impl OutgoingTransfer {
    /// The same content, which counts for the caller until it is dropped.
    pub(super) fn carry<S: Stream + Send + Unpin + 'static>(self, content: S) -> BoxStream<'static, S::Item> {
        let Self { permit, clients, user } = self;
        clients.watch(&user, content).inspect(move |_| _ = &permit).boxed()
    }
}

impl LimitedUser<'_> {
    /// Waits for `opening`, which opens content for the user, who has this many channels, and returns its result with the permit to send
    /// it on.
    ///
    /// # Errors
    /// If the user has reached the limit of transfers or of unread transfers; or the errors of `opening`.
    pub(super) async fn transfer<T, E>(
        self,
        channels: usize,
        opening: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, OutgoingTransfer), ServiceError>
    where
        ServiceError: From<E>,
    {
        let permit = TransferPermit::take(self)?;
        let (clients, user) = (self.limits.slow_clients.clone(), self.username.clone());
        let opened = clients.admit(&user, channels, opening).await?;
        Ok((opened, OutgoingTransfer { permit, clients, user }))
    }
}

/// The permit to follow a file, or a task, released when dropped.
pub(super) struct FollowPermit {
    _followed: UserPermit,
    /// A followed file is one of the transfers; the state of a task is not.
    _transfer: Option<TransferPermit>,
}

impl FollowPermit {
    /// Takes a permit to follow a file for the caller.
    ///
    /// # Errors
    /// If the caller has reached the limit of what is followed, or that of transfers.
    pub(super) fn of_file<'a>(caller: impl Into<LimitedUser<'a>>) -> Result<Self, ServiceError> {
        let caller = caller.into();
        Ok(Self { _transfer: Some(TransferPermit::take(caller)?), ..Self::of_task(caller)? })
    }

    /// Takes a permit to follow a task for the caller.
    ///
    /// # Errors
    /// If the caller has reached the limit of what is followed.
    pub(super) fn of_task(caller: LimitedUser<'_>) -> Result<Self, ServiceError> {
        let followed = caller.limits.followed.take(caller.username, 1).ok_or_else(|| {
            let message =
                format!("you follow {MAX_FOLLOWED_PER_USER} files and tasks, the limit of one user: end one of them before another one");
            ServiceError::TooMany(message.into())
        })?;
        Ok(Self { _followed: followed, _transfer: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_is_followed_however_many_transfers_are_under_way_and_a_file_is_not() {
        let limits = UserLimits::default().with_bounds(UserBounds { transfers: 1, ..UserBounds::default() });
        let ada = Username::new("ada").unwrap();
        let caller = LimitedUser { limits: &limits, username: &ada };
        let _transfer = TransferPermit::take(caller).unwrap();
        assert!(FollowPermit::of_file(caller).is_err());
        let followed: Vec<_> = (0..MAX_FOLLOWED_PER_USER).map(|_| FollowPermit::of_task(caller).unwrap()).collect();
        assert!(FollowPermit::of_task(caller).is_err());
        drop(followed);
        assert!(FollowPermit::of_task(caller).is_ok());
    }
}
