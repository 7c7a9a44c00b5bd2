//! A command of a client: a shell in a process group of its own, so that it can be stopped with all that it started.

use std::ffi::OsStr;
use std::io;
use std::mem::discriminant;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use russh::Sig;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::Account;

/// The time for a command to end by itself after SIGTERM.
const TERMINATION_GRACE: Duration = Duration::from_secs(2);

/// The ends of its pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// A running command.
pub(super) struct Program {
    child: Child,
    group: Group,
}

/// The process group of a command. It is the id of its leader, which is not given to another process before the leader was
/// waited for.
#[derive(Clone, Copy)]
pub(super) struct Group(Option<Pid>);

impl Program {
    /// Starts `shell -c command` with a clean environment in the account's home directory.
    pub(super) fn start(account: &Account, command: &[u8]) -> io::Result<(Self, Pipes)> {
        let mut child = Command::new(&account.shell)
            .arg("-c")
            .arg(OsStr::from_bytes(command))
            .env_clear()
            .env("HOME", &account.home)
            .env("USER", account.name.as_str())
            .env("LOGNAME", account.name.as_str())
            .env("PATH", &account.search_path)
            .env("SHELL", &account.shell)
            .current_dir(&account.home)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((Self { child, group }, Pipes { stdin, stdout, stderr })),
            _ => Err(io::Error::other("the pipes of a command are missing")),
        }
    }

    /// Its process group.
    pub(super) fn group(&self) -> Group {
        self.group
    }

    /// Waits for the shell itself. Processes that it left behind with no pipe of ours go on, as under any SSH server.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the whole group: SIGTERM, and SIGKILL for what is left when the shell has ended or its time is over.
    pub(super) async fn stop(mut self) {
        self.group.signal(Signal::TERM);
        tokio::time::timeout(TERMINATION_GRACE, self.child.wait()).await.ok();
        self.group.signal(Signal::KILL);
        self.child.wait().await.ok();
    }
}

impl Drop for Program {
    /// If no task can wait for an orderly end, as when the whole runtime is dropped, the group is killed.
    fn drop(&mut self) {
        // There is no id any more once the shell was waited for; the group's number may then be another's.
        if self.child.id().is_some() {
            self.group.signal(Signal::KILL);
        }
    }
}

impl Group {
    /// Delivers a signal that the client asked for. Names that this system does not know are ignored, as RFC 4254, 6.9
    /// allows.
    pub(super) fn send(self, name: &Sig) {
        if let Some((_, signal)) = SIGNALS.iter().find(|(known, _)| discriminant(known) == discriminant(name)) {
            self.signal(*signal);
        }
    }

    fn signal(self, signal: Signal) {
        if let Some(group) = self.0 {
            // The group may have ended meanwhile.
            kill_process_group(group, signal).ok();
        }
    }
}

/// The signal that ended a command, as SSH names it, and whether it left a core file.
pub(super) fn signal_name(status: ExitStatus) -> (Sig, bool) {
    let number = status.signal().unwrap_or_default();
    let name = SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number).map(|(name, _)| name.clone());
    // Names of other signals carry a domain (RFC 4254, 6.10).
    (name.unwrap_or_else(|| Sig::Custom(format!("SIG{number}@goldcrest"))), status.core_dumped())
}

/// The signals that SSH has a name for.
const SIGNALS: [(Sig, Signal); 12] = [
    (Sig::ABRT, Signal::ABORT),
    (Sig::ALRM, Signal::ALARM),
    (Sig::FPE, Signal::FPE),
    (Sig::HUP, Signal::HUP),
    (Sig::ILL, Signal::ILL),
    (Sig::INT, Signal::INT),
    (Sig::KILL, Signal::KILL),
    (Sig::PIPE, Signal::PIPE),
    (Sig::QUIT, Signal::QUIT),
    (Sig::SEGV, Signal::SEGV),
    (Sig::TERM, Signal::TERM),
    (Sig::USR1, Signal::USR1),
];
