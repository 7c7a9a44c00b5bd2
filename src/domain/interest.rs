//! The users and the jobs that must be observed.

use async_trait::async_trait;

use super::{JobId, SystemName, Username};

/// Names the users whose jobs are observed although no client of theirs watches them. The mirror queries it in each round.
#[async_trait]
pub trait Interest: Send + Sync {
    /// The users on this system; `None` if they could not be read.
    async fn users(&self, system: &SystemName) -> Option<Vec<Username>>;

    /// The single jobs of this user on this system, or of all users if absent, whose end is reported even if they ended before observation began.
    async fn jobs(&self, system: &SystemName, user: Option<&Username>) -> Vec<JobId>;
}
