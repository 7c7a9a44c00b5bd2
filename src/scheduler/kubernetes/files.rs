//! The files of users in volumes of their own, by commands in a helper pod.
//!
//! The pod is that of a Job in the user's namespace. It has the user's volume and an image of the site with GNU coreutils, findutils and tar, ends
//! by itself when it was not used for a while, and is made again by the next request. Nothing of it is kept in Goldcrest.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::future::Cache;
use tokio::time::{Instant, sleep, timeout};

use super::failure::ApiFailure;
use super::helper::{BEGUN, Helper, Program};
use super::jobs::Jobs;
use super::process::Process;
use super::start::{HelperStatus, Start};
use crate::domain::{Principal, Username};
use crate::error::{Classify, Kind};
use crate::scheduler::SchedulerError;
use crate::ssh::{ByteStream, CommandLimits, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};

/// For how long a pod that was found is used without another look, and for how many users that is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
const MAX_REMEMBERED: u64 = 10_000;

/// The pause between two looks at a pod that starts.
const PAUSE: Duration = Duration::from_millis(250);

/// The time in which a shell in a pod has to begin, beside that which a helper takes to decide whether it ends.
const BEGINNING: Duration = Duration::from_secs(10);

/// The maximum output of a command in bytes.
const MAX_OUTPUT: usize = 8 * 1024 * 1024;

/// Commands in the helper pods of users.
pub(super) struct HelperPods {
    jobs: Arc<Jobs>,
    helper: Helper,
    ready: Cache<Username, Place>,
}

/// The namespace and the name of a pod.
#[derive(Clone, Debug)]
struct Place {
    namespace: Arc<str>,
    pod: Arc<str>,
}

impl HelperPods {
    pub(super) fn new(jobs: Arc<Jobs>, helper: Helper) -> Self {
        Self { jobs, helper, ready: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build() }
    }

    /// The pod of a user, which is started if need be. All who wait for it share one attempt.
    async fn place(&self, user: &Username) -> Result<Place, TransportError> {
        let found = self.ready.try_get_with_by_ref(user, self.find(user)).await;
        found.map_err(|error| TransportError::clone(&error))
    }

    async fn find(&self, user: &Username) -> Result<Place, TransportError> {
        let connection = &self.jobs.connection;
        let namespace = self.jobs.tenants.ensure(connection, user).await.map_err(|error| without_namespace(&error))?;
        let mut start = Start::new(connection, &self.helper, &namespace, user);
        let begun = Instant::now();
        loop {
            match start.look().await {
                Ok(HelperStatus::Running(pod)) => return Ok(Place { namespace, pod: pod.into() }),
                Ok(HelperStatus::Refused(reason)) => {
                    // Another attempt begins anew.
                    start.remove().await.map_err(failed)?;
                    return Err(unreachable(Kind::DependencyFailed, format!("the pod for your files cannot run: {reason}")));
                }
                Ok(HelperStatus::Waiting { reason, timeout }) if begun.elapsed() >= timeout => {
                    let (reason, seconds) = (start.explain(reason).await, timeout.as_secs());
                    let message = format!("the pod for your files does not run after {seconds} s, and goes on starting: {reason}");
                    return Err(unreachable(Kind::DependencyFailed, message));
                }
                Ok(HelperStatus::Waiting { .. }) => sleep(PAUSE).await,
                Err(failure) => {
                    return Err(match self.jobs.tenants.lost(user, failure).await {
                        Ok(error) => without_namespace(&error),
                        Err(failure) => failed(failure),
                    });
                }
            }
        }
    }

    /// Starts a command. A pod that is gone, so that nothing was begun, is looked for once more.
    async fn begin(&self, user: &Username, command: &CommandLine) -> Result<Process, TransportError> {
        let program = Program::of(command);
        let mut process = match self.enter(&self.place(user).await?, &program).await {
            Ok(process) => process,
            // The API server hangs.
            Err(failure @ ApiFailure::Unanswered(_)) => return Err(failed(failure)),
            Err(_) => {
                self.ready.invalidate(user).await;
                self.enter(&self.place(user).await?, &program).await.map_err(failed)?
            }
        };
        process.send(program.text.clone()).await.map_err(|_| TransportError::Broken { sent: true })?;
        Ok(process)
    }

    /// A shell in a pod that waits for a program.
    async fn enter(&self, place: &Place, program: &Program) -> Result<Process, ApiFailure> {
        let dialed = self.jobs.connection.exec_with_input(&place.namespace, &place.pod, &program.words()).await?;
        let late = || ApiFailure::Unreached(format!("no shell began in the pod for your files within {} s", BEGINNING.as_secs()));
        timeout(BEGINNING, Process::begin(dialed, BEGUN)).await.unwrap_or_else(|_| Err(late()))
    }
}

fn unreachable(kind: Kind, reason: String) -> TransportError {
    TransportError::Unreachable { kind, reason, sent: false }
}

/// The error of a request that started no command: a 404 here is never a missing file of the user.
fn failed(failure: ApiFailure) -> TransportError {
    let kind = match &failure {
        ApiFailure::Refused { code: 403, .. } => Kind::Forbidden,
        ApiFailure::Refused { code: 400 | 404 | 409 | 422, .. } => Kind::DependencyFailed,
        ApiFailure::Refused { .. } | ApiFailure::Unreached(_) | ApiFailure::Unanswered(_) => Kind::Unavailable,
    };
    unreachable(kind, failure.into_reason())
}

/// Where the user has no namespace.
fn without_namespace(error: &SchedulerError) -> TransportError {
    let kind = match error.kind() {
        kind @ (Kind::Forbidden | Kind::Unavailable) => kind,
        _ => Kind::DependencyFailed,
    };
    let reason = match error {
        SchedulerError::JobNotFound => "your namespace is not there".to_owned(),
        error => error.to_string(),
    };
    unreachable(kind, reason)
}

#[async_trait]
impl Transport for HelperPods {
    async fn exec(&self, principal: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        let limits = exec.limits.unwrap_or(CommandLimits { execution: self.jobs.connection.timeout(), output: MAX_OUTPUT });
        let process = self.begin(&principal.username, &exec.line).await?;
        let finished = timeout(limits.execution, process.finish(&exec.stdin, limits.output)).await;
        finished.unwrap_or(Err(TransportError::Execution(limits.execution)))
    }

    async fn subsystem(&self, _: &Principal, _: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        Err(TransportError::Refused(format!("a pod has no {name}")))
    }

    async fn stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        Ok(ByteStream::new(self.begin(&principal.username, line).await?))
    }
}
