//! The protocol for running one command after the other in an open shell, and for separating their outputs.
//!
//! Every command is framed by two random marks of its own, on standard output and on standard error, so that nothing a
//! command prints, nor a process that an earlier one left running, can imitate its end. The first mark is printed before
//! the command: a shell that ends without it has provably not begun.

use futures::FutureExt;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};

use crate::ssh::channel::outcome::{ExecOutcome, NO_EXEC, next_message};
use crate::ssh::command_line::CommandLine;
use crate::ssh::program::{Marked, START, entering, new_mark, not_begun, prologue};
use crate::ssh::transport::{Exec, RawOutput, TransportError};

/// The largest input for a command: some shells read a byte at a time.
const MAX_INPUT: usize = 32 * 1024;

/// Room for the marks beside a command's own output.
const MARKS: usize = 256;

/// The text of a command for the shell, and the mark that frames its output.
pub(crate) struct Script {
    mark: String,
    text: Vec<u8>,
}

impl Script {
    /// The script for a command; none if its input is not for a shell.
    pub(crate) fn of(exec: &Exec) -> Option<Self> {
        Self::marked(new_mark(), exec)
    }

    /// The command runs in a subshell, so that it can change nothing of the shell's own.
    fn marked(mark: String, exec: &Exec) -> Option<Self> {
        if exec.stdin.len() > MAX_INPUT || exec.stdin.contains(&0) {
            return None;
        }
        let mut text = format!("goldcrest_begin {mark} || exit\n").into_bytes();
        if !exec.stdin.is_empty() {
            // Not a here-document, which some shells put into a file: where there is no room for one, nothing could be submitted.
            text.extend_from_slice(CommandLine::new("printf").arg("%s").arg(&exec.stdin).as_bytes());
            text.extend_from_slice(b" | ");
        }
        text.extend_from_slice(b"(\n");
        text.extend_from_slice(entering(exec.environment));
        text.extend_from_slice(exec.line.as_bytes());
        text.extend_from_slice(if exec.stdin.is_empty() { b"\n) </dev/null\n" } else { b"\n)\n" });
        text.extend_from_slice(format!("set -- $?; printf '\\n%s %d\\n' {mark} $1; printf '\\n%s %d\\n' {mark} $1 >&2\n").as_bytes());
        Some(Self { mark, text })
    }
}

impl Marked {
    /// The end of the command's own output, and its exit status, once the second mark has arrived.
    fn end(&self) -> Option<(usize, u32)> {
        let line = self.bytes.strip_suffix(b"\n")?;
        let start = line.iter().rposition(|&byte| byte == b'\n')?;
        let exit = str::from_utf8(&line[start + 1..]).ok()?.strip_prefix(self.mark.as_str())?.strip_prefix(' ')?;
        self.begun.then_some((start, exit.parse().ok()?))
    }

    fn finish(mut self, end: usize) -> Vec<u8> {
        self.bytes.truncate(end);
        self.bytes
    }
}

/// Sends the command to the shell, and collects the output until both streams have ended; a `fresh` channel is made a
/// shell first. `max_output` bytes of output are taken.
pub(crate) async fn drive(
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    fresh: bool,
    script: Script,
    max_output: usize,
) -> ExecOutcome {
    let Script { mark, text } = script;
    let feed = async {
        if fresh {
            write.exec(true, START).await?;
            write.data_bytes(bytes::Bytes::from_static(prologue())).await?;
        }
        write.data_bytes(bytes::Bytes::from(text)).await
    }
    .fuse();
    tokio::pin!(feed);
    let (mut stdout, mut stderr) = (Marked::new(&mark), Marked::new(&mark));
    loop {
        match next_message(read, feed.as_mut()).await {
            Some(ChannelMsg::Data { data }) => stdout.take(&data),
            Some(ChannelMsg::ExtendedData { data, .. }) => stderr.take(&data),
            Some(ChannelMsg::Failure) => break ExecOutcome::NotBegun(NO_EXEC.to_owned()),
            Some(ChannelMsg::Close) if !stdout.begun => break ExecOutcome::NotBegun(not_begun(&stdout.bytes, &stderr.bytes)),
            // The shell itself has ended. Processes that it started may continue, but their end will not be reported.
            Some(ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. }) if stdout.begun => {
                break ExecOutcome::Broken { heard: true };
            }
            Some(ChannelMsg::Close) | None => {
                let silent = |stream: &Marked| !stream.begun || stream.bytes.is_empty();
                break ExecOutcome::Broken { heard: !(silent(&stdout) && silent(&stderr)) };
            }
            Some(_) => continue,
        }
        if let (Some((end, exit)), Some((error_end, _))) = (stdout.end(), stderr.end()) {
            let output = RawOutput { stdout: stdout.finish(end), stderr: stderr.finish(error_end), exit };
            let within = output.stdout.len() + output.stderr.len() <= max_output;
            break if within { ExecOutcome::Output(output) } else { ExecOutcome::Failed(TransportError::Output(max_output)) };
        }
        if stdout.bytes.len() + stderr.bytes.len() > max_output.saturating_add(MARKS) {
            break ExecOutcome::Failed(TransportError::Output(max_output));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Output, Stdio};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::Environment;

    const MARK: &str = "0123456789abcdef0123456789abcdef";

    fn script(line: CommandLine, stdin: &[u8]) -> Script {
        let exec = Exec { line, stdin: Bytes::copy_from_slice(stdin), idempotent: true, limits: None, environment: Environment::Client };
        Script::marked(MARK.to_owned(), &exec).unwrap()
    }

    fn sh(program: &'static str) -> CommandLine {
        CommandLine::new("sh").flag("-c").arg(program)
    }

    /// What a real shell makes of the scripts, one after the other.
    fn told(scripts: &[Script]) -> Output {
        told_by(&["sh"], scripts)
    }

    fn told_by(shell: &[&str], scripts: &[Script]) -> Output {
        let mut shell =
            Command::new(shell[0]).args(&shell[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = shell.stdin.take().unwrap();
        let text: Vec<u8> = prologue().iter().copied().chain(scripts.iter().flat_map(|script| script.text.clone())).collect();
        let writer = std::thread::spawn(move || input.write_all(&text).unwrap());
        let output = shell.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// A command's output, taken apart after it came in pieces of `size` bytes.
    fn taken(bytes: &[u8], size: usize) -> (Vec<u8>, u32) {
        let mut stream = Marked::new(MARK);
        for piece in bytes.chunks(size) {
            assert_eq!(stream.end(), None, "ended early at {:?}", String::from_utf8_lossy(&stream.bytes));
            stream.take(piece);
        }
        let (end, exit) = stream.end().unwrap();
        (stream.finish(end), exit)
    }

    #[test]
    fn both_streams_and_the_exit_status_come_back_as_they_were() {
        let output = told(&[script(sh("printf out; printf err >&2; exit 3"), b"")]);
        for size in [1, 7, 1000] {
            assert_eq!(taken(&output.stdout, size), (b"out".to_vec(), 3));
            assert_eq!(taken(&output.stderr, size), (b"err".to_vec(), 3));
        }
    }

    #[test]
    fn what_the_start_up_files_print_is_dropped() {
        let mut output = b"Welcome to the cluster\nwithout a line feed".to_vec();
        output.extend_from_slice(&told(&[script(CommandLine::new("echo").arg("hello"), b"")]).stdout);
        assert_eq!(taken(&output, 5), (b"hello\n".to_vec(), 0));
    }

    #[test]
    fn a_command_killed_by_a_signal_has_the_status_that_it_has_on_a_channel_of_its_own() {
        let output = told(&[script(sh("kill -9 $$"), b"")]);
        assert_eq!(taken(&output.stdout, 64), (Vec::new(), 137));
    }

    #[test]
    fn no_command_changes_the_shell_of_the_next_one() {
        let hostile = || CommandLine::new("cd / && umask 777 && trap '' TERM && set -e && readonly PATH=/nowhere && exec false");
        let output = told(&[script(hostile(), b""), script(sh("umask; command -v ls"), b"")]);
        let second = output.stdout.windows(MARK.len()).rposition(|window| window == MARK.as_bytes()).unwrap();
        let text = String::from_utf8_lossy(&output.stdout[..second]).into_owned();
        assert!(text.contains("0022\n") || text.contains("0002\n"), "{text}");
        assert!(text.contains("/ls"), "{text}");
    }

    #[test]
    fn a_command_gets_its_own_input_and_never_the_next_script() {
        let output = told(&[script(CommandLine::new("cat"), b""), script(CommandLine::new("true"), b"")]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).matches(MARK).count(), 4);
    }

    #[test]
    fn the_end_cannot_be_forged_without_the_mark() {
        let mut stream = Marked::new(MARK);
        stream.take(format!("{MARK}\n").as_bytes());
        stream.take(b"\nfedcba9876543210fedcba9876543210 0\n");
        assert_eq!(stream.end(), None);
    }

    #[test]
    fn input_with_nul_bytes_and_large_input_are_for_a_channel_of_their_own() {
        for stdin in [Bytes::from_static(b"a\0b"), Bytes::from(vec![b'x'; MAX_INPUT + 1])] {
            assert!(
                Script::of(&Exec {
                    line: CommandLine::new("cat"),
                    stdin,
                    idempotent: true,
                    limits: None,
                    environment: Environment::Client
                })
                .is_none()
            );
        }
    }

    /// The shells that are `sh` on various systems, as far as they are installed.
    fn shells() -> impl Iterator<Item = &'static [&'static str]> {
        let known: [&[&str]; 5] = [&["sh"], &["dash"], &["bash", "--posix"], &["busybox", "sh"], &["ksh"]];
        known.into_iter().filter(|shell| Command::new(shell[0]).args(&shell[1..]).args(["-c", "true"]).output().is_ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_input_comes_through_unchanged(mut stdin in proptest::collection::vec(1u8.., 1..2000), is_lines: bool) {
            if is_lines {
                stdin.push(b'\n');
            }
            for shell in shells() {
                let output = told_by(shell, &[script(CommandLine::new("cat"), &stdin)]);
                prop_assert_eq!(taken(&output.stdout, 4096), (stdin.clone(), 0), "{:?}", shell);
            }
        }
    }

    #[test]
    fn lines_that_a_shell_would_read_as_its_own_come_through_unchanged() {
        let long = "x".repeat(MAX_INPUT - 200);
        let text = format!("#!/bin/sh\n$HOME `id` $(id) \\\n'\"\nEOF\n)\n{}\n<<'{MARK}\n {MARK}\n{MARK} \n\n\t\\n%s\n{long}\n", &MARK[1..]);
        for shell in shells() {
            let scripts = [script(CommandLine::new("cat"), text.as_bytes()), script(CommandLine::new("true"), b"\n")];
            let output = told_by(shell, &scripts);
            let found = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(found.starts_with(&format!("{MARK}\n{text}\n{MARK} 0\n{MARK}\n")), "{shell:?}: {found}");
            assert!(output.stderr.starts_with(format!("{MARK}\n\n{MARK} 0\n").as_bytes()), "{shell:?}");
        }
    }
}
