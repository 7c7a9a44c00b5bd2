//! Commands in the containers of running jobs, and signals to their processes.
//!
//! The processes of a pod share one namespace (`manifest.rs`), so that a signal reaches all of a job's, as Slurm's does.

use futures::stream::StreamExt;
use tokio::time::timeout;

use super::connection::{Actor, Messages};
use super::failure::ApiFailure;
use super::jobs::{Jobs, rejected};
use super::names::JobRef;
use super::process::{Part, part};
use crate::domain::{JobId, Signal, Username};
use crate::scheduler::{AttachOutput, SchedulerError};
use crate::ssh::{CommandError, TransportError};

/// The longest output of a command in bytes, both streams together.
const MAX_OUTPUT: usize = 4 * 1024 * 1024;

impl Jobs {
    /// Runs a shell command in the container of a job.
    pub(super) async fn attach(&self, user: &Username, id: &JobId, command: &str) -> Result<AttachOutput, SchedulerError> {
        self.execute(user, id, &["/bin/sh", "-c", command]).await
    }

    /// Sends a signal to all processes of a job but the shell that does so.
    pub(super) async fn signal(&self, user: &Username, id: &JobId, signal: Signal) -> Result<(), SchedulerError> {
        let command = format!("kill -s {signal} -1");
        self.execute(user, id, &["/bin/sh", "-c", &command]).await?.success()
    }

    async fn execute(&self, user: &Username, id: &JobId, command: &[&str]) -> Result<AttachOutput, SchedulerError> {
        let JobRef { name, task } = JobRef::read(id)?;
        let (namespace, observed) = self.one(user, name).await?;
        if let (Some(count), None) = (observed.task_count(), task) {
            return Err(rejected(&format!("it stands for {count} tasks: name one of them, such as {name}_0")));
        }
        let progress = observed.progress(task).ok_or(SchedulerError::JobNotFound)?;
        let pod = progress.pod.filter(|_| progress.is_running).ok_or_else(|| rejected("the job does not run"))?;
        let time = self.connection.timeout();
        let run = async {
            let messages = self.connection.exec(Actor::User(user), &namespace, &pod, command).await.map_err(ApiFailure::of_write)?;
            collect(messages).await
        };
        let late = |_| SchedulerError::Command { operation: "attach", source: CommandError::Transport(TransportError::Execution(time)) };
        timeout(time, run).await.map_err(late)?
    }
}

/// Collects the output of a command until its status comes.
async fn collect(mut messages: Messages) -> Result<AttachOutput, SchedulerError> {
    let mut output = AttachOutput { stdout: Vec::new(), stderr: Vec::new(), exit: 0 };
    while let Some(message) = messages.next().await {
        match part(message.map_err(ApiFailure::of_write)?) {
            Some(Part::Stdout(bytes)) => output.stdout.extend_from_slice(&bytes),
            Some(Part::Stderr(bytes)) => output.stderr.extend_from_slice(&bytes),
            Some(Part::End(Ok(exit))) => return Ok(AttachOutput { exit, ..output }),
            Some(Part::End(Err(reason))) => return Err(SchedulerError::Rejected(reason)),
            None => {}
        }
        if output.stdout.len() + output.stderr.len() > MAX_OUTPUT {
            return Err(SchedulerError::TooMuchOutput(MAX_OUTPUT));
        }
    }
    Err(SchedulerError::Unanswered("the API server ended the command's connection before its exit status".to_owned()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;

    use super::*;

    async fn collected(messages: &[&'static [u8]]) -> Result<AttachOutput, SchedulerError> {
        let messages: Vec<Result<Bytes, ApiFailure>> = messages.iter().map(|message| Ok(Bytes::from_static(message))).collect();
        collect(stream::iter(messages).boxed()).await
    }

    #[tokio::test]
    async fn the_streams_and_the_exit_status_of_a_command_are_told_apart() {
        let status = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        let status: &'static [u8] = [b"\x03", &status[..]].concat().leak();
        let output = collected(&[b"\x01out", b"\x02err", b"\x01put", b"", b"\x01", status]).await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice(), output.exit), (&b"output"[..], &b"err"[..], 7));
        let output = collected(&[b"\x03{\"status\":\"Success\"}"]).await.unwrap();
        assert_eq!(output.exit, 0);
    }

    #[tokio::test]
    async fn a_command_without_a_status_is_no_success() {
        assert!(matches!(collected(&[b"\x01out"]).await, Err(SchedulerError::Unanswered(_))));
        let refused = collected(&[b"\x03{\"status\":\"Failure\",\"message\":\"exec: no such file /bin/sh\"}"]).await;
        assert!(matches!(refused, Err(SchedulerError::Rejected(reason)) if reason.contains("/bin/sh")));
        assert!(matches!(collected(&[b"\x03not json"]).await, Err(SchedulerError::Rejected(_))));
    }
}
