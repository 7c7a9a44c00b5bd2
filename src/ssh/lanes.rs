//! The transport over pooled SSH connections.
//!
//! It decides what is retried and where; `pool` and `lease` share the connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::credentials::CredentialProvider;
use crate::domain::{Principal, SystemName};
use crate::ssh::channel::byte_stream::{ChannelRequest, ChannelStream, Started};
use crate::ssh::channel::exec::{Carrier, run};
use crate::ssh::channel::lifecycle::{OpenChannel, Opened, open};
use crate::ssh::channel::metered::MeteredStream;
use crate::ssh::channel::outcome::ExecOutcome;
use crate::ssh::channel::output_stream::{self, Begun};
use crate::ssh::channel::shell_protocol::Script;
use crate::ssh::command_line::{CommandLine, Environment};
use crate::ssh::config::{Config, ConfigError};
use crate::ssh::connect::target::Target;
use crate::ssh::lease::permit::ChannelPermit;
use crate::ssh::lease::placement::Use;
use crate::ssh::pool::lane::{Lane, Queueing, ShellOrPermit};
use crate::ssh::pool::registry::{LaneRegistry, upkeep};
use crate::ssh::program::Program;
use crate::ssh::server_words::closes_account;
use crate::ssh::stats::{Stats, add};
use crate::ssh::transport::{
    ByteStream, CommandLimits, CredentialVersion, Exec, LaneKind, OutputStream, RawOutput, Transport, TransportError,
};

/// The number of refused channels after which a request is not given another permit.
const MAX_REFUSALS: u32 = 20;

/// The refusal of operations that need more than single commands, for an account that runs no program on standard input.
const PLAIN_ONLY: &str = "this account runs single plain commands only, and no /bin/sh on standard input, which this operation needs; \
    do start-up files of its login shell read or close standard input?";

/// The advice if an account runs no line that is sent to its login shell. Lines without a frame are not tried: the output that start-up files print
/// now and then would pass for output, and most of them do not mean the same to every login shell.
const NEITHER_LINE: &str =
    "neither `exec /bin/sh` nor `/bin/sh -c` is run for this account; a ForceCommand of its sshd has to permit `exec /bin/sh`";

/// All connections to one cluster, by user and class of traffic.
///
/// A task has to run [`Lanes::upkeep`]. Dropping it closes the connections; [`Lanes::close`] does so politely. Its methods must be called within a tokio runtime.
pub struct Lanes {
    registry: Arc<LaneRegistry>,
    credentials: Arc<dyn CredentialProvider>,
}

impl Lanes {
    /// Lanes to a cluster. Nothing is connected before it is needed.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(system: SystemName, config: Config, credentials: Arc<dyn CredentialProvider>) -> Result<Self, ConfigError> {
        Ok(Self { registry: LaneRegistry::new(Target::new(system, config)?), credentials })
    }

    /// The cluster that they lead to.
    pub fn system(&self) -> &SystemName {
        &self.target().system
    }

    /// The counters of the lanes.
    pub fn stats(&self) -> Stats {
        self.target().counters.snapshot()
    }

    /// Keeps the connections in order until the lanes are closed or dropped, or `stop` is cancelled: closes those that are idle for too long
    /// or do not answer, and makes room under the cap on connections. Without it, requests that wait for room wait in vain.
    pub fn upkeep(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let work = upkeep(Arc::downgrade(&self.registry), Arc::clone(&self.registry.admission));
        async move {
            stop.run_until_cancelled(work).await;
        }
    }

    /// Gives no more channels, and closes every connection. What still runs on one breaks, so requests are drained before.
    pub async fn close(&self) {
        let connections = self.registry.close();
        futures::future::join_all(connections.iter().map(|connection| connection.disconnect())).await;
    }

    fn target(&self) -> &Target {
        &self.registry.admission.target
    }

    /// The longest a request waits for its channel: a connection, a login, and as long as the commands before it may take.
    fn queue_time(&self, execution: Duration) -> Duration {
        let timeout = &self.target().config.timeout;
        Duration::from_secs(timeout.connection + timeout.login) + execution
    }

    fn limits(&self) -> CommandLimits {
        let config = &self.target().config;
        CommandLimits { execution: Duration::from_secs(config.timeout.command_execution), output: config.max_output }
    }

    /// The lane of the caller, with the caller's present credential.
    async fn lane(&self, principal: &Principal, kind: LaneKind) -> Result<Arc<Lane>, TransportError> {
        let credential = self.credentials.credential(principal).await?;
        let lane = self.registry.lane(&principal.username, kind, &credential);
        lane.state.login_for(&principal.username, &credential).decode().await?;
        Ok(lane)
    }

    /// A channel of the caller's lane.
    async fn channel(&self, principal: &Principal, lane: &Lane, work: Use, deadline: Instant) -> Result<OpenChannel, TransportError> {
        let mut tries = Tries::default();
        loop {
            match lane.permit(deadline, tries.queueing(), work).await {
                Ok(permit) => {
                    if let Some(channel) = self.open(permit, &mut tries, deadline).await? {
                        return Ok(channel);
                    }
                }
                Err(error) => self.renew(principal, lane, &mut tries, error).await?,
            }
        }
    }

    /// A shell of the caller's control lane, or a fresh channel for one.
    async fn shell(&self, principal: &Principal, lane: &Lane, deadline: Instant) -> Result<(OpenChannel, bool), TransportError> {
        let mut tries = Tries::default();
        loop {
            match lane.shell_or_permit(deadline, tries.queueing()).await {
                Ok(ShellOrPermit::Shell(shell)) => return Ok((shell, false)),
                Ok(ShellOrPermit::ChannelPermit(permit)) => {
                    if let Some(channel) = self.open(permit, &mut tries, deadline).await? {
                        return Ok((channel, true));
                    }
                }
                Err(error) => self.renew(principal, lane, &mut tries, error).await?,
            }
        }
    }

    /// Obtains the credential once more, which may have expired while the request waited in the queue.
    ///
    /// # Errors
    /// The given error, if it is another one or occurred before.
    async fn renew(&self, principal: &Principal, lane: &Lane, tries: &mut Tries, error: TransportError) -> Result<(), TransportError> {
        if !matches!(error, TransportError::Key { .. }) || std::mem::replace(&mut tries.renewed, true) {
            return Err(error);
        }
        self.lane(principal, lane.state.kind).await.map(|_| ())
    }

    /// Opens the channel of a permit. A failure before anything was sent is retried on another connection until the deadline.
    async fn open(&self, permit: ChannelPermit, tries: &mut Tries, deadline: Instant) -> Result<Option<OpenChannel>, TransportError> {
        let max_dead = self.target().config.max_connections_per_user + 1;
        tries.queued = true;
        match open(permit, self.target().connection_timeout()).await {
            Opened::Channel(channel) => return Ok(Some(channel)),
            Opened::Full if tries.refusals < MAX_REFUSALS => tries.refusals += 1,
            Opened::Full | Opened::Refused => return Err(TransportError::Refused("it opens no session".to_owned())),
            // Every pooled connection may be dead after a fault, and be found so one by one; fresh ones that die as well are
            // no accident.
            Opened::Dead if tries.dead >= max_dead || Instant::now() >= deadline => return Err(TransportError::Broken { sent: false }),
            Opened::Dead => tries.dead += 1,
        }
        add(&self.target().counters.retries);
        Ok(None)
    }

    /// A channel with this request, and the signal that its connection accepts no more work.
    ///
    /// A login shell that reads no program on its standard input would give a stream without a frame, in which the words of its
    /// start-up files pass for content; so there is none.
    async fn open_stream(
        &self,
        principal: &Principal,
        kind: LaneKind,
        request: ChannelRequest,
    ) -> Result<(ChannelStream, CancellationToken), TransportError> {
        let startup = self.limits().execution;
        let deadline = Instant::now() + self.queue_time(startup);
        let lane = self.lane(principal, kind).await?;
        let channel = self.channel(principal, &lane, Use::Stream, deadline).await?;
        let retired = channel.0.connection().when_retired();
        match ChannelStream::start(channel, request, self.target().connection_timeout(), startup).await? {
            Started::Stream(stream) => Ok((stream, retired)),
            Started::NotBegun(why) => Err(self.not_begun(principal, why)),
        }
    }

    /// A login shell ran nothing, for this reason: the shell of a closed account is a program that says so.
    fn not_begun(&self, principal: &Principal, why: String) -> TransportError {
        if !closes_account(&why) {
            return TransportError::Refused(why);
        }
        let Config { host, port, .. } = &self.target().config;
        TransportError::AccountClosed(format!("{} may not log in at {host}:{port}: {why}", principal.username))
    }

    /// Looks whether a login shell that becomes no other runs single commands.
    async fn do_without_shells(&self, principal: &Principal, lane: &Lane, deadline: Instant, why: String) -> Result<(), TransportError> {
        let channel = self.channel(principal, lane, Use::Command, deadline).await?;
        let carrier = Carrier::Direct { program: in_line(&CommandLine::new("true"))? };
        match run(channel, carrier, self.limits(), self.target().connection_timeout()).await.0 {
            ExecOutcome::Output(output) if output.exit == 0 => {
                lane.shells.forbid();
                Ok(())
            }
            ExecOutcome::Failed(error) => Err(error),
            _ => Err(match self.not_begun(principal, why) {
                TransportError::Refused(why) => TransportError::Refused(format!("{why}; {NEITHER_LINE}")),
                closed => closed,
            }),
        }
    }
}

/// The command line for a login shell that reads no program on its standard input.
///
/// # Errors
/// If its meaning depends on the login shell.
fn in_line(line: &CommandLine) -> Result<Program, TransportError> {
    Program::in_line(line).ok_or_else(|| TransportError::Refused(PLAIN_ONLY.to_owned()))
}

impl Lanes {
    /// Runs a command, at most twice. `sent` is set when an attempt may have run and another one follows.
    async fn attempt(&self, principal: &Principal, exec: Exec, sent: &mut bool) -> Result<RawOutput, TransportError> {
        let limits = exec.limits.unwrap_or_else(|| self.limits());
        let deadline = Instant::now() + self.queue_time(limits.execution);
        let lane = self.lane(principal, LaneKind::Control).await?;
        loop {
            // A command with limits of its own may take long; the cost of starting it is then negligible.
            let kept = self.target().config.keep_shells && exec.limits.is_none();
            let script = if kept && lane.shells.is_allowed() { Script::of(&exec) } else { None };
            let (channel, carrier, fresh) = match script {
                None if !lane.shells.is_allowed() => {
                    if !exec.stdin.is_empty() {
                        return Err(TransportError::Refused(PLAIN_ONLY.to_owned()));
                    }
                    let program = in_line(&exec.line)?;
                    (self.channel(principal, &lane, Use::Command, deadline).await?, Carrier::Direct { program }, false)
                }
                Some(script) => {
                    let (channel, fresh) = self.shell(principal, &lane, deadline).await?;
                    let counters = &self.target().counters;
                    add(if fresh { &counters.shells } else { &counters.reused });
                    (channel, Carrier::Shell { script, fresh }, fresh)
                }
                None => {
                    let channel = self.channel(principal, &lane, Use::Command, deadline).await?;
                    let program = Program::of(&exec.line, exec.environment);
                    (channel, Carrier::Once { program, stdin: exec.stdin.clone() }, true)
                }
            };
            let (outcome, shell) = run(channel, carrier, limits, self.target().connection_timeout()).await;
            if let Some(shell) = shell {
                lane.keep_shell(shell);
            }
            match outcome {
                ExecOutcome::Output(output) => return Ok(output),
                ExecOutcome::Failed(error) => return Err(error),
                ExecOutcome::NotBegun(why) if fresh => self.do_without_shells(principal, &lane, deadline, why).await?,
                ExecOutcome::NotBegun(why) if !lane.shells.is_allowed() => return Err(self.not_begun(principal, why)),
                // It has ended since its last command.
                ExecOutcome::NotBegun(_) => add(&self.target().counters.retries),
                // It may have run. Only a command that may run twice, and of which nothing was seen, is sent again, once.
                ExecOutcome::Broken { heard: false } if exec.idempotent && !*sent => {
                    *sent = true;
                    add(&self.target().counters.retries);
                }
                ExecOutcome::Broken { .. } => return Err(TransportError::Broken { sent: true }),
            }
        }
    }
}

/// The attempts of one request.
#[derive(Default)]
struct Tries {
    queued: bool,
    renewed: bool,
    refusals: u32,
    dead: usize,
}

impl Tries {
    fn queueing(&self) -> Queueing {
        if self.queued { Queueing::Bypass } else { Queueing::Join }
    }
}

#[async_trait]
impl Transport for Lanes {
    async fn credential_version(&self, principal: &Principal) -> Result<CredentialVersion, TransportError> {
        Ok(CredentialVersion::of(&self.credentials.credential(principal).await?))
    }

    fn needs_token(&self) -> bool {
        self.credentials.needs_token()
    }

    #[tracing::instrument(level = "debug", skip_all, fields(cluster = %self.system(), user = %principal.username))]
    async fn exec(&self, principal: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        let mut sent = false;
        let result = self.attempt(principal, exec, &mut sent).await;
        result.map_err(|error| if sent { error.of_second_attempt() } else { error })
    }

    async fn subsystem(&self, principal: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        let (stream, retired) = self.open_stream(principal, lane, ChannelRequest::Subsystem(name)).await?;
        Ok(ByteStream::retiring(stream, retired))
    }

    async fn stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        let program = Program::of(line, Environment::Client);
        let (stream, retired) = self.open_stream(principal, LaneKind::Bulk, ChannelRequest::Program(program)).await?;
        Ok(ByteStream::retiring(stream, retired))
    }

    async fn output_stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        let program = Program::metered(line);
        let mark = program.mark.clone();
        let (stream, retired) = self.open_stream(principal, LaneKind::Bulk, ChannelRequest::Program(program)).await?;
        let (channel, begun) = stream.into_parts().ok_or(TransportError::Broken { sent: true })?;
        Ok(ByteStream::retiring(MeteredStream::new(channel, begun, &mark), retired))
    }

    async fn run_streamed(&self, principal: &Principal, exec: Exec) -> Result<OutputStream, TransportError> {
        let limits = exec.limits.unwrap_or_else(|| self.limits());
        let deadline = Instant::now() + self.queue_time(self.limits().execution);
        let lane = self.lane(principal, LaneKind::Bulk).await?;
        let channel = self.channel(principal, &lane, Use::Stream, deadline).await?;
        let program = Program::of(&exec.line, exec.environment);
        match output_stream::start(channel, program, exec.stdin, limits, self.target().connection_timeout()).await {
            Begun::Running(output) => Ok(output),
            Begun::Refused(why) => Err(self.not_begun(principal, why)),
            Begun::Failed(error) => Err(error),
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for connection in self.registry.close() {
            connection.liveness.cut();
        }
    }
}
