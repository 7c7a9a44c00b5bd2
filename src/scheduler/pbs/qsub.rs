//! qsub(1): submits a job.

use bytes::Bytes;

use super::config::AccountOption;
use super::dialect::Dialect;
use super::job_ref::shown_id;
use crate::domain::{JobDescription, JobId, JobScript, bytes_to_text, is_variable_name};
use crate::scheduler::SchedulerError;
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

/// Enters the working directory and becomes qsub. PBS has no option for either: a job's directory is where qsub was called,
/// and `-v NAME=VALUE` breaks values at commas and fails on a single quote. `-V` carries them, so qsub gets an environment that
/// holds the job's variables and, besides, only what it needs itself. Without variables the job inherits everything.
/// qsub is looked up first, so that a `PATH` among the variables does not hide it.
const SUBMIT: &str = "program=$(command -v qsub) || { echo 'qsub: not found' >&2; exit 127; }
cd \"$1\" 2>/dev/null || { echo 'qsub: the working directory cannot be entered' >&2; exit 1; }
shift
if [ \"$1\" = -- ]; then shift; exec \"$program\" \"$@\"; fi
count=$#
while [ \"$count\" -gt 0 ]; do
  if [ \"$1\" = -- ] && [ -n \"$program\" ]; then set -- \"$@\" \"$program\"; program=; else set -- \"$@\" \"$1\"; fi
  shift
  count=$((count - 1))
done
for name in HOME USER LOGNAME SHELL PATH PWD MAIL TZ LANG LD_LIBRARY_PATH KRB5CCNAME PBS_CONF_FILE PBS_SERVER PBS_DEFAULT; do
  eval \"value=\\${$name-}\"
  [ -z \"$value\" ] || set -- \"$name=$value\" \"$@\"
done
exec env -i \"$@\"";

/// Submits a job, once.
pub(super) struct Qsub<'a> {
    job: &'a JobDescription,
    dialect: Dialect,
    account: AccountOption,
}

impl<'a> Qsub<'a> {
    /// The submission of a job.
    ///
    /// # Errors
    /// [`SchedulerError::Rejected`] when it asks for what PBS would silently do otherwise.
    pub(super) fn new(job: &'a JobDescription, dialect: Dialect, account: AccountOption) -> Result<Self, SchedulerError> {
        if job.standard_input.as_deref().is_some_and(|file| !matches!(file, "" | "/dev/null")) {
            return Err(SchedulerError::Rejected("PBS has no standard input for a batch job: let the script read the file".to_owned()));
        }
        if let Some((name, _)) = job.environment.iter().find(|(_, value)| value.contains("\\,")) {
            return Err(SchedulerError::Rejected(format!(
                "the value of the variable {name} holds a backslash before a comma, which PBS loses"
            )));
        }
        Ok(Self { job, dialect, account })
    }

    fn options(&self, mut line: CommandLine) -> CommandLine {
        let job = self.job;
        let account = match (self.dialect, self.account) {
            (Dialect::Pbs { .. }, AccountOption::Project) => "-P",
            (Dialect::Pbs { .. }, AccountOption::AccountName) | (Dialect::Torque, _) => "-A",
        };
        line = match self.dialect {
            // Without this, qsub leaves a process behind that holds the channel open.
            Dialect::Pbs { .. } => line.flag("-f"),
            Dialect::Torque => line.flag("-d").arg(job.working_directory.as_bytes()),
        };
        let options = [
            ("-N", &job.name),
            (account, &job.account),
            // A reservation is a queue.
            ("-q", if job.reservation.is_some() { &job.reservation } else { &job.partition }),
            ("-o", &job.standard_output),
            ("-e", &job.standard_error),
            ("-l", &job.constraints),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                line = line.flag(name).arg(value);
            }
        }
        line.flag("-V")
    }
}

impl RemoteCommand for Qsub<'_> {
    type Output = JobId;

    fn command_line(&self) -> CommandLine {
        let mut line = CommandLine::new("sh").flag("-c").arg(SUBMIT).flag("qsub").arg(self.job.working_directory.as_bytes());
        // A name that is none would be read as something else: it was to be checked long before.
        for (name, value) in self.job.environment.iter().filter(|(name, _)| is_variable_name(name)) {
            line = line.arg(format!("{name}={value}"));
        }
        let line = self.options(line.flag("--"));
        match &self.job.script {
            JobScript::Inline(_) => line,
            // The path is absolute, so that it cannot be read as an option. `--` would make it a program without directives.
            JobScript::Path(path) => line.arg(path.as_bytes()),
        }
    }

    fn stdin(&self) -> Bytes {
        match &self.job.script {
            JobScript::Inline(script) => Bytes::from(script.clone()),
            JobScript::Path(_) => Bytes::new(),
        }
    }

    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<JobId, CommandError> {
        if raw.exit != 0 {
            return Err(CommandError::exit(&raw));
        }
        // A greeting of the login shell may stand before the id, and words of a submission filter after it.
        let output = bytes_to_text(&raw.stdout);
        let lines = output.lines().rev().map(str::trim);
        let id = lines.filter(|line| looks_like_an_id(line)).find_map(|line| {
            // A queue may be another server's, where the number alone means another job.
            let elsewhere = self.job.partition.as_deref().is_some_and(|queue| queue.contains('@'));
            if elsewhere { JobId::new(line).ok() } else { shown_id(line, None).ok() }
        });
        id.ok_or_else(|| {
            let printed: String = output.trim().chars().take(80).collect();
            CommandError::Output { program: "qsub", reason: format!("{printed:?} holds no job id") }
        })
    }
}

fn looks_like_an_id(line: &str) -> bool {
    let sequence = line.split('.').next().unwrap_or_default();
    let number = sequence.strip_suffix("[]").unwrap_or(sequence);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && JobId::new(line).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::super::golden::recorded;
    use super::*;
    use crate::domain::RemotePath;

    const PBS: Dialect = Dialect::Pbs { unwrapped: true };

    fn job() -> JobDescription {
        JobDescription {
            name: None,
            account: None,
            reservation: None,
            partition: None,
            working_directory: RemotePath::from_text("/").unwrap(),
            standard_input: None,
            standard_output: None,
            standard_error: None,
            environment: BTreeMap::new(),
            constraints: None,
            script: JobScript::Inline("#!/bin/sh\n".to_owned()),
        }
    }

    fn qsub(job: &JobDescription) -> Qsub<'_> {
        Qsub::new(job, PBS, AccountOption::Project).unwrap()
    }

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Runs the command line with a real shell and a program named qsub that tells its arguments and environment.
    fn run(qsub: &Qsub<'_>) -> (Vec<String>, BTreeMap<String, String>) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("qsub");
        std::fs::write(&program, "#!/bin/sh\nprintf '%s\\0' \"$#\" \"$@\"\n/usr/bin/env -0\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let line = std::ffi::OsString::from_vec(qsub.command_line().as_bytes().to_vec());
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut shell = std::process::Command::new("sh");
        let output = shell.arg("-c").arg(line).env("PATH", path).env("FOREIGN", "secret").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut texts = output.stdout.split(|&byte| byte == 0).map(bytes_to_text);
        let count: usize = texts.next().unwrap().parse().unwrap();
        let arguments = texts.by_ref().take(count).collect();
        let environment = texts.filter_map(|text| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect();
        (arguments, environment)
    }

    #[test]
    fn every_field_becomes_an_option() {
        let some = |text: &str| Some(text.to_owned());
        let full = JobDescription {
            name: some("it's"),
            account: some("a"),
            partition: some("p"),
            standard_input: some("/dev/null"),
            standard_output: some("out ^array_index^"),
            standard_error: some("--"),
            constraints: some("select=1:ncpus=4"),
            environment: variables(&[("A", "1,2")]),
            script: JobScript::Path(RemotePath::from_text("/home/u/-run me.sh").unwrap()),
            ..job()
        };
        let expected = [
            "-f",
            "-N",
            "it's",
            "-P",
            "a",
            "-q",
            "p",
            "-o",
            "out ^array_index^",
            "-e",
            "--",
            "-l",
            "select=1:ncpus=4",
            "-V",
            "/home/u/-run me.sh",
        ];
        assert_eq!(run(&qsub(&full)).0, expected);
        assert_eq!(run(&qsub(&JobDescription { environment: BTreeMap::new(), ..full.clone() })).0, expected);
        assert!(qsub(&full).stdin().is_empty() && !qsub(&full).idempotent());
    }

    #[test]
    fn an_inline_script_goes_through_standard_input() {
        let job = job();
        assert_eq!(qsub(&job).stdin(), "#!/bin/sh\n");
        assert_eq!(run(&qsub(&job)).0, ["-f", "-V"]);
    }

    #[test]
    fn a_reservation_is_the_queue_and_an_account_is_what_the_site_says() {
        let some = |text: &str| Some(text.to_owned());
        let job = JobDescription { reservation: some("R7"), partition: some("p"), account: some("a"), ..job() };
        assert_eq!(run(&Qsub::new(&job, PBS, AccountOption::AccountName).unwrap()).0, ["-f", "-A", "a", "-q", "R7", "-V"]);
        let torque = Qsub::new(&job, Dialect::Torque, AccountOption::Project).unwrap();
        assert_eq!(run(&torque).0, ["-d", "/", "-A", "a", "-q", "R7", "-V"]);
    }

    #[test]
    fn qsub_is_called_in_the_working_directory() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("it's a -dir");
        std::fs::create_dir(&directory).unwrap();
        let directory = directory.to_str().unwrap();
        let job =
            JobDescription { working_directory: RemotePath::from_text(directory).unwrap(), environment: variables(&[("A", "b")]), ..job() };
        assert_eq!(run(&qsub(&job)).1["PWD"], directory);
    }

    #[test]
    fn a_working_directory_that_is_none_is_a_refusal_and_no_qsub_is_none() {
        let job = JobDescription { working_directory: RemotePath::from_text("/no/such/directory").unwrap(), ..job() };
        let line = std::ffi::OsString::from_vec(qsub(&job).command_line().as_bytes().to_vec());
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/bin/sh", folder.path().join("sh")).unwrap();
        let run = || {
            let output = std::process::Command::new("/bin/sh").arg("-c").arg(&line).env("PATH", folder.path()).output().unwrap();
            (output.status.code(), bytes_to_text(&output.stderr))
        };
        assert_eq!(run(), (Some(127), "qsub: not found\n".to_owned()));
        std::os::unix::fs::symlink("/bin/sh", folder.path().join("qsub")).unwrap();
        assert_eq!(run(), (Some(1), "qsub: the working directory cannot be entered\n".to_owned()));
    }

    #[test]
    fn given_variables_arrive_alone_and_without_them_everything_does() {
        let with = JobDescription { environment: variables(&[("PATH", "/nowhere"), ("EMPTY", "")]), ..job() };
        let (_, environment) = run(&qsub(&with));
        assert_eq!((environment["PATH"].as_str(), environment["EMPTY"].as_str()), ("/nowhere", ""));
        assert!(!environment.contains_key("FOREIGN"));
        assert_eq!(run(&qsub(&job())).1["FOREIGN"], "secret");
    }

    #[test]
    fn what_pbs_would_silently_change_is_refused() {
        let refused = |job: &JobDescription| matches!(Qsub::new(job, PBS, AccountOption::Project), Err(SchedulerError::Rejected(_)));
        assert!(refused(&JobDescription { environment: variables(&[("A", "x\\,y")]), ..job() }));
        assert!(refused(&JobDescription { standard_input: Some("in.txt".to_owned()), ..job() }));
        assert!(!refused(&JobDescription { environment: variables(&[("A", "x\\y,\\")]), ..job() }));
    }

    #[test]
    fn the_id_is_read_with_its_brackets_and_without_its_server() {
        let job = job();
        let parse = |stdout: &str| qsub(&job).parse(RawOutput { stdout: stdout.into(), ..RawOutput::default() }).map(String::from);
        assert_eq!(qsub(&job).parse(recorded("accepted.qsub")).unwrap().as_str(), "23");
        assert_eq!(parse("Welcome, 5 users\n12[].pbs-1.example.org\n").unwrap(), "12[]");
        assert_eq!(parse("7\n").unwrap(), "7");
        for none in ["", "Welcome\n", "job 12.srv\n", "12;rm.srv\n"] {
            assert!(matches!(parse(none), Err(CommandError::Output { .. })), "{none:?}");
        }
        let elsewhere = JobDescription { partition: Some("workq@other".to_owned()), ..job.clone() };
        let raw = RawOutput { stdout: b"7.other\n".to_vec(), ..RawOutput::default() };
        assert_eq!(qsub(&elsewhere).parse(raw).unwrap().as_str(), "7.other");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn variables_and_options_arrive_whatever_they_hold(
            value in "[^\0]{0,24}", name in "[^\0]{1,12}", awkward in "[,'\"`$(){};&|<>*\\n =-]{0,16}",
        ) {
            let job = JobDescription { name: Some(name.clone()), environment: variables(&[("GIVEN", &value), ("_2", &awkward)]), ..job() };
            prop_assume!(!value.contains("\\,"));
            let (arguments, environment) = run(&qsub(&job));
            prop_assert_eq!(&arguments[..3], ["-f", "-N", &name]);
            prop_assert_eq!(&environment["GIVEN"], &bytes_to_text(value.as_bytes()));
            prop_assert_eq!(&environment["_2"], &awkward);
        }
    }
}
