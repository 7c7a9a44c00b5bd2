//! qsub(1): submits a job.

use bytes::Bytes;

use super::config::AccountOption;
use super::dialect::Dialect;
use super::job_ref::shown_id;
use super::qsub_options;
use super::variables::Variables;
use crate::domain::{JobDescription, JobId, JobScript, RemotePath, bytes_to_text};
use crate::scheduler::SchedulerError;
use crate::scheduler::submission_record::{NextAttempt, WithRecord};
use crate::ssh::{CommandError, CommandLine, Environment, RawOutput, RemoteCommand};

/// The variable by which a job is found. Like all that begin so, it goes into a directive.
pub(super) const TAG: &str = "PBS_GOLDCREST_SUBMISSION";

/// The submitting program, with the record of a submission.
const SUBMIT: &str = concat!(include_str!("../submission_record/record.sh"), include_str!("shell/submit.sh"));

/// Submits a job, once. The script and the variables go over standard input: other users of the host see command lines.
pub(super) struct Qsub<'a> {
    job: &'a JobDescription,
    variables: Variables,
    dialect: Dialect,
    account: AccountOption,
    elsewhere: bool,
    asked: Vec<(&'static str, Option<String>)>,
    record: Option<NextAttempt<'a>>,
}

impl<'a> Qsub<'a> {
    /// The submission of a job; `elsewhere` if its queue is on another server than the default one.
    ///
    /// # Errors
    /// [`SchedulerError::Rejected`] if PBS would silently do something else, [`SchedulerError::Member`] if PBS lacks the option.
    pub(super) fn new(job: &'a JobDescription, dialect: Dialect, account: AccountOption, elsewhere: bool) -> Result<Self, SchedulerError> {
        let rejected = |why: &str| Err(SchedulerError::Rejected(why.to_owned()));
        if job.standard_input.as_deref().is_some_and(|file| !matches!(file, "" | "/dev/null")) {
            return rejected("PBS has no standard input for a batch job: let the script read the file");
        }
        let variables = Variables::new(&job.environment)?;
        if let JobScript::Inline(script) = &job.script {
            if has_directive(script, |word, _| word.starts_with("-z")) {
                return rejected("the script has the directive -z, with which qsub tells no job id");
            }
            if has_directive(script, |word, value| word == "-W" && value.contains("block=true") || word.starts_with("-Wblock=true")) {
                return rejected("the script has the directive -W block=true, with which qsub waits for the end of the job");
            }
            if !variables.directive.is_empty() && has_directive(script, |word, _| word.starts_with("-v")) {
                return rejected("the script has a directive -v, which leaves no room for variables of the request that PBS itself reads");
            }
        }
        let asked = qsub_options::options(&job.options, job.constraints.as_deref(), dialect)?;
        Ok(Self { job, variables, dialect, account, elsewhere, asked, record: None })
    }

    /// The same as the next attempt of a submission. Its job is to have the variable [`TAG`].
    pub(super) fn recorded(self, record: NextAttempt<'a>) -> WithRecord<Self> {
        WithRecord(Self { record: Some(record), ..self })
    }

    /// The id in the output of qsub, which ended with this status.
    fn id(&self, output: &str, exit: u32) -> Option<JobId> {
        // A greeting of the login shell may stand before the id, and words of a submission filter after it. Where qsub failed after
        // it had printed an id the job is there all the same; a number alone may then be part of a greeting.
        let mut lines = output.lines().rev().map(str::trim).filter(|line| exit == 0 || names_its_server(line));
        let line = lines.find(|line| looks_like_an_id(line))?;
        // A queue may be another server's, where the number alone means another job.
        if self.elsewhere { JobId::new(line).ok() } else { shown_id(line, None).ok() }
    }

    /// Whether output of the job lands in its working directory, as far as the request and an inline script say.
    fn writes_into_its_directory(&self) -> bool {
        let elsewhere = |file: &Option<String>| file.as_deref().is_some_and(|file| file.starts_with('/') || file.contains(':'));
        let says_where = match &self.job.script {
            JobScript::Inline(script) => {
                has_directive(script, |word, _| ["-o", "-e", "-k", "-j"].iter().any(|option| word.starts_with(option)))
            }
            JobScript::Path(_) => false,
        };
        !(says_where || elsewhere(&self.job.standard_output) && elsewhere(&self.job.standard_error))
    }

    /// The directives to insert into the script: the variables, and the job name that qsub would use if it opened the script itself.
    fn directives(&self) -> String {
        let directive = &self.variables.directive;
        match &self.job.script {
            JobScript::Path(path) if !directive.is_empty() && self.job.name.is_none() => match job_name(path) {
                Some(name) => format!("#PBS -N {name}\n{directive}"),
                None => directive.clone(),
            },
            JobScript::Inline(_) | JobScript::Path(_) => directive.clone(),
        }
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
        for (name, value) in &self.asked {
            line = line.flag(name);
            if let Some(value) = value {
                line = line.arg(value);
            }
        }
        // Without variables of the request a job gets what PBS gives it, as from a qsub that was typed in.
        if self.variables.exports.is_empty() { line } else { line.flag("-V") }
    }
}

/// Whether an option in the directives of a script is kept: by its word, and the one after it.
fn has_directive(script: &str, wanted: impl Fn(&str, &str) -> bool) -> bool {
    let head = script.lines().map(str::trim_start).take_while(|line| line.is_empty() || line.starts_with(['#', ':']));
    head.filter_map(|line| line.strip_prefix("#PBS")).any(|options| {
        let words: Vec<&str> = options.split_whitespace().collect();
        words.iter().enumerate().any(|(index, word)| wanted(word, words.get(index + 1).copied().unwrap_or_default()))
    })
}

/// The name that qsub gives the job of this file, if it needs no quoting.
fn job_name(path: &RemotePath) -> Option<String> {
    let name = bytes_to_text(path.as_bytes().rsplit(|&byte| byte == b'/').next()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    (!name.is_empty() && name.len() <= 230 && !name.starts_with('-') && name.chars().all(plain)).then_some(name)
}

/// The script with directives below the line that names its interpreter.
fn with_directives(script: &str, directives: &str) -> String {
    if directives.is_empty() {
        return script.to_owned();
    }
    match script.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => format!("{first}\n{directives}\n{rest}"),
        None if script.starts_with("#!") => format!("{script}\n{directives}\n"),
        _ => format!("{directives}\n{script}"),
    }
}

impl RemoteCommand for Qsub<'_> {
    type Output = JobId;

    fn command_line(&self) -> CommandLine {
        CommandLine::new("sh").flag("-s")
    }

    fn stdin(&self) -> Bytes {
        let directives = self.directives();
        let mut line = CommandLine::new("set").flag("--").arg(self.job.working_directory.as_bytes());
        line = line.flag(if self.writes_into_its_directory() { "writable" } else { "any" });
        line = line.arg(&self.variables.exports);
        line = match &self.job.script {
            JobScript::Inline(script) => line.flag("text").arg(with_directives(script, &directives)),
            JobScript::Path(path) => line.flag("path").arg(path.as_bytes()),
        };
        line = line.arg(&directives);
        line = match &self.record {
            Some(record) => record.arguments(line),
            None => (0..5).fold(line, |line, _| line.arg("")),
        };
        line = self.options(line);
        // One brace group: a shell runs it only once it has read the closing brace, so input that was cut off submits nothing.
        [b"{\n", line.as_bytes(), b"\n", SUBMIT.as_bytes(), b"\nexit $?\n}\n"].concat().into()
    }

    fn environment(&self) -> Environment {
        Environment::Login
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<JobId, CommandError> {
        let output = bytes_to_text(&raw.stdout);
        match self.id(&output, raw.exit) {
            Some(id) => Ok(id),
            None if raw.exit != 0 => Err(CommandError::exit(&raw)),
            None => {
                let printed: String = output.trim().chars().take(80).collect();
                Err(CommandError::Output { program: "qsub", reason: format!("{printed:?} holds no job id") })
            }
        }
    }
}

/// The id in a record: the output of qsub, or the id that was found.
pub(super) fn recorded_id(text: &str) -> Option<JobId> {
    shown_id(text, None).ok()
}

fn names_its_server(line: &str) -> bool {
    line.split_once('.').is_some_and(|(_, server)| server.starts_with(|c: char| c.is_ascii_alphabetic()))
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

    const PBS: Dialect = Dialect::Pbs { unwrapped: true };

    fn job() -> JobDescription {
        JobDescription::new(RemotePath::from_text("/").unwrap(), JobScript::Inline("#!/bin/sh\n".to_owned()))
    }

    fn new(job: &JobDescription) -> Result<Qsub<'_>, SchedulerError> {
        Qsub::new(job, PBS, AccountOption::Project, false)
    }

    fn qsub(job: &JobDescription) -> Qsub<'_> {
        new(job).unwrap()
    }

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// What a program named qsub was given.
    struct Seen {
        arguments: Vec<String>,
        environment: BTreeMap<String, String>,
        script: String,
    }

    /// What a login shell makes of a submission, with this program as qsub.
    fn output(qsub: &Qsub<'_>, program: &str) -> std::process::Output {
        output_of(std::process::Command::new("sh"), qsub, program)
    }

    fn output_of(mut shell: std::process::Command, qsub: &Qsub<'_>, program: &str) -> std::process::Output {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("qsub");
        std::fs::write(&file, program).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let line = std::ffi::OsString::from_vec(qsub.command_line().as_bytes().to_vec());
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut child = shell
            .arg("-c")
            .arg(line)
            .env("PATH", path)
            .env("FOREIGN", "session")
            .env_remove("PBS_DPREFIX")
            .current_dir("/")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&qsub.stdin()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs the command with a program that tells its arguments, its environment and its standard input.
    fn run(qsub: &Qsub<'_>) -> Seen {
        let output = output(qsub, "#!/bin/sh\nprintf '%s\\0' \"$#\" \"$@\"\n/usr/bin/env -0\nprintf 'SCRIPT='; cat\n");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut texts = output.stdout.split(|&byte| byte == 0).map(bytes_to_text);
        let count: usize = texts.next().unwrap().parse().unwrap();
        let arguments = texts.by_ref().take(count).collect();
        let pairs = texts.filter_map(|text| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut environment: BTreeMap<String, String> = pairs.collect();
        let script = environment.remove("SCRIPT").unwrap();
        Seen { arguments, environment, script }
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
        assert_eq!(run(&qsub(&full)).arguments, expected);
        let without_variables: Vec<&str> = expected.into_iter().filter(|word| *word != "-V").collect();
        assert_eq!(run(&qsub(&JobDescription { environment: BTreeMap::new(), ..full.clone() })).arguments, without_variables);
        assert!(!qsub(&full).idempotent());
    }

    #[test]
    fn an_inline_script_goes_through_standard_input() {
        for script in ["#!/bin/sh\n", "", "no shebang, no line feed", "it's\n\n#PBS -l x\n\\c %s $(id) `id`\n\n"] {
            let job = JobDescription { script: JobScript::Inline(script.to_owned()), ..job() };
            let seen = run(&qsub(&job));
            assert_eq!((seen.arguments.as_slice(), seen.script.as_str()), (&["-f".to_owned()][..], script));
        }
    }

    #[test]
    fn variables_that_steer_qsub_reach_the_job_in_a_directive_and_no_others_do() {
        let steering = variables(&[("TMPDIR", "/nowhere"), ("PBS_DPREFIX", "x"), ("PATH", "/a:/b"), ("A", "b")]);
        let directive = "#PBS -v PATH=\\\"/a:/b\\\",PBS_DPREFIX=\\\"x\\\",TMPDIR=\\\"/nowhere\\\"\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.sh");
        for (script, expected, on_disk) in [
            ("#!/bin/sh\necho\n", format!("#!/bin/sh\n{directive}echo\n"), format!("#!/bin/sh\n#PBS -N run.sh\n{directive}echo\n")),
            ("echo\n", format!("{directive}echo\n"), format!("#PBS -N run.sh\n{directive}echo\n")),
        ] {
            let inline = JobDescription { environment: steering.clone(), script: JobScript::Inline(script.to_owned()), ..job() };
            let seen = run(&qsub(&inline));
            assert_eq!((seen.script, seen.environment["A"].as_str()), (expected, "b"));
            assert!(!seen.environment.contains_key("TMPDIR") && !seen.environment.contains_key("PBS_DPREFIX"));
            assert_ne!(seen.environment["PATH"], "/a:/b");
            std::fs::write(&file, script).unwrap();
            let path = JobScript::Path(RemotePath::from_text(file.to_str().unwrap()).unwrap());
            let seen = run(&qsub(&JobDescription { script: path, ..inline }));
            assert_eq!((seen.script, seen.arguments), (on_disk, vec!["-f".to_owned(), "-V".to_owned()]));
        }
    }

    #[test]
    fn no_value_is_an_argument_of_any_process() {
        let secret = format!("secret-{}", uuid::Uuid::new_v4());
        let job = JobDescription { environment: variables(&[("TOKEN", &secret), ("TMPDIR", &secret)]), ..job() };
        let folder = tempfile::tempdir().unwrap();
        let pattern = folder.path().join("pattern");
        std::fs::write(&pattern, &secret).unwrap();
        let program =
            format!("#!/bin/sh\n[ \"$TOKEN\" = '' ] && exit 3\ngrep -a -l -s -f {} /proc/[0-9]*/cmdline\nexit 0\n", pattern.display());
        let output = output(&qsub(&job), &program);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        assert!(!qsub(&job).command_line().to_string().contains(&secret));
    }

    #[test]
    fn directives_that_would_hide_the_id_or_wait_for_the_job_are_refused() {
        let with = |script: &str, name: &str| {
            let script = JobScript::Inline(format!("#!/bin/sh\n{script}\necho\n#PBS -z\n"));
            new(&JobDescription { script, environment: variables(&[(name, "x")]), ..job() }).is_ok()
        };
        for script in ["#PBS -z", "#PBS -N x -z", "# remark\n\n#PBS -W umask=22,block=true", "#PBS -Wblock=true"] {
            assert!(!with(script, "A"), "{script}");
        }
        assert!(with("#PBS -v B=1", "A") && with("#PBS -N z -W umask=22", "TMPDIR") && !with("#PBS -v B=1", "TMPDIR"));
    }

    #[test]
    fn a_reservation_is_the_queue_and_an_account_is_what_the_site_says() {
        let some = |text: &str| Some(text.to_owned());
        let job = JobDescription { reservation: some("R7"), partition: some("p"), account: some("a"), ..job() };
        assert_eq!(run(&Qsub::new(&job, PBS, AccountOption::AccountName, false).unwrap()).arguments, ["-f", "-A", "a", "-q", "R7"]);
        let torque = Qsub::new(&job, Dialect::Torque, AccountOption::Project, false).unwrap();
        assert_eq!(run(&torque).arguments, ["-d", "/", "-A", "a", "-q", "R7"]);
    }

    #[test]
    fn qsub_is_called_in_the_working_directory() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("it's a -dir");
        std::fs::create_dir(&directory).unwrap();
        let directory = directory.to_str().unwrap();
        let job =
            JobDescription { working_directory: RemotePath::from_text(directory).unwrap(), environment: variables(&[("A", "b")]), ..job() };
        assert_eq!(run(&qsub(&job)).environment["PWD"], directory);
    }

    #[test]
    fn a_working_directory_that_is_none_is_refused_by_name() {
        let refused = |job: &JobDescription| {
            let output = output(&qsub(job), "#!/bin/sh\necho 1.srv\n");
            assert_eq!(output.stdout, b"");
            (output.status.code(), bytes_to_text(&output.stderr))
        };
        let job = JobDescription { working_directory: RemotePath::from_text("/no/such/directory").unwrap(), ..job() };
        assert_eq!(refused(&job), (Some(1), "qsub: the working directory does not exist: /no/such/directory\n".to_owned()));
        let file = JobDescription { working_directory: RemotePath::from_text("/etc/passwd").unwrap(), ..job };
        assert_eq!(refused(&file).0, Some(1));
    }

    #[test]
    fn a_working_directory_that_cannot_be_written_is_refused_unless_the_output_goes_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
        let directory = folder.path().to_str().unwrap();
        let job = JobDescription { working_directory: RemotePath::from_text(directory).unwrap(), ..job() };
        let run = |job: &JobDescription| {
            // Root may write everything.
            let mut shell = std::process::Command::new("setpriv");
            shell.args(["--reuid=65534", "--clear-groups", "sh"]);
            let shell = if rustix::process::geteuid().is_root() { shell } else { std::process::Command::new("sh") };
            output_of(shell, &qsub(job), "#!/bin/sh\necho 1.srv\n")
        };
        let refused = run(&job);
        let words = format!("qsub: the working directory cannot be written, and the output of the job goes there: {directory}\n");
        assert_eq!((refused.status.code(), bytes_to_text(&refused.stderr)), (Some(1), words));
        let some = |text: &str| Some(text.to_owned());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n#PBS -k oe\n").unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        for accepted in [
            JobDescription { standard_output: some("/tmp/o"), standard_error: some("/dev/null"), ..job.clone() },
            JobDescription { script: JobScript::Inline("#PBS -o /tmp/o -e /tmp/e\n".to_owned()), ..job.clone() },
            JobDescription { script: JobScript::Path(RemotePath::from_text(file.path().to_str().unwrap()).unwrap()), ..job.clone() },
        ] {
            assert_eq!(run(&accepted).stdout, b"1.srv\n");
        }
    }

    #[test]
    fn given_variables_arrive_alone_and_without_them_the_job_gets_what_pbs_gives() {
        let with =
            JobDescription { environment: variables(&[("GIVEN", "x"), ("EMPTY", ""), ("gc_script", "y"), ("program", "z")]), ..job() };
        let seen = run(&qsub(&with));
        let value = |name: &str| seen.environment[name].as_str();
        assert_eq!((value("GIVEN"), value("EMPTY"), value("gc_script"), value("program")), ("x", "", "y", "z"));
        assert!(!seen.environment.contains_key("FOREIGN") && seen.arguments.contains(&"-V".to_owned()));
        let seen = run(&qsub(&job()));
        assert_eq!((seen.environment["FOREIGN"].as_str(), seen.arguments.contains(&"-V".to_owned())), ("session", false));
    }

    #[test]
    fn what_pbs_would_silently_change_is_refused() {
        let refused = |job: &JobDescription| matches!(new(job), Err(SchedulerError::Rejected(_)));
        assert!(refused(&JobDescription { environment: variables(&[("A", "x\\,y")]), ..job() }));
        assert!(refused(&JobDescription { standard_input: Some("in.txt".to_owned()), ..job() }));
        assert!(!refused(&JobDescription { environment: variables(&[("A", "x\\y,\\")]), ..job() }));
    }

    #[test]
    fn a_printed_id_is_never_lost() {
        let job = job();
        let parse = |exit, stdout: &str| qsub(&job).parse(RawOutput { stdout: stdout.into(), exit, ..RawOutput::default() });
        assert_eq!(parse(3, "12[].srv\n").unwrap().as_str(), "12[]");
        assert_eq!(parse(271, "Welcome\n12.srv\nthank you\n").unwrap().as_str(), "12");
        for (exit, stdout) in [(1, ""), (1, "12\n"), (1, "1.5\n")] {
            assert!(matches!(parse(exit, stdout), Err(CommandError::Exit { .. })), "{stdout:?}");
        }
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
        let raw = RawOutput { stdout: b"7.other\n".to_vec(), ..RawOutput::default() };
        let elsewhere = Qsub::new(&job, PBS, AccountOption::Project, true).unwrap();
        assert_eq!(elsewhere.parse(raw).unwrap().as_str(), "7.other");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn variables_and_options_arrive_whatever_they_hold(
            value in "[^\0]{0,24}", name in "[^\0]{1,12}", awkward in "[,'\"`$(){};&|<>*\\n =-]{0,16}",
        ) {
            let job = JobDescription { name: Some(name.clone()), environment: variables(&[("GIVEN", &value), ("_2", &awkward)]), ..job() };
            prop_assume!(!value.contains("\\,"));
            let seen = run(&qsub(&job));
            prop_assert_eq!(&seen.arguments[..3], ["-f", "-N", &name]);
            prop_assert_eq!(&seen.environment["GIVEN"], &bytes_to_text(value.as_bytes()));
            prop_assert_eq!(&seen.environment["_2"], &awkward);
        }
    }
}
