//! The right to one channel on a connection.

use std::sync::Arc;
use std::time::Duration;

use crate::ssh::connect::connection::Connection;
use crate::ssh::lease::lane_state::LaneState;
use crate::ssh::lease::leased::LeasedConnection;
use crate::ssh::stats::Closed;

/// The right to one channel. It is held until the server has closed the channel.
pub(crate) struct ChannelPermit {
    pub(crate) lane: Arc<LaneState>,
    leased: Arc<LeasedConnection>,
}

impl ChannelPermit {
    /// The right to one more channel on a connection of the lane.
    pub(crate) fn new(lane: &Arc<LaneState>, leased: Arc<LeasedConnection>) -> Self {
        leased.add_permit();
        Self { lane: Arc::clone(lane), leased }
    }

    /// The connection that the channel is on.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.leased.connection
    }

    /// Takes the connection out of service; the permit stays valid.
    pub(crate) fn retire(&self, reason: Closed) {
        self.lane.retire(&self.leased, reason);
    }

    /// Asks the connection for a sign of life, in the background; until it comes, no new request waits on it.
    pub(crate) fn suspect(&self, answer_timeout: Duration) {
        let (lane, leased) = (Arc::clone(&self.lane), Arc::clone(&self.leased));
        tokio::spawn(async move {
            if leased.connection.probe(answer_timeout).await {
                lane.recheck();
            } else {
                lane.retire(&leased, Closed::Frozen);
            }
        });
    }
}

impl Drop for ChannelPermit {
    fn drop(&mut self) {
        self.lane.release(&self.leased);
    }
}
