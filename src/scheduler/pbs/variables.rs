//! The variables of a job, on their way past qsub.
//!
//! `qsub -V` takes a job's variables from its own environment. Some of them would steer qsub itself, the shell that starts it, or the
//! libraries of both: those travel as a directive in the script, which qsub reads and does not obey.

use std::collections::BTreeMap;

use crate::domain::is_variable_name;
use crate::scheduler::SchedulerError;
use crate::ssh::CommandLine;

/// The prefixes of variables that programs on the way read: PBS, the loader and the C library, shells, and the languages of qsub
/// wrappers.
const STEERING_PREFIXES: [&str; 18] = [
    "PBS", "LD_", "LC_", "GLIBC_", "MALLOC_", "GCONV_", "RES_", "BASH", "COMP_", "KSH", "ZSH", "PYTHON", "PERL", "TCL", "KRB5", "SSL_",
    "OPENSSL_", "NSS_",
];

/// Further ones: of the user's session, of the C library, and of shells, which may keep them read-only or change them.
const STEERING_NAMES: [&str; 76] = [
    "HOME",
    "USER",
    "LOGNAME",
    "USERNAME",
    "SHELL",
    "MAIL",
    "PATH",
    "PWD",
    "OLDPWD",
    "TERM",
    "DISPLAY",
    "XAUTHORITY",
    "TZ",
    "TZDIR",
    "LANG",
    "LANGUAGE",
    "TMPDIR",
    "TMP",
    "TEMP",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "NLSPATH",
    "POSIXLY_CORRECT",
    "ENV",
    "IFS",
    "CDPATH",
    "FPATH",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "OPTIND",
    "OPTARG",
    "OPTERR",
    "PPID",
    "UID",
    "EUID",
    "GID",
    "EGID",
    "GROUPS",
    "SHELLOPTS",
    "SHLVL",
    "FUNCNAME",
    "FUNCNEST",
    "DIRSTACK",
    "PIPESTATUS",
    "RANDOM",
    "SRANDOM",
    "SECONDS",
    "EPOCHSECONDS",
    "EPOCHREALTIME",
    "LINENO",
    "REPLY",
    "ERRNO",
    "HISTCMD",
    "HISTFILE",
    "HISTSIZE",
    "HISTCONTROL",
    "HOSTNAME",
    "HOSTTYPE",
    "MACHTYPE",
    "OSTYPE",
    "MAILPATH",
    "MAILCHECK",
    "FCEDIT",
    "COLUMNS",
    "LINES",
    "TMOUT",
    "TIMEFORMAT",
    "IGNOREEOF",
    "GLOBIGNORE",
    "EXECIGNORE",
    "FIGNORE",
    "COPROC",
    "_",
];

/// The longest directive in bytes: older releases read one into a buffer of 4096.
const MAX_DIRECTIVE: usize = 4000;

/// The variables of a job, as they are sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// Shell code that exports the variables that go through qsub's environment.
    pub(super) exports: Vec<u8>,
    /// The directive with the other variables; empty if there are none.
    pub(super) directive: String,
}

impl Variables {
    /// Sorts them.
    ///
    /// # Errors
    /// [`SchedulerError::Rejected`] for a value that PBS would lose or change.
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Result<Self, SchedulerError> {
        let rejected = |name: &str, why: &str| Err(SchedulerError::Rejected(format!("the variable {name} {why}")));
        let mut variables = Self::default();
        let mut listed: Vec<String> = Vec::new();
        for (name, value) in environment {
            if !is_variable_name(name) {
                return rejected(name, "has a name that is none");
            }
            if value.contains("\\,") {
                return rejected(name, "holds a backslash before a comma, which PBS loses");
            }
            if name.starts_with("PBS_O_") {
                return rejected(name, "is one that PBS sets itself");
            }
            if !steers(name) {
                let assignment = format!("{name}={value}");
                let refusal = format!("the shell of the login node does not let the variable {name} go");
                let line = CommandLine::new("command").flag("export").arg(assignment).flag("|| refuse").arg(refusal);
                variables.exports.extend_from_slice(line.as_bytes());
                variables.exports.push(b'\n');
            } else if value.contains(|c: char| matches!(c, '"' | '\'' | '\\') || c.is_control()) {
                return rejected(name, "is read by PBS itself, and can then hold no quote, backslash or control character");
            } else {
                listed.push(format!("{name}=\"{value}\""));
            }
        }
        if !listed.is_empty() {
            variables.directive = format!("#PBS -v {}", escaped(&listed.join(",")));
            if variables.directive.len() > MAX_DIRECTIVE {
                return Err(SchedulerError::Rejected(format!(
                    "the variables that PBS itself reads are together longer than {MAX_DIRECTIVE} bytes"
                )));
            }
        }
        Ok(variables)
    }
}

/// Whether a program between here and the job would obey this variable.
fn steers(name: &str) -> bool {
    STEERING_NAMES.contains(&name) || STEERING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// One word of a directive.
fn escaped(word: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\');
    word.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Result<Variables, SchedulerError> {
        Variables::new(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_would_steer_qsub_goes_into_a_directive() {
        let sorted = variables(&[("A", "it's"), ("LD_LIBRARY_PATH", "/a:/b"), ("TMPDIR", "/x y,z")]).unwrap();
        let refusal = "refuse 'the shell of the login node does not let the variable A go'";
        assert_eq!(String::from_utf8(sorted.exports).unwrap(), format!("command export 'A=it'\\''s' || {refusal}\n"));
        assert_eq!(sorted.directive, "#PBS -v LD_LIBRARY_PATH=\\\"/a:/b\\\",TMPDIR=\\\"/x\\ y,z\\\"");
        assert_eq!(variables(&[]).unwrap(), Variables::default());
        for name in ["PBS_DPREFIX", "PBS_SERVER", "PBS_CONF_FILE", "LD_PRELOAD", "PATH", "IFS", "ENV", "UID", "BASH_ENV", "PYTHONPATH"] {
            let sorted = variables(&[(name, "x")]).unwrap();
            assert_eq!((sorted.exports.len(), sorted.directive), (0, format!("#PBS -v {name}=\\\"x\\\"")));
        }
    }

    #[test]
    fn what_pbs_would_change_is_refused_by_name() {
        let long = "x".repeat(MAX_DIRECTIVE);
        for (name, value) in
            [("A", "x\\,y"), ("TMPDIR", "a'b"), ("PATH", "a\nb"), ("PBS_O_WORKDIR", "/"), ("LD_PRELOAD", long.as_str()), ("A;id", "")]
        {
            assert!(matches!(variables(&[(name, value)]), Err(SchedulerError::Rejected(_))), "{name}");
        }
        assert!(variables(&[("A", "x\\y,\\ 'a' \"b\"\n")]).is_ok());
    }
}
