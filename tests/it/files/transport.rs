//! A cluster that is this machine: subsystems are served in process or by OpenSSH's program, commands are run by `sh`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::BytesMut;
use goldcrest::demo::sftp_server;
use goldcrest::domain::Principal;
use goldcrest::filesystem::sftp::protocol::{Request, Response, VERSION, encode_request, encode_response, split_packet};
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Where Debian has OpenSSH's server.
pub const OPENSSH: &str = "/usr/lib/openssh/sftp-server";

/// A user of this machine, by numbers.
#[derive(Clone, Copy)]
pub struct User {
    pub user: u32,
    pub group: u32,
    pub groups: u32,
}

/// How the `sftp` subsystem is served.
pub enum Subsystem {
    /// By our own server.
    Own,
    /// By OpenSSH's.
    OpenSsh,
    /// By OpenSSH's, which refuses these requests.
    Refusing(&'static str),
    /// By OpenSSH's, with its extensions hidden: bare version 3.
    Plain,
    /// Not at all.
    Refused,
    /// By a function that misbehaves.
    Hostile(fn(DuplexStream)),
}

/// The transport.
pub struct Local {
    subsystem: Subsystem,
    /// Every session opened, with its user and class.
    pub opened: Mutex<Vec<(String, LaneKind)>>,
    /// Commands run.
    pub commands: AtomicUsize,
    /// Whether commands are run at all.
    pub runs_commands: bool,
    /// As whom OpenSSH's server and commands run; takes root.
    pub user: Option<User>,
    running: Mutex<Vec<AbortHandle>>,
    /// Cuts the commands that run.
    streams: Mutex<CancellationToken>,
    retired: Mutex<CancellationToken>,
}

impl Local {
    pub fn new(subsystem: Subsystem) -> Self {
        Self {
            subsystem,
            opened: Mutex::default(),
            commands: AtomicUsize::new(0),
            runs_commands: true,
            user: None,
            running: Mutex::default(),
            streams: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    /// A program, run as the user.
    fn program(&self, program: &str) -> Command {
        let mut command = match self.user {
            None => Command::new(program),
            Some(User { user, group, groups }) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={group}"), format!("--groups={groups}")]).arg(program);
                command
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn shell(&self, line: &CommandLine) -> Command {
        let mut command = self.program("sh");
        command.arg("-c").arg(OsString::from_vec(line.as_bytes().to_vec())).current_dir(Path::new("/"));
        command
    }

    /// Cuts every session and every command that is open now.
    pub fn cut_sessions(&self) {
        self.running.lock().unwrap().drain(..).for_each(|task| task.abort());
        std::mem::take(&mut *self.streams.lock().unwrap()).cancel();
    }

    /// Tells every session that is open now that its connection takes no more work.
    pub fn retire_connections(&self) {
        std::mem::take(&mut *self.retired.lock().unwrap()).cancel();
    }

    /// Sessions of our own server that have not ended.
    pub fn sessions(&self) -> usize {
        self.running.lock().unwrap().iter().filter(|task| !task.is_finished()).count()
    }
}

#[async_trait]
impl Transport for Local {
    async fn exec(&self, _: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        if !self.runs_commands {
            return Err(TransportError::Refused("exec request failed".to_owned()));
        }
        let cut = self.streams.lock().unwrap().clone();
        let mut child = self.shell(&exec.line).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        child.stdin.take().unwrap().write_all(&exec.stdin).await.unwrap();
        let output = tokio::select! {
            output = child.wait_with_output() => output.unwrap(),
            () = cut.cancelled() => {
                // The node ends what belonged to the connection, without a word to it.
                let _ = kill_process_group(group.unwrap(), Signal::KILL);
                return Err(TransportError::Broken { sent: true });
            }
        };
        if let Some(limits) = exec.limits.filter(|limits| output.stdout.len() > limits.output) {
            return Err(TransportError::Output(limits.output));
        }
        let exit = output.status.code().map_or(255, i32::unsigned_abs);
        Ok(RawOutput { stdout: output.stdout, stderr: output.stderr, exit })
    }

    async fn subsystem(&self, principal: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        assert_eq!(name, "sftp");
        self.opened.lock().unwrap().push((principal.username.to_string(), lane));
        match &self.subsystem {
            Subsystem::Refused => {
                // A server's word takes its time.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                Err(TransportError::Refused("subsystem request failed".to_owned()))
            }
            Subsystem::OpenSsh => Ok(ByteStream::new(Process::start(&mut self.program(OPENSSH)))),
            Subsystem::Refusing(requests) => Ok(ByteStream::new(Process::start(self.program(OPENSSH).args(["-P", requests])))),
            Subsystem::Plain => {
                let (ours, theirs) = tokio::io::duplex(256 * 1024);
                let server = Process::start(&mut self.program(OPENSSH));
                self.running.lock().unwrap().push(tokio::spawn(without_extensions(theirs, server)).abort_handle());
                Ok(ByteStream::new(ours))
            }
            Subsystem::Own => {
                let (ours, theirs) = tokio::io::duplex(256 * 1024);
                let task = tokio::spawn(async move { sftp_server::serve(theirs).await });
                self.running.lock().unwrap().push(task.abort_handle());
                Ok(ByteStream::retiring(ours, self.retired.lock().unwrap().clone()))
            }
            Subsystem::Hostile(behaviour) => {
                let (ours, theirs) = tokio::io::duplex(256 * 1024);
                behaviour(theirs);
                Ok(ByteStream::new(ours))
            }
        }
    }

    async fn stream(&self, _: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        if !self.runs_commands {
            return Err(TransportError::Refused("exec request failed".to_owned()));
        }
        Ok(ByteStream::new(Process::command(self.shell(line), self.streams.lock().unwrap().clone())))
    }
}

/// Carries a session between a client and a server, whose greeting it strips of extensions.
async fn without_extensions(mut client: DuplexStream, mut server: Process) {
    let (mut buffer, mut greeting) = (BytesMut::new(), BytesMut::new());
    encode_request(0, &Request::Init { version: VERSION }, &mut greeting);
    client.read_exact(&mut vec![0; greeting.len()]).await.unwrap();
    server.write_all(&greeting).await.unwrap();
    while split_packet(&mut buffer).unwrap().is_none() {
        server.read_buf(&mut buffer).await.unwrap();
    }
    assert!(buffer.is_empty(), "nothing follows the greeting unasked");
    encode_response(0, &Response::Version { version: VERSION, extensions: Vec::new() }, &mut buffer);
    client.write_all(&buffer).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// A process as a byte stream, killed when dropped. Reading a command's output fails at its end where its exit status says so.
struct Process {
    exit: Pin<Box<dyn Future<Output = std::io::Result<ExitStatus>> + Send>>,
    command: bool,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let cut = Box::pin(CancellationToken::new().cancelled_owned());
        Self { exit: Box::pin(async move { child.wait().await }), command: false, stdin, stdout, cut, is_cut: false }
    }

    fn command(mut shell: Command, cut: CancellationToken) -> Self {
        Self { command: true, cut: Box::pin(cut.cancelled_owned()), ..Self::start(shell.stderr(Stdio::null())) }
    }

    /// What a command meets whose connection breaks: its input ends, as if that were all of it, and nobody hears what it does then.
    fn check(&mut self, context: &mut Context<'_>) -> std::io::Result<()> {
        if !self.is_cut && self.cut.as_mut().poll(context).is_ready() {
            self.is_cut = true;
            self.stdin = None;
            let exit = std::mem::replace(&mut self.exit, Box::pin(std::future::pending()));
            tokio::spawn(exit);
        }
        if self.is_cut { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Process {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.check(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(context, buffer))?;
        if self.command && buffer.filled().len() == before {
            let status = ready!(self.exit.as_mut().poll(context))?;
            // An ended future must not be asked again.
            self.exit = Box::pin(std::future::ready(Ok(status)));
            if !status.success() {
                return Poll::Ready(Err(std::io::Error::other(format!("Remote process failed with exit status:{status}"))));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Process {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.check(context)?;
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(context, bytes),
            None => Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
