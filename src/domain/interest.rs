//! The users and the jobs that must be observed.

use async_trait::async_trait;

use super::{JobId, SystemName, Username};

/// Names the users whose jobs are watched although no client of theirs does. Whoever watches jobs asks at each round; an answer that could not be
/// had is an empty one, and the next round asks again.
#[async_trait]
pub trait Interest: Send + Sync {
    /// The owners of jobs on this system.
    async fn users(&self, system: &SystemName) -> Vec<Username>;

    /// The single jobs of this user on this system, or of all users if absent, whose end is reported even if they ended before observation began.
    async fn jobs(&self, system: &SystemName, user: Option<&Username>) -> Vec<JobId>;
}
