//! The users whose jobs must be observed.

use async_trait::async_trait;

use super::{SystemName, Username};

/// Tells whose jobs are to be watched although nobody looks at them at present. Whoever watches jobs asks at each round; an answer that could not be
/// had is an empty one, and the next round asks again.
#[async_trait]
pub trait Interest: Send + Sync {
    /// The owners of jobs on this system.
    async fn users(&self, system: &SystemName) -> Vec<Username>;
}
