//! The files of users in volumes of their own, by commands in a helper pod.
//!
//! The pod is that of a Job in the user's namespace. It has the user's volume and an image of the site with GNU coreutils, findutils and tar, ends
//! by itself when it was not used for a while, and is made again by the next request. Nothing of it is kept in Goldcrest.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::Job as KubernetesJob;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachedProcess;
use moka::future::Cache;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Actor, Created, Failure};
use super::exec::exit_code;
use super::helper::{HELPER, Helper, SELECTOR, line};
use super::jobs::Jobs;
use super::{pod, state};
use crate::domain::{Principal, Username};
use crate::ssh::{ByteStream, CommandLimits, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};

/// For how long a pod that was found is used without another look, and for how many users that is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
const MAX_REMEMBERED: u64 = 10_000;

/// How long a pod may take to start, and the pause between two looks.
const START: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(250);

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

    /// The pod of a user, which is started if need be.
    async fn place(&self, user: &Username) -> Result<Place, TransportError> {
        let found = self.ready.try_get_with_by_ref(user, self.find(user)).await;
        found.map_err(|error| TransportError::clone(&error))
    }

    async fn find(&self, user: &Username) -> Result<Place, TransportError> {
        let namespace = self.jobs.tenants.ensure(&self.jobs.connection, user).await;
        let namespace = namespace.map_err(|error| TransportError::Unreachable(error.to_string()))?;
        let begun = Instant::now();
        let mut waits_for = None;
        while begun.elapsed() < START {
            let pods: Vec<Pod> = self.jobs.connection.list(Actor::Own, Some(&namespace), SELECTOR).await.map_err(unreachable)?;
            let states = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(|pod| (pod, pod::state(pod)));
            let (mut is_there, mut refusal) = (false, None);
            for (pod, state) in states {
                match (&pod.metadata.name, state.state) {
                    (Some(name), "RUNNING") => return Ok(Place { namespace, pod: name.as_str().into() }),
                    _ if state.is_hopeless => refusal = state.reason,
                    (_, "PENDING") => (is_there, waits_for) = (true, state.reason),
                    _ => {}
                }
            }
            if let Some(reason) = refusal {
                self.remove(&namespace).await?;
                return Err(TransportError::Unreachable(reason));
            }
            if !is_there {
                self.start(&namespace, user).await?;
            }
            sleep(PAUSE).await;
        }
        let reason = waits_for.unwrap_or_else(|| "it was not created".to_owned());
        Err(TransportError::Unreachable(format!("the pod for your files did not start within {} s: {reason}", START.as_secs())))
    }

    /// Makes the volume and the Job, unless they are there. A Job that is over is removed, so that the next attempt makes it again.
    async fn start(&self, namespace: &str, user: &Username) -> Result<(), TransportError> {
        let connection = &self.jobs.connection;
        if let Some(claim) = self.helper.claim() {
            connection.create::<PersistentVolumeClaim>(Actor::Own, Some(namespace), &claim).await.map_err(unreachable)?;
        }
        match connection.create(Actor::Own, Some(namespace), &self.helper.job(user)).await.map_err(unreachable)? {
            Created::New(_) => Ok(()),
            Created::Exists => {
                let found: Option<KubernetesJob> = connection.get(Actor::Own, Some(namespace), HELPER).await.map_err(unreachable)?;
                if found.as_ref().is_some_and(|job| state::end(job).is_some()) {
                    self.remove(namespace).await?;
                }
                Ok(())
            }
        }
    }

    async fn remove(&self, namespace: &str) -> Result<(), TransportError> {
        self.jobs.connection.delete::<KubernetesJob>(Actor::Own, namespace, HELPER).await.map_err(unreachable)
    }

    /// Starts a command. A pod that is gone, so that nothing was begun, is looked for once more.
    async fn begin(&self, user: &Username, command: &CommandLine) -> Result<AttachedProcess, TransportError> {
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), line(command)];
        let place = self.place(user).await?;
        let begun = self.jobs.connection.attach(&place.namespace, &place.pod, &words).await;
        if !matches!(begun, Err(Failure::Refused { .. })) {
            return begun.map_err(unreachable);
        }
        self.ready.invalidate(user).await;
        let place = self.place(user).await?;
        self.jobs.connection.attach(&place.namespace, &place.pod, &words).await.map_err(unreachable)
    }
}

/// Nothing was begun.
fn unreachable(failure: Failure) -> TransportError {
    TransportError::Unreachable(match failure {
        Failure::Refused { message, .. } | Failure::Unreached(message) | Failure::Unanswered(message) => message,
    })
}

#[async_trait]
impl Transport for HelperPods {
    async fn exec(&self, principal: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        let limits = exec.limits.unwrap_or(CommandLimits { execution: self.jobs.connection.timeout(), output: MAX_OUTPUT });
        let process = self.begin(&principal.username, &exec.line).await?;
        timeout(limits.execution, collect(process, &exec.stdin, limits.output))
            .await
            .unwrap_or(Err(TransportError::Execution(limits.execution)))
    }

    async fn subsystem(&self, _: &Principal, _: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        Err(TransportError::Refused(format!("a pod has no {name}")))
    }

    async fn stream(&self, principal: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        let mut process = self.begin(&principal.username, line).await?;
        let (Some(input), Some(output), Some(errors), Some(status)) =
            (process.stdin(), process.stdout(), process.stderr(), process.take_status())
        else {
            return Err(TransportError::Broken { sent: true });
        };
        // Nobody reads the errors, and the command must not wait for that.
        let drained = tokio::spawn(async move {
            let mut errors = errors;
            tokio::io::copy(&mut errors, &mut tokio::io::sink()).await
        });
        Ok(ByteStream::new(ProcessStream {
            input: Box::pin(input),
            output: Box::pin(output),
            status: status.boxed(),
            ended: None,
            _process: process,
            _drained: AbortOnDrop(drained),
        }))
    }
}

/// Sends the input of a command and gathers what it prints, until it has ended.
async fn collect(mut process: AttachedProcess, stdin: &[u8], max: usize) -> Result<RawOutput, TransportError> {
    let broken = || TransportError::Broken { sent: true };
    let (Some(mut input), Some(stdout), Some(stderr), Some(status)) =
        (process.stdin(), process.stdout(), process.stderr(), process.take_status())
    else {
        return Err(broken());
    };
    let send = async {
        // A command need not read its input.
        _ = input.write_all(stdin).await;
        _ = input.shutdown().await;
    };
    let cap = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = async |stream: &mut (dyn AsyncRead + Send + Unpin)| {
        let mut bytes = Vec::new();
        stream.take(cap).read_to_end(&mut bytes).await.map(|_| bytes)
    };
    let (mut stdout, mut stderr) = (stdout, stderr);
    let ((), stdout, stderr) = futures::future::join3(send, read(&mut stdout), read(&mut stderr)).await;
    let (stdout, stderr) = (stdout.map_err(|_| broken())?, stderr.map_err(|_| broken())?);
    if stdout.len() + stderr.len() > max {
        return Err(TransportError::Output(max));
    }
    let exit = status.await.as_ref().and_then(exit_code).ok_or_else(broken)?;
    Ok(RawOutput { stdout, stderr, exit })
}

/// The input and output of a command. Reading ends with the command, and fails then if the command failed.
struct ProcessStream {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    output: Pin<Box<dyn AsyncRead + Send>>,
    status: BoxFuture<'static, Option<Status>>,
    ended: Option<Option<u32>>,
    _process: AttachedProcess,
    _drained: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<io::Result<u64>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AsyncRead for ProcessStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.output.as_mut().poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.ended.is_none() {
            let status = ready!(self.status.poll_unpin(cx));
            self.ended = Some(status.as_ref().and_then(exit_code));
        }
        Poll::Ready(match self.ended.flatten() {
            Some(0) => Ok(()),
            Some(exit) => Err(io::Error::other(format!("Remote process failed with exit status:{exit}"))),
            None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the command ended without an exit status")),
        })
    }
}

impl AsyncWrite for ProcessStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}
