//! The text that `/bin/sh` reads on its standard input.
//!
//! A login shell receives one constant line, which has the same meaning in every shell, and is replaced by `/bin/sh`. All else is sent on
//! standard input: a prologue, which defines a few functions, and then commands. Each output begins with a random mark of its
//! own, so that the output of start-up files is never taken for a command's, and a shell that ends without the mark has
//! provably not begun.

use crate::ssh::command_line::{CommandLine, Environment, Raw};

/// The line for the login shell.
pub(crate) const START: &[u8] = b"exec /bin/sh";

/// The first part of the text for `/bin/sh`.
const PROLOGUE: &str = include_str!("prologue.sh");

/// The maximum number of bytes that start-up files may print before a command begins.
const MAX_NOISE: usize = 1024 * 1024;

/// The maximum number of bytes of that output that an error repeats.
const MAX_SHOWN_NOISE: usize = 300;

/// The block size of a metered program, in bytes.
pub(crate) const BLOCK: u64 = 32 * 1024;

/// The number of blocks that a metered program sends without a request.
pub(crate) const FIRST_BLOCKS: u64 = 32;

/// A program for a fresh `/bin/sh`, which ends with it. What follows on standard input is the program's own, and must not be
/// sent before the mark has come: some shells read ahead.
pub(crate) struct Program {
    pub(crate) mark: String,
    pub(crate) text: Vec<u8>,
}

impl Program {
    /// The program that runs one command.
    pub(crate) fn of(line: &CommandLine, environment: Environment) -> Self {
        Self::with_body(environment, |_| line.as_bytes().to_vec())
    }

    /// The program that runs one command without input, and sends its output in blocks of [`BLOCK`] bytes: [`FIRST_BLOCKS`], and then as many
    /// as each line of its standard input requests. The output ends with a line feed, the mark, the exit status and a line feed.
    pub(crate) fn metered(line: &CommandLine) -> Self {
        let dd = |count: &str| format!("dd bs={BLOCK} count={count} iflag=fullblock 2>/dev/null");
        let (first, more) = (dd(&FIRST_BLOCKS.to_string()), dd("\"$goldcrest_blocks\""));
        Self::with_body(Environment::Client, |mark| {
            let mut body = b"exec 3<&0\n{ (\n".to_vec();
            body.extend_from_slice(line.as_bytes());
            body.extend_from_slice(
                format!(
                    "\n) </dev/null 2>/dev/null 3<&-; printf '\\n%s %d\\n' {mark} $?; }} | {{\n{first}\nwhile read -r goldcrest_blocks <&3; do {more}; done\n}}"
                )
                .as_bytes(),
            );
            body
        })
    }

    /// The program that runs one command, as a line for a login shell that reads none on its standard input. None where the line
    /// would not mean the same to all of them.
    pub(crate) fn in_line(line: &CommandLine) -> Option<Self> {
        let mark = new_mark();
        let framed = CommandLine::new("/bin/sh -c").flag(r#"'echo "$0"; echo "$0" >&2; "$@"'"#).arg(&mark).then(Raw(""), line);
        // A plain line is one simple command, and its words are that of the frame too.
        (line.is_plain() && framed.is_plain()).then(|| Self { text: framed.as_bytes().to_vec(), mark })
    }

    fn with_body(environment: Environment, body: impl FnOnce(&str) -> Vec<u8>) -> Self {
        let mark = new_mark();
        // One compound command, which is read to its end before any of it runs: what was cut off does nothing.
        let mut text = PROLOGUE.as_bytes().to_vec();
        text.extend_from_slice(format!("goldcrest_begin {mark} && {{\n").as_bytes());
        text.extend_from_slice(entering(environment));
        text.extend_from_slice(&body(&mark));
        text.extend_from_slice(b"\nexit\n}\n");
        Self { mark, text }
    }
}

/// The first part of the text for a kept shell.
pub(crate) fn prologue() -> &'static [u8] {
    PROLOGUE.as_bytes()
}

/// The command that enters an environment.
pub(crate) fn entering(environment: Environment) -> &'static [u8] {
    match environment {
        Environment::Client => b"goldcrest_client\n",
        Environment::Login => b"",
    }
}

/// A mark that was never used before.
pub(crate) fn new_mark() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// One stream of output, from the mark on.
pub(crate) struct Marked {
    pub(crate) mark: String,
    pub(crate) begun: bool,
    /// The output after the mark; before the mark has arrived, all output.
    pub(crate) bytes: Vec<u8>,
}

impl Marked {
    pub(crate) fn new(mark: &str) -> Self {
        Self { mark: mark.to_owned(), begun: false, bytes: Vec::new() }
    }

    /// Takes the next piece of output.
    pub(crate) fn take(&mut self, data: &[u8]) {
        // Only what is new can complete the mark, which may have come in parts.
        let seen = self.bytes.len().saturating_sub(self.mark.len());
        self.bytes.extend_from_slice(data);
        if self.begun {
            return;
        }
        let mark = format!("{}\n", self.mark);
        if let Some(at) = self.bytes[seen..].windows(mark.len()).position(|window| window == mark.as_bytes()) {
            self.bytes.drain(..seen + at + mark.len());
            self.begun = true;
        }
    }

    /// Whether the start-up files print more than the limit.
    pub(crate) fn is_flooded(&self) -> bool {
        !self.begun && self.bytes.len() > MAX_NOISE
    }
}

/// The reason why a login shell ran nothing, from its output.
pub(crate) fn not_begun(stdout: &[u8], stderr: &[u8]) -> String {
    let said = [stdout.trim_ascii(), stderr.trim_ascii()].join(&b'\n');
    let said = said.trim_ascii();
    let said: String = String::from_utf8_lossy(&said[..said.len().min(MAX_SHOWN_NOISE)]).into();
    match said.is_empty() {
        true => "the login shell ended before it ran a command; do its start-up files call exit or exec, or read or close standard \
             input, or is it a program such as /bin/false?"
            .to_owned(),
        false => format!("the login shell ended before it ran a command, and printed: {}", said.escape_debug()),
    }
}

/// The program that `/bin/sh` reads for a command, for tests with a real shell; its output begins with two lines of marks, one
/// on each stream. What is to be the command's standard input must not be sent along.
#[cfg(test)]
pub fn program_of<C: crate::ssh::RemoteCommand>(command: &C) -> Vec<u8> {
    Program::of(&command.command_line(), command.environment()).text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::{Read, Write};
    use std::os::unix::ffi::OsStringExt;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// The login shells of users. A machine that tests changes has all of them.
    fn login_shells() -> Vec<&'static str> {
        let (known, missing): (Vec<&str>, Vec<&str>) = ["sh", "bash", "dash", "zsh", "ksh", "tcsh", "csh", "fish"]
            .into_iter()
            .partition(|shell| Command::new(shell).args(["-c", "true"]).output().is_ok());
        assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "not installed: {missing:?}");
        known
    }

    /// What a user's login shell with this home directory makes of a line and its input.
    fn log_in(shell: &str, home: &Path, variables: &[(&str, &str)], line: &[u8], input: &[u8]) -> Output {
        let mut child = Command::new(shell)
            .arg("-c")
            .arg(OsString::from_vec(line.to_vec()))
            .env_clear()
            .env("HOME", home)
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(variables.iter().copied())
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A shell that ends early reads no more.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    fn run(shell: &str, home: &Path, variables: &[(&str, &str)], line: &CommandLine, environment: Environment) -> (Vec<u8>, Output) {
        let program = Program::of(line, environment);
        let output = log_in(shell, home, variables, START, &program.text);
        let mut stdout = Marked::new(&program.mark);
        stdout.take(&output.stdout);
        assert!(stdout.begun, "{shell}: {output:?}");
        (stdout.bytes, output)
    }

    fn print(words: &[Vec<u8>]) -> (CommandLine, Vec<u8>) {
        let line = words.iter().fold(CommandLine::new("printf").arg("%s\\0"), CommandLine::arg);
        (line, words.iter().flat_map(|word| word.iter().copied().chain([0])).collect())
    }

    /// What a metered program prints with these lines on standard input once it has begun, without its first mark.
    fn metered(line: &CommandLine, asks: &str) -> (String, Vec<u8>) {
        let program = Program::metered(line);
        let mut child = Command::new("/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        stdin.write_all(&program.text).unwrap();
        let mut first = vec![0; program.mark.len() + 1];
        stdout.read_exact(&mut first).unwrap();
        stdin.write_all(asks.as_bytes()).unwrap();
        drop(stdin);
        let mut printed = Vec::new();
        stdout.read_to_end(&mut printed).unwrap();
        child.wait().unwrap();
        (program.mark, printed)
    }

    #[test]
    fn a_metered_program_sends_what_was_asked_for_and_then_its_exit_status() {
        let (_, printed) = metered(&CommandLine::new("head -c 9000000 /dev/zero"), "");
        assert_eq!(printed.len() as u64, FIRST_BLOCKS * BLOCK);
        let (_, printed) = metered(&CommandLine::new("head -c 9000000 /dev/zero"), "3\n1\n");
        assert_eq!(printed.len() as u64, (FIRST_BLOCKS + 4) * BLOCK);
        let (mark, printed) = metered(&CommandLine::new("head -c 9000000 /dev/zero; echo trouble >&2; exit 7"), "100\n1000\n");
        assert_eq!(printed[9_000_000..], *format!("\n{mark} 7\n").as_bytes());
        let (mark, printed) = metered(&CommandLine::new("cat; sh -c").arg("kill -9 $$"), "");
        assert_eq!(printed, format!("\n{mark} 137\n").into_bytes());
    }

    #[test]
    fn a_program_in_a_line_is_framed_behind_every_login_shell() {
        let home = tempfile::tempdir().unwrap();
        let program = Program::in_line(&CommandLine::new("printf").arg("<%s>").arg("a $HOME *").flag("--")).unwrap();
        for shell in login_shells() {
            let output = log_in(shell, home.path(), &[], &program.text, b"");
            assert_eq!(output.stdout, format!("{}\n<a $HOME *><-->", program.mark).into_bytes(), "{shell}");
            assert_eq!(output.stderr, format!("{}\n", program.mark).into_bytes(), "{shell}");
        }
        assert!(Program::in_line(&CommandLine::new("ls").arg("it's")).is_none());
        assert!(Program::in_line(&CommandLine::new("ls; id")).is_none());
    }

    #[test]
    fn the_line_for_login_shells_is_one_plain_line() {
        assert!(CommandLine::new("exec").flag("/bin/sh").is_plain());
        assert_eq!(START, CommandLine::new("exec").flag("/bin/sh").as_bytes());
    }

    #[test]
    fn words_that_login_shells_would_change_arrive_behind_every_one_of_them() {
        let words: Vec<Vec<u8>> = [
            &br"\'; id >PWNED; #"[..],
            b"!",
            b"!!",
            b"!-1 !x",
            b"a\nb\n\n",
            b"\n",
            b"\\",
            b"\\\\'",
            b"'\\''",
            b"\"$HOME\"`id`$(id)",
            b"%1 %",
            b"~ ~root",
            b"{a,b}",
            b"*?[a]",
            b"",
            b" ",
            b"\t",
            b"\r\n",
            b"\x80\xff\xfe",
            b"\x81\x82\x83\x84\x85\x86\x87\x88",
            "ü€\u{1f426}".as_bytes(),
            b"#",
            b"-n",
            b"^a^b",
            b"$?",
            b"\x1b[0m\x7f",
        ]
        .iter()
        .map(|word| word.to_vec())
        .chain([vec![b'x'; 70_000], b"'!\n\\".repeat(10_000)])
        .collect();
        let (line, expected) = print(&words);
        let home = tempfile::tempdir().unwrap();
        for shell in login_shells() {
            let (printed, output) = run(shell, home.path(), &[], &line, Environment::Client);
            assert_eq!(printed, expected, "{shell}");
            assert_eq!(output.status.code(), Some(0), "{shell}");
        }
        assert!(!home.path().join("PWNED").exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_words_arrive_behind_every_login_shell(
            words in proptest::collection::vec(proptest::collection::vec(1u8.., 0..40), 0..5),
            awkward in proptest::collection::vec("[!\\\\\n'\"%~{}$`()<>|&;#*?^= \t-]{0,30}", 1..4),
        ) {
            let words: Vec<Vec<u8>> = words.into_iter().chain(awkward.into_iter().map(String::into_bytes)).collect();
            let (line, expected) = print(&words);
            let home = tempfile::tempdir().unwrap();
            for shell in login_shells() {
                prop_assert_eq!(&run(shell, home.path(), &[], &line, Environment::Client).0, &expected, "{}", shell);
            }
        }

        #[test]
        fn a_plain_line_means_the_same_to_every_login_shell(words in proptest::collection::vec("[ -~]{0,20}", 1..4)) {
            let words: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
            let line = words.iter().fold(CommandLine::new("printf").arg("<%s>"), CommandLine::arg);
            let strange = |byte: &u8| matches!(byte, b'!' | b'\\' | b'\'');
            prop_assert_eq!(line.is_plain(), !words.iter().flatten().any(strange), "{}", line);
            if line.is_plain() {
                let expected: Vec<u8> = words.iter().flat_map(|word| [b"<", word.as_slice(), b">"].concat()).collect();
                let home = tempfile::tempdir().unwrap();
                for shell in login_shells() {
                    prop_assert_eq!(&log_in(shell, home.path(), &[], line.as_bytes(), b"").stdout, &expected, "{}", shell);
                }
            }
        }
    }

    #[test]
    fn lines_that_some_login_shell_would_change_are_not_plain() {
        for word in ["!", "\\", "'", "a\nb", "ü", "\t", &"x".repeat(MAX_SHOWN_NOISE * 4)] {
            assert!(!CommandLine::new("ls").arg(word).is_plain(), "{word:?}");
        }
        assert!(!CommandLine::new("ls").flag("$HOME").is_plain());
        assert!(!CommandLine::new("ls > x").is_plain());
        assert!(CommandLine::new("timeout").number(5).flag("env LC_ALL=C ls -l --").arg("/a b/$c/{d}*").is_plain());
    }

    fn entries(output: &[u8]) -> Vec<String> {
        // The shell and the process have these of their own.
        let own = ["_=", "SHLVL=", "PWD=", "OLDPWD=", "SHELL="];
        let entries = output.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into_owned());
        let mut entries: Vec<String> =
            entries.filter(|entry| !entry.is_empty() && !own.iter().any(|name| entry.starts_with(name))).collect();
        entries.sort();
        entries
    }

    const VARIABLES: [(&str, &str); 9] = [
        ("SQUEUE_FORMAT", "%i\nexport SCANCEL_USER=x"),
        ("SCANCEL_STATE", "PENDING"),
        ("SLURM_CONF", "/site/slurm.conf"),
        ("PBS_CONF_FILE", "/site/pbs.conf"),
        ("PBS_DPREFIX", "#X"),
        ("TAR_OPTIONS", "--remove-files"),
        ("LD_LIBRARY_PATH", "/site/lib"),
        ("BASH_FUNC_stat%%", "() {  echo bent\n}"),
        ("BASH_FUNC_module%%", "() {  echo \"it's $1\n\" | cat\n}"),
    ];

    #[test]
    fn client_commands_get_what_says_where_things_are_and_nothing_that_bends_them() {
        let home = tempfile::tempdir().unwrap();
        for shell in login_shells() {
            let (printed, _) = run(shell, home.path(), &VARIABLES, &CommandLine::new("env -0"), Environment::Client);
            let entries = entries(&printed);
            for kept in ["SLURM_CONF=/site/slurm.conf", "PBS_CONF_FILE=/site/pbs.conf", "LD_LIBRARY_PATH=/site/lib"] {
                assert!(entries.iter().any(|entry| entry == kept), "{shell}: {entries:?}");
            }
            let bent = ["SQUEUE_", "SCANCEL_", "PBS_DPREFIX", "TAR_OPTIONS", "BASH_FUNC_"];
            assert!(!entries.iter().any(|entry| bent.iter().any(|name| entry.starts_with(name))), "{shell}: {entries:?}");
        }
    }

    #[test]
    fn what_runs_the_users_own_work_gets_what_it_would_get_from_plain_ssh() {
        let home = tempfile::tempdir().unwrap();
        for shell in login_shells() {
            let variables = |output: &[u8]| {
                // Some shells behind `/bin/sh` pass no functions of bash on.
                let mut entries = entries(output);
                entries.retain(|entry| !entry.starts_with("BASH_FUNC_"));
                entries
            };
            let plain = variables(&log_in(shell, home.path(), &VARIABLES, b"env -0", b"").stdout);
            assert!(plain.contains(&"SCANCEL_STATE=PENDING".to_owned()), "{shell}: {plain:?}");
            let (printed, _) = run(shell, home.path(), &VARIABLES, &CommandLine::new("env -0"), Environment::Login);
            assert_eq!(variables(&printed), plain, "{shell}");
        }
    }
}
