//! The transport over pooled SSH connections.
//!
//! It decides what is tried again and where; how connections are lent is the lanes' business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::channel::{Opened, open};
use super::cluster::Cluster;
use super::command::{CommandLine, Environment};
use super::config::{Config, ConfigError};
use super::connection::Target;
use super::lane::{Lane, Queued, ShellOrSlot, Work};
use super::program::{Program, is_plain_answer, probe};
use super::running::{Ended, Open, Way, run};
use super::shell::Script;
use super::slot::Slot;
use super::stats::{Stats, add};
use super::stream::{ChannelStream, Request, Started};
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

    /// The cluster that they lead to.
    pub fn system(&self) -> &SystemName {
        &self.cluster.name
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

    /// A channel of the caller's lane.
    async fn channel(&self, principal: &Principal, (kind, work): (LaneKind, Work), deadline: Instant) -> Result<Open, TransportError> {
        let lane = self.lane(principal, kind).await?;
        let mut tries = Tries::default();
        loop {
            let slot = match lane.slot(deadline, tries.queued(), work).await {
                Err(TransportError::Key { .. }) if tries.ask_again() => {
                    self.lane(principal, kind).await?;
                    continue;
                }
                slot => slot?,
            };
            if let Some(channel) = self.open(slot, &mut tries, deadline).await? {
                return Ok(channel);
            }
        }
    }

    /// A shell of the caller's control lane, or a channel for one, which is then told to be fresh.
    async fn shell(&self, principal: &Principal, deadline: Instant) -> Result<(Open, bool), TransportError> {
        let lane = self.lane(principal, LaneKind::Control).await?;
        let mut tries = Tries::default();
        loop {
            let slot = match lane.shell_or_slot(deadline, tries.queued()).await {
                Ok(ShellOrSlot::Shell(shell)) => return Ok((shell, false)),
                Ok(ShellOrSlot::Slot(slot)) => slot,
                Err(TransportError::Key { .. }) if tries.ask_again() => {
                    self.lane(principal, LaneKind::Control).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(channel) = self.open(slot, &mut tries, deadline).await? {
                return Ok((channel, true));
            }
        }
    }

    /// Opens a channel in a slot. What fails before anything was sent, none, is tried elsewhere until the deadline.
    async fn open(&self, slot: Slot, tries: &mut Tries, deadline: Instant) -> Result<Option<Open>, TransportError> {
        let most_dead = self.cluster.target.config.max_connections_per_user + 1;
        tries.queued = true;
        match open(slot, self.cluster.target.connection_timeout()).await {
            Opened::Channel(slot, channel) => {
                let (read, write) = channel.split();
                return Ok(Some((slot, read, write)));
            }
            Opened::Full if tries.refusals < MOST_REFUSALS => tries.refusals += 1,
            Opened::Full | Opened::Refused => return Err(TransportError::Refused("it opens no session".to_owned())),
            // Every pooled connection may be dead after a fault, and be found so one by one; fresh ones that die as well are
            // no accident.
            Opened::Dead if tries.dead >= most_dead || Instant::now() >= deadline => return Err(TransportError::Broken { sent: false }),
            Opened::Dead => tries.dead += 1,
        }
        add(&self.cluster.target.counters.retries);
        Ok(None)
    }

    async fn open_stream(
        &self,
        principal: &Principal,
        kind: LaneKind,
        request: impl Fn(bool) -> Result<Request, TransportError>,
    ) -> Result<ByteStream, TransportError> {
        let startup = self.limits().execution;
        let deadline = Instant::now() + self.queue_time(startup);
        let lane = self.lane(principal, kind).await?;
        loop {
            let request = request(lane.has_shells())?;
            let channel = self.channel(principal, (kind, Work::Lasting), deadline).await?;
            let retired = channel.0.connection().when_retired();
            match ChannelStream::start(channel, request, self.cluster.target.connection_timeout(), startup).await? {
                Started::Stream(stream) => return Ok(ByteStream::retiring(stream, retired)),
                Started::NotBegun(why) => self.do_without_shells(principal, &lane, kind, deadline, why).await?,
            }
        }
    }

    /// Looks whether a login shell that becomes no other runs single commands, and then prints nothing of its own.
    async fn do_without_shells(
        &self,
        principal: &Principal,
        lane: &Arc<Lane>,
        kind: LaneKind,
        deadline: Instant,
        why: String,
    ) -> Result<(), TransportError> {
        let channel = self.channel(principal, (kind, Work::Brief), deadline).await?;
        let way = Way::Direct { line: probe().as_bytes().to_vec(), stdin: Bytes::new() };
        match run(channel, way, self.limits(), self.cluster.target.connection_timeout()).await {
            Ended::Output(output) if output.exit == 0 && is_plain_answer(&output.stdout) => {
                lane.do_without_shells();
                Ok(())
            }
            Ended::Failed(error) => Err(error),
            _ => Err(TransportError::Refused(why)),
        }
    }
}

/// The line as it may be given to a login shell of any kind.
///
/// # Errors
/// When it would not mean the same to all of them.
fn direct(line: &CommandLine) -> Result<Vec<u8>, TransportError> {
    if line.is_plain() {
        return Ok(line.as_bytes().to_vec());
    }
    Err(TransportError::Refused("this account runs single plain commands only, not /bin/sh, which this operation needs".to_owned()))
}

/// What was tried for one request already.
#[derive(Default)]
struct Tries {
    queued: bool,
    asked_again: bool,
    refusals: u32,
    dead: usize,
}

impl Tries {
    fn queued(&self) -> Queued {
        if self.queued { Queued::Before } else { Queued::NotYet }
    }

    /// Whether to ask for the credential once more: it may have ended while the request waited in the queue.
    fn ask_again(&mut self) -> bool {
        !std::mem::replace(&mut self.asked_again, true)
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
        let lane = self.lane(principal, LaneKind::Control).await?;
        let mut again = exec.idempotent;
        loop {
            // A command with limits of its own may take long, and what starting it costs is then nothing.
            let script =
                if self.cluster.target.config.keep_shells && exec.limits.is_none() && lane.has_shells() { Script::of(&exec) } else { None };
            let (channel, way, fresh) = match script {
                None if !lane.has_shells() => {
                    let line = direct(&exec.line)?;
                    let channel = self.channel(principal, (LaneKind::Control, Work::Brief), deadline).await?;
                    (channel, Way::Direct { line, stdin: exec.stdin.clone() }, false)
                }
                Some(script) => {
                    let (channel, fresh) = self.shell(principal, deadline).await?;
                    let counters = &self.cluster.target.counters;
                    add(if fresh { &counters.shells } else { &counters.reused });
                    (channel, Way::Shell { script, fresh }, fresh)
                }
                None => {
                    let channel = self.channel(principal, (LaneKind::Control, Work::Brief), deadline).await?;
                    let program = Program::of(&exec.line, exec.environment);
                    (channel, Way::Once { program, stdin: exec.stdin.clone() }, true)
                }
            };
            match run(channel, way, limits, self.cluster.target.connection_timeout()).await {
                Ended::Output(output) => return Ok(output),
                Ended::Failed(error) => return Err(error),
                Ended::NotBegun(why) if fresh => self.do_without_shells(principal, &lane, LaneKind::Control, deadline, why).await?,
                Ended::NotBegun(why) if !lane.has_shells() => return Err(TransportError::Refused(why)),
                // It has ended since its last command.
                Ended::NotBegun(_) => add(&self.cluster.target.counters.retries),
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
        self.open_stream(principal, lane, |_| Ok(Request::Subsystem(name))).await
    }

    async fn stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        let request = |has_shells| match has_shells {
            true => Ok(Request::Program(Program::of(line, Environment::Client))),
            false => direct(line).map(Request::Direct),
        };
        self.open_stream(principal, LaneKind::Bulk, request).await
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for connection in self.cluster.close() {
            connection.pulse.cut();
        }
    }
}
