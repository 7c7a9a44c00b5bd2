//! The transport over pooled SSH connections.
//!
//! It decides what is tried again and where; how connections are lent is the lanes' business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use russh::Channel;
use russh::client::Msg;

use super::channel::{Opened, open};
use super::cluster::Cluster;
use super::command::CommandLine;
use super::config::{Config, ConfigError};
use super::connection::Target;
use super::lane::{Lane, Queued, Slot, Work};
use super::running::{Ended, run};
use super::stats::{Stats, add};
use super::stream::{ChannelStream, Request};
use super::transport::{ByteStream, Exec, LaneKind, Limits, RawOutput, Standing, Transport, TransportError};
use crate::credentials::CredentialProvider;
use crate::domain::{Principal, SystemName};

/// How often one request may be refused a channel, and be given another slot.
const MOST_REFUSALS: u32 = 20;

/// All connections to one cluster, by user and class of traffic.
///
/// Dropping it closes the connections; [`Lanes::close`] does so politely. Its methods must be called within a tokio runtime.
pub struct Lanes {
    cluster: Arc<Cluster>,
    credentials: Arc<dyn CredentialProvider>,
}

impl Lanes {
    /// Lanes to a cluster. Nothing is connected before it is needed.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(cluster: SystemName, config: Config, credentials: Arc<dyn CredentialProvider>) -> Result<Self, ConfigError> {
        Ok(Self { cluster: Cluster::new(cluster, Target::new(config)?), credentials })
    }

    /// What the lanes have done until now.
    pub fn stats(&self) -> Stats {
        self.cluster.target.counters.snapshot()
    }

    /// Lends no more channels, and closes every connection. What still runs on one breaks, so requests are drained before.
    pub async fn close(&self) {
        let connections = self.cluster.close();
        futures::future::join_all(connections.iter().map(|connection| connection.disconnect())).await;
    }

    /// The longest a request waits for its channel: a connection, a login, and as long as the commands before it may take.
    fn queue_time(&self, execution: Duration) -> Duration {
        let timeout = &self.cluster.target.config.timeout;
        Duration::from_secs(timeout.connection + timeout.login) + execution
    }

    fn limits(&self) -> Limits {
        let config = &self.cluster.target.config;
        Limits { execution: Duration::from_secs(config.timeout.command_execution), output: config.max_output }
    }

    async fn lane(&self, principal: &Principal, kind: LaneKind) -> Result<Arc<Lane>, TransportError> {
        let credential = self.credentials.credential(principal).await?;
        let lane = self.cluster.lane(&principal.username, kind, &credential);
        let login = lane.login(&principal.username, &credential);
        login.decode().await.map_err(|reason| TransportError::Key { user: principal.username.clone(), reason })?;
        Ok(lane)
    }

    /// A channel of the caller's lane. What fails before anything was sent is tried elsewhere until the deadline.
    async fn channel(
        &self,
        principal: &Principal,
        (kind, work): (LaneKind, Work),
        deadline: Instant,
    ) -> Result<(Slot, Channel<Msg>), TransportError> {
        let counters = &self.cluster.target.counters;
        let lane = self.lane(principal, kind).await?;
        let mut queued = Queued::NotYet;
        let mut asked_again = false;
        let mut refusals = 0;
        let mut dead = 0;
        let most_dead = self.cluster.target.config.max_connections_per_user + 1;
        loop {
            let slot = match lane.slot(deadline, queued, work).await {
                // The credential ended while the request waited in the queue.
                Err(TransportError::Key { .. }) if !asked_again => {
                    asked_again = true;
                    self.lane(principal, kind).await?;
                    continue;
                }
                slot => slot?,
            };
            queued = Queued::Before;
            match open(slot, self.cluster.target.connection_timeout()).await {
                Opened::Channel(slot, channel) => return Ok((slot, channel)),
                Opened::Full if refusals < MOST_REFUSALS => refusals += 1,
                Opened::Full | Opened::Refused => return Err(TransportError::Refused("it opens no session".to_owned())),
                // Every pooled connection may be dead after a fault, and be found so one by one; fresh ones that die as well are
                // no accident.
                Opened::Dead if dead >= most_dead || Instant::now() >= deadline => return Err(TransportError::Broken { sent: false }),
                Opened::Dead => dead += 1,
            }
            add(&counters.retries);
        }
    }

    async fn open_stream(&self, principal: &Principal, kind: LaneKind, request: Request) -> Result<ByteStream, TransportError> {
        let deadline = Instant::now() + self.queue_time(self.limits().execution);
        let (slot, channel) = self.channel(principal, (kind, Work::Lasting), deadline).await?;
        let patience = self.cluster.target.connection_timeout();
        let retired = slot.connection().when_retired();
        Ok(ByteStream::retiring(ChannelStream::start(slot, channel, request, patience).await?, retired))
    }
}

#[async_trait]
impl Transport for Lanes {
    async fn standing(&self, principal: &Principal) -> Result<Standing, TransportError> {
        Ok(Standing::of(&self.credentials.credential(principal).await?))
    }

    #[tracing::instrument(level = "debug", skip_all, fields(cluster = %self.cluster.name, user = %principal.username))]
    async fn exec(&self, principal: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        let limits = exec.limits.unwrap_or_else(|| self.limits());
        let deadline = Instant::now() + self.queue_time(limits.execution);
        let mut again = exec.idempotent;
        loop {
            let (slot, channel) = self.channel(principal, (LaneKind::Control, Work::Brief), deadline).await?;
            let line = exec.line.as_bytes().to_vec();
            match run(slot, channel, line, exec.stdin.clone(), limits, self.cluster.target.connection_timeout()).await {
                Ended::Output(output) => return Ok(output),
                Ended::Failed(error) => return Err(error),
                // It may have run. Only a command that may run twice, and of which nothing was seen, is sent again, once.
                Ended::Broken { heard: false } if again => {
                    again = false;
                    add(&self.cluster.target.counters.retries);
                }
                Ended::Broken { .. } => return Err(TransportError::Broken { sent: true }),
            }
        }
    }

    async fn subsystem(&self, principal: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        self.open_stream(principal, lane, Request::Subsystem(name)).await
    }

    async fn stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        self.open_stream(principal, LaneKind::Bulk, Request::Command(line.as_bytes().to_vec())).await
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for connection in self.cluster.close() {
            connection.pulse.cut();
        }
    }
}
