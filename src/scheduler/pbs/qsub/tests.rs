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
    assert_eq!(refused(&file), (Some(1), "qsub: the working directory is not a directory: /etc/passwd\n".to_owned()));
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
    let with = JobDescription { environment: variables(&[("GIVEN", "x"), ("EMPTY", ""), ("gc_script", "y"), ("program", "z")]), ..job() };
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
        prop_assert_eq!(&seen.arguments[..3], ["-f", "-N", &bytes_to_text(name.as_bytes())]);
        prop_assert_eq!(&seen.environment["GIVEN"], &bytes_to_text(value.as_bytes()));
        prop_assert_eq!(&seen.environment["_2"], &awkward);
    }
}
