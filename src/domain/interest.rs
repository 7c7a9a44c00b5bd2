//! The users whose jobs must be observed.

use async_trait::async_trait;

use super::{SystemName, Username};

/// Names the users whose jobs are watched although no client of theirs does. Whoever watches jobs asks at each round; an answer that could not be
/// had is an empty one, and the next round asks again.
#[async_trait]
pub trait Interest: Send + Sync {
    /// The owners of jobs on this system.
    async fn users(&self, system: &SystemName) -> Vec<Username>;
}
