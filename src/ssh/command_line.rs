//! Command lines. sshd hands the login shell one string, so every argument is quoted here and nowhere else.

use std::fmt;

use crate::domain::bytes_to_text;

/// A command line for a POSIX shell. It cannot be made from a `String`: text of ours is `&'static str`, and whatever comes
/// from elsewhere goes through [`CommandLine::arg`] or [`CommandLine::option`], which quote it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CommandLine(Vec<u8>);

/// The longest line for a login shell, in bytes; some take no words over 1024.
const MAX_PLAIN: usize = 1000;

/// Text of ours that the shell is meant to interpret, such as `|` or `&&`.
#[derive(Clone, Copy, Debug)]
pub struct Raw(pub &'static str);

impl CommandLine {
    /// A command that starts with `program`.
    pub fn new(program: &'static str) -> Self {
        Self(program.as_bytes().to_vec())
    }

    /// Adds a word of ours as it is; it must need no quoting.
    #[must_use]
    pub fn flag(mut self, flag: &'static str) -> Self {
        self.0.push(b' ');
        self.0.extend_from_slice(flag.as_bytes());
        self
    }

    /// Adds one argument, quoted. NUL bytes cannot be carried by any command line and are dropped.
    #[must_use]
    pub fn arg(mut self, value: impl AsRef<[u8]>) -> Self {
        self.0.push(b' ');
        quote_into(&mut self.0, value.as_ref());
        self
    }

    /// Adds `name=value` as one argument, with the value quoted. `name` holds its dashes.
    #[must_use]
    pub fn option(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.0.push(b' ');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        quote_into(&mut self.0, value.as_ref());
        self
    }

    /// Adds a number as it is, which command wrappers of a site may look for, as in `timeout 5 ls`.
    #[must_use]
    pub fn number(mut self, value: u64) -> Self {
        self.0.push(b' ');
        self.0.extend_from_slice(value.to_string().as_bytes());
        self
    }

    /// Adds shell syntax of ours.
    #[must_use]
    pub fn raw(mut self, syntax: Raw) -> Self {
        self.0.push(b' ');
        self.0.extend_from_slice(syntax.0.as_bytes());
        self
    }

    /// Adds a whole command line as one quoted argument, for `sh -c` and its kin.
    #[must_use]
    pub fn nested(self, line: &Self) -> Self {
        self.arg(&line.0)
    }

    /// Appends another command line after shell syntax of ours, as in `a && b`.
    #[must_use]
    pub fn then(mut self, syntax: Raw, line: &Self) -> Self {
        self = self.raw(syntax);
        self.0.push(b' ');
        self.0.extend_from_slice(&line.0);
        self
    }

    /// Whether it means the same to every kind of login shell: one short line of printable ASCII, in which all that any of them
    /// would interpret stands between single quotes, and no `!`, `\\` or line feed anywhere.
    pub(crate) fn is_plain(&self) -> bool {
        let mut quoted = false;
        let plain = self.0.iter().all(|&byte| {
            quoted ^= byte == b'\'';
            match byte {
                b'!' | b'\\' => false,
                b'\'' | b' ' | b'-' | b'_' | b'.' | b'/' | b':' | b',' | b'+' | b'=' => true,
                byte => byte.is_ascii_alphanumeric() || (quoted && byte.is_ascii_graphic()),
            }
        });
        plain && !quoted && self.0.len() <= MAX_PLAIN
    }

    /// The bytes, for a shell.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bytes_to_text(&self.0))
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn quote_into(line: &mut Vec<u8>, value: &[u8]) {
    line.push(b'\'');
    for &byte in value {
        match byte {
            0 => {}
            b'\'' => line.extend_from_slice(br"'\''"),
            byte => line.push(byte),
        }
    }
    line.push(b'\'');
}

/// The environment of a command.
///
/// A command line is read by `/bin/sh` from its standard input, so a word of a *builtin* (`export`, `printf`, `set`) is in no
/// argument list that `ps` shows; only the words of external programs are. That is the way for secrets, such as the variables
/// of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// The environment of the start-up files without variables that change how client programs behave: `SQUEUE_FORMAT`, `TAR_OPTIONS`, functions
    /// named like programs, and the like. Variables that say where something is, such as `PATH` and `SLURM_CONF`, are kept.
    #[default]
    Client,
    /// The environment of the start-up files, as a command given to `ssh` would have it: for the user's own work.
    Login,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arguments_are_quoted_and_words_of_ours_are_not() {
        let line = CommandLine::new("timeout").number(5).flag("ls -l").option("--sort", "a b").flag("--").arg("it's");
        assert_eq!(line.to_string(), r"timeout 5 ls -l --sort='a b' -- 'it'\''s'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_real_shell_reads_every_argument_back(values in proptest::collection::vec(proptest::collection::vec(1u8.., 0..20), 1..4)) {
            let line = values.iter().fold(CommandLine::new("printf").arg("%s\\0"), CommandLine::arg);
            let script: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(line.0);
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            let expected: Vec<u8> = values.iter().flat_map(|value| value.iter().copied().chain([0])).collect();
            prop_assert_eq!(output.stdout, expected);
        }
    }
}
