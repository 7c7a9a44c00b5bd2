//! Following files as they grow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::StreamExt;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::domain::Username;
use crate::filesystem::{FollowFrom, FollowStream};

use super::{Access, ServiceError};

/// The most files that one user follows at a time, on all clusters. Each keeps a file open on a cluster.
const MOST: usize = 16;

/// Who follows how many files.
#[derive(Clone, Default)]
pub struct Followers(Arc<Mutex<HashMap<Username, usize>>>);

/// The place of one file that is followed; given back when dropped.
struct Seat {
    followers: Followers,
    user: Username,
}

impl Followers {
    fn take(&self, user: &Username) -> Option<Seat> {
        let mut seats = self.seats();
        let taken = seats.entry(user.clone()).or_default();
        if *taken >= MOST {
            return None;
        }
        *taken += 1;
        drop(seats);
        Some(Seat { followers: self.clone(), user: user.clone() })
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Username, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.followers.seats();
        if let Some(taken) = seats.get_mut(&self.user) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.user);
            }
        }
    }
}

/// Follows a file, until the caller's token ends: then the stream ends too.
///
/// # Errors
/// When the caller follows too many files already, the path breaks the policy, or the cluster does not let it be read.
pub async fn follow(access: &Access, followers: &Followers, path: &str, from: FollowFrom) -> Result<FollowStream, ServiceError> {
    let path = access.path(path).await?;
    let files = access.cluster().files()?;
    let principal = access.principal();
    let seat = followers.take(&principal.username).ok_or(ServiceError::TooMany("you follow as many files as one user may"))?;
    let happening = files.follow(principal, &path, from).await?;
    let left = principal.expires_at.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    let end = sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0)));
    Ok(happening.take_until(end).inspect(move |_| _ = &seat).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_seats_and_leaves_them_to_nobody_else() {
        let (followers, ada, bob) = (Followers::default(), Username::new("ada").unwrap(), Username::new("bob").unwrap());
        let mut seats: Vec<Seat> = (0..MOST).map(|_| followers.take(&ada).unwrap()).collect();
        assert!(followers.take(&ada).is_none());
        assert!(followers.take(&bob).is_some());
        seats.pop();
        assert!(followers.take(&ada).is_some());
        drop(seats);
        assert!(followers.seats().is_empty());
    }
}
