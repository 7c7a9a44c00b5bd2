//! The users whose jobs must be observed.

use async_trait::async_trait;

use super::{SystemName, Username};

/// Names the users whose jobs are observed although no client of theirs watches them. The mirror queries it in each round.
#[async_trait]
pub trait Interest: Send + Sync {
    /// The users on this system; `None` if they could not be read.
    async fn users(&self, system: &SystemName) -> Option<Vec<Username>>;
}
