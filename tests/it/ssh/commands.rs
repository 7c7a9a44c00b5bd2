//! Commands with streamed output, over a real OpenSSH server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use goldcrest::ssh::{CommandLimits, CommandLine, CommandOutput, Environment, Exec, Lanes, OutputStream, Raw, Transport, TransportError};

use super::openssh::Sshd;
use super::{command, exec};
use crate::support::{PATIENCE, principal, wait_until};

fn server() -> Option<(Sshd, Arc<Lanes>, String)> {
    let sshd = Sshd::start("")?;
    let lanes = sshd.lanes_with(|config| config.max_connections_per_user = 1);
    let user = sshd.user.clone();
    Some((sshd, lanes, user))
}

async fn start(
    lanes: &Lanes,
    user: &str,
    line: CommandLine,
    stdin: &'static str,
    limits: CommandLimits,
) -> Result<OutputStream, TransportError> {
    let exec = Exec { line, stdin: Bytes::from(stdin), idempotent: false, limits: Some(limits), environment: Environment::Login };
    lanes.run_streamed(&principal(user), exec).await
}

const LIMITS: CommandLimits = CommandLimits { execution: PATIENCE, output: 1 << 20 };

/// All that comes: standard output, standard error, and how it ended.
async fn all(mut output: OutputStream) -> (Vec<u8>, Vec<u8>, Result<u32, String>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match output.next().await.expect("there is an end") {
            Ok(CommandOutput::Stdout(data)) => stdout.extend_from_slice(&data),
            Ok(CommandOutput::Stderr(data)) => stderr.extend_from_slice(&data),
            Ok(CommandOutput::Exit(exit)) => return (stdout, stderr, Ok(exit)),
            Err(error) => return (stdout, stderr, Err(error.to_string())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_streams_come_apart_with_the_input_and_the_exit_status() {
    let Some((_sshd, lanes, user)) = server() else { return };
    let line = CommandLine::new("sh -c").arg("cat; echo noise >&2; exit 3");
    let (stdout, stderr, end) = all(start(&lanes, &user, line, "given\n", LIMITS).await.unwrap()).await;
    assert_eq!((stdout.as_slice(), stderr.as_slice(), end.unwrap()), (&b"given\n"[..], &b"noise\n"[..], 3));
    let killed = CommandLine::new("sh -c").arg("kill -9 $$");
    assert_eq!(all(start(&lanes, &user, killed, "", LIMITS).await.unwrap()).await.2.unwrap(), 137);
    let missing = CommandLine::new("no-such-program-here");
    let (_, stderr, end) = all(start(&lanes, &user, missing, "", LIMITS).await.unwrap()).await;
    assert!(end.unwrap() == 127 && String::from_utf8_lossy(&stderr).contains("not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_comes_before_the_command_has_ended() {
    let Some((sshd, lanes, user)) = server() else { return };
    let go = sshd.path("go");
    let line = CommandLine::new("sh -c").arg("echo begun; until [ -e \"$1\" ]; do sleep 0.05; done; echo ended").flag("sh");
    let mut output = start(&lanes, &user, line.arg(go.as_os_str().as_encoded_bytes()), "", LIMITS).await.unwrap();
    assert_eq!(output.next().await.unwrap().unwrap(), CommandOutput::Stdout(Bytes::from_static(b"begun\n")));
    std::fs::write(&go, "").unwrap();
    assert_eq!(all(output).await, (b"ended\n".to_vec(), Vec::new(), Ok(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_prints_too_much_or_takes_too_long_is_stopped_with_what_it_printed() {
    let Some((_sshd, lanes, user)) = server() else { return };
    let limits = CommandLimits { output: 10_000, ..LIMITS };
    let (stdout, _, end) = all(start(&lanes, &user, CommandLine::new("yes"), "", limits).await.unwrap()).await;
    assert_eq!((stdout.len(), end), (10_000, Err(TransportError::Output(10_000).to_string())));
    let limits = CommandLimits { execution: Duration::from_millis(500), ..LIMITS };
    let line = CommandLine::new("sh -c").arg("echo begun; sleep 47.11");
    let (stdout, _, end) = all(start(&lanes, &user, line, "", limits).await.unwrap()).await;
    assert_eq!((stdout.as_slice(), end), (&b"begun\n"[..], Err(TransportError::Execution(limits.execution).to_string())));
    is_gone(&lanes, &user, "sleep 47.11").await;
    is_gone(&lanes, &user, "yes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_waits_for_any_more_ends_on_the_cluster_with_its_children() {
    let Some((_sshd, lanes, user)) = server() else { return };
    for script in ["echo begun; sleep 47.12; echo ended", "(trap '' TERM; sleep 47.13)& trap '' TERM; echo begun; sleep 47.12; echo ended"]
    {
        let mut output = start(&lanes, &user, limited("goldcrest_run 60 sh -c").arg(script), "", LIMITS).await.unwrap();
        assert!(output.next().await.unwrap().is_ok());
        drop(output);
        is_gone(&lanes, &user, "sleep 47.12").await;
        is_gone(&lanes, &user, "sleep 47.13").await;
    }
}

/// The command of a caller, which has a time limit of its own.
fn limited(line: &'static str) -> CommandLine {
    CommandLine::new(include_str!("../../../src/service/commands.sh")).raw(Raw(line))
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_own_limit_a_command_ends_with_124_and_with_its_children() {
    let Some((_sshd, lanes, user)) = server() else { return };
    let line = limited("goldcrest_run 1 sh -c").arg("cat; sleep 47.14 & sleep 47.15; echo never");
    let began = std::time::Instant::now();
    let (stdout, stderr, end) = all(start(&lanes, &user, line, "given\n", LIMITS).await.unwrap()).await;
    assert_eq!((stdout.as_slice(), stderr.as_slice(), end), (&b"given\n"[..], &b""[..], Ok(124)));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    is_gone(&lanes, &user, "sleep 47.14").await;
    is_gone(&lanes, &user, "sleep 47.15").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_is_known_although_something_holds_the_output() {
    let Some((_sshd, lanes, user)) = server() else { return };
    let limits = CommandLimits { execution: Duration::from_secs(1), ..LIMITS };
    let line = CommandLine::new("sh -c").arg("echo begun; setsid sleep 5.16 & exit 3");
    let (stdout, _, end) = all(start(&lanes, &user, line, "", limits).await.unwrap()).await;
    assert_eq!((stdout.as_slice(), end), (&b"begun\n"[..], Ok(3)));
}

async fn is_gone(lanes: &Lanes, user: &str, line: &str) {
    let running = || async { exec(lanes, user, command(CommandLine::new("pgrep -u").arg(user).flag("-fx").arg(line))).await.unwrap().exit };
    wait_until(PATIENCE, async || running().await == 1).await;
}
