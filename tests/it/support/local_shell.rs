//! A transport to this machine: commands go to a shell instead of SSH, with a home directory that is removed afterwards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use goldcrest::domain::Principal;
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs commands with a shell of the given kind as the current user.
pub struct LocalShell {
    home: tempfile::TempDir,
    path: std::ffi::OsString,
    execs: AtomicUsize,
    cut: AtomicUsize,
}

impl LocalShell {
    /// A machine whose `sh` is `shell`: the name of a program, or `busybox` for busybox with its own tools before all others.
    /// `None` when there is no such program here.
    pub fn new(shell: &str) -> Option<Arc<Self>> {
        let path = std::env::var_os("PATH")?;
        let program = std::env::split_paths(&path).map(|directory| directory.join(shell)).find(|program| program.is_file())?;
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        if shell == "busybox" {
            // Its own tools, so that a test does not pass thanks to those of GNU.
            let installed = std::process::Command::new(&program).args(["--install", "-s"]).arg(&bin).status().unwrap();
            assert!(installed.success());
        } else {
            std::os::unix::fs::symlink(&program, bin.join("sh")).unwrap();
        }
        let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path))).unwrap();
        Some(Arc::new(Self { home, path, execs: AtomicUsize::new(0), cut: AtomicUsize::new(usize::MAX) }))
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The scheduler's files.
    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/goldcrest")
    }

    /// How many commands were run.
    pub fn execs(&self) -> usize {
        self.execs.load(Ordering::SeqCst)
    }

    /// From now on only so many bytes of a command's input arrive before the connection breaks.
    pub fn cut_input_after(&self, bytes: usize) {
        self.cut.store(bytes, Ordering::SeqCst);
    }

    fn shell(&self, line: &CommandLine) -> Command {
        let mut command = Command::new(self.home().join("bin/sh"));
        command.arg("-c").arg(std::ffi::OsString::from_vec(line.as_bytes().to_vec()));
        command.env_clear().env("HOME", self.home()).env("LOGNAME", "ada").env("PATH", &self.path).current_dir(self.home());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The processes, but for zombies, whose environment names this machine's home directory.
    pub fn processes(&self) -> Vec<i32> {
        let home = self.home().as_os_str().as_encoded_bytes();
        let names = |file: PathBuf| std::fs::read(file).is_ok_and(|bytes| bytes.windows(home.len()).any(|window| window == home));
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| names(format!("/proc/{pid}/environ").into()))
            .collect()
    }
}

#[async_trait]
impl Transport for LocalShell {
    async fn exec(&self, _: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        self.execs.fetch_add(1, Ordering::SeqCst);
        let limit = exec.limits.map_or(Duration::from_secs(60), |limits| limits.execution);
        let mut child = self.shell(&exec.line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sent = &exec.stdin[..exec.stdin.len().min(self.cut.load(Ordering::SeqCst))];
        let work = async {
            let (_, output) = tokio::join!(
                async move {
                    let _ = stdin.write_all(sent).await;
                    drop(stdin);
                },
                // Reads to the end of both streams, as sshd does: a background process that holds one holds the channel.
                child.wait_with_output()
            );
            output.unwrap()
        };
        let output = tokio::time::timeout(limit, work).await.map_err(|_| TransportError::Execution(limit))?;
        let exit = std::os::unix::process::ExitStatusExt::signal(&output.status)
            .map_or_else(|| output.status.code().unwrap(), |signal| 128 + signal);
        Ok(RawOutput { stdout: output.stdout, stderr: output.stderr, exit: u32::try_from(exit).unwrap() })
    }

    async fn subsystem(&self, _: &Principal, _: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        panic!("the local scheduler asked for subsystem {name}")
    }

    /// The end of the command is the end of the stream, whatever its exit status.
    async fn stream(&self, _: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        let mut child = self.shell(line).stderr(Stdio::null()).spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (mut incoming, mut outgoing) = tokio::io::split(theirs);
        tokio::spawn(async move {
            let _child = child;
            let input = async {
                let _ = tokio::io::copy(&mut incoming, &mut stdin).await;
                drop(stdin);
            };
            let output = async {
                let _ = tokio::io::copy(&mut stdout, &mut outgoing).await;
                let _ = outgoing.shutdown().await;
            };
            tokio::join!(input, output);
        });
        Ok(ByteStream::new(ours))
    }
}

impl Drop for LocalShell {
    fn drop(&mut self) {
        // Jobs of a test that failed half-way must not outlive it.
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
