use super::super::failure::explain_refusal;
use super::super::golden::{RELEASES, recorded};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use super::*;
use crate::domain::RemotePath;
use crate::ssh::program_of;

fn job() -> JobDescription {
    JobDescription::new(RemotePath::from_text("/").unwrap(), JobScript::Inline("#!/bin/sh\n".to_owned()))
}

#[test]
fn every_field_becomes_an_option_and_is_quoted() {
    let some = |text: &str| Some(text.to_owned());
    let job = JobDescription {
        name: some("it's"),
        account: some("a"),
        reservation: some("r"),
        partition: some("p"),
        standard_input: some("in"),
        standard_output: some("out %j"),
        standard_error: some("err"),
        constraints: some("fast&gpu"),
        script: JobScript::Path(RemotePath::from_text("/home/u/-run me.sh").unwrap()),
        ..job()
    };
    let line = Sbatch::new(&job).unwrap().command_line().to_string();
    assert!(
            line.ends_with(
                r"--parsable --chdir='/' --job-name='it'\''s' --account='a' --reservation='r' --partition='p' --input='in' --output='out %j' --error='err' --constraint='fast&gpu' -- '/home/u/-run me.sh'"
            ),
            "{line}"
        );
    assert_eq!(Sbatch::new(&job).unwrap().stdin(), "SLURM_JOB_NAME=it\\0047s\\0000\n");
}

#[test]
fn a_script_with_which_sbatch_submits_nothing_is_refused_by_its_directive() {
    let refusal = |directive: &str| {
        let job = JobDescription { script: JobScript::Inline(format!("#!/bin/sh\n#SBATCH -N 1\n#SBATCH {directive}\ntrue\n")), ..job() };
        Sbatch::new(&job).err().map(|error| error.to_string())
    };
    for directive in ["--test-only", "--test", "--te", "-t 5 --test-only", "--help", "--usage", "--version", "-h", "-V", "-vV", "-Hh"] {
        let word = directive.split(' ').next_back().unwrap();
        let error = refusal(directive).unwrap_or_else(|| panic!("{directive}"));
        assert!(error.contains(&format!("the directive {word}, with which sbatch submits nothing")), "{error}");
    }
    for directive in
        ["--wait", "-W", "-v", "-H", "--verbose", "-J -V", "--comment '-V or --help'", "-J help", "-N1", "--use-min-nodes", "-c 1 # --help"]
    {
        assert_eq!(refusal(directive), None, "{directive}");
    }
    let path = JobDescription { script: JobScript::Path(RemotePath::from_text("/s").unwrap()), ..job() };
    let stderr = b"sbatch: Job 7 to start at 1796000460 using 2 processors on nodes n1 in partition normal\n".to_vec();
    let error = explain_refusal("submit")(Sbatch::new(&path).unwrap().parse(RawOutput { stderr, ..RawOutput::default() }).unwrap_err());
    assert!(matches!(&error, SchedulerError::Rejected(words) if words.contains("--test-only")), "{error:?}");
}

#[test]
fn an_inline_script_goes_through_standard_input_and_is_never_sent_twice() {
    let job = job();
    let sbatch = Sbatch::new(&job).unwrap();
    assert!(sbatch.command_line().to_string().ends_with(" sbatch '' '' '' '/' '' '' '' '' '' --parsable --chdir='/'"));
    assert_eq!(sbatch.stdin(), "SLURM_JOB_NAME=sbatch\\0000\n#!/bin/sh\n");
    assert!(!sbatch.idempotent());
}

#[test]
fn what_reaches_the_login_shell_is_one_line() {
    let line = Sbatch::new(&job()).unwrap().command_line().to_string();
    assert!(!line.contains('\n') && SUBMIT.bytes().all(|byte| byte != b'\''), "{line}");
}

/// Where the search path has a program.
fn found(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Runs the submission as a login does, with this shell as `sh` and this program as sbatch, in an environment with `login` beside
/// the usual.
fn submitted(job: &JobDescription, program: &str, shell: &str, login: &[(&str, &str)]) -> Output {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let sbatch = folder.path().join("sbatch");
    std::fs::write(&sbatch, program).unwrap();
    std::fs::set_permissions(&sbatch, std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(found(shell).unwrap(), folder.path().join("sh")).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let mut child = Command::new(folder.path().join("sh"))
        .env("PATH", path)
        .envs(login.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdin.write_all(&program_of(&Sbatch::new(job).unwrap())).unwrap();
    let mut mark = String::new();
    stdout.read_line(&mut mark).unwrap();
    // What refuses the job before it reads this may be gone.
    let _ = stdin.write_all(&Sbatch::new(job).unwrap().stdin());
    drop(stdin);
    let mut printed = Vec::new();
    stdout.read_to_end(&mut printed).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = output.stderr.strip_prefix(mark.as_bytes()).expect("the mark begins both streams").to_vec();
    Output { status: output.status, stdout: printed, stderr }
}

fn with(environment: &[(&str, &str)]) -> JobDescription {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    JobDescription { environment, ..job() }
}

/// What the job's environment is, as sbatch is given it: in a file, where the last of equal names counts, or as its own.
fn environment_of(job: &JobDescription, shell: &str, login: &[(&str, &str)]) -> BTreeMap<String, String> {
    let program = "#!/bin/sh\nfile=/proc/$$/environ\n\
                       for word; do case $word in --export-file=*[!0-9]*) file=${word#*=};; --export-file=4) file=/proc/self/fd/4;; esac; done\n\
                       tr '\\0' '\\1' <\"$file\"\n";
    let output = submitted(job, program, shell, login);
    let text = String::from_utf8(output.stdout).unwrap();
    // What is read line by line ends with a line feed.
    let variables = text.trim_end_matches('\n').split('\u{1}').filter_map(|entry| entry.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn environment_of_the_job(environment: &[(&str, &str)], login: &[(&str, &str)]) -> BTreeMap<String, String> {
    environment_of(&with(environment), "sh", login)
}

#[test]
fn slurms_variables_of_the_login_reach_the_job_whatever_is_sh() {
    let login = [("SLURM_OF_SITE", "s"), ("SBATCH_ACCOUNT", "a"), ("SLURM_CLUSTERS", "c"), ("TAR_OPTIONS", "--totals")];
    let het = JobScript::Inline("#!/bin/sh\n#SBATCH hetjob\n".to_owned());
    for shell in ["dash", "bash", "zsh", "ksh"].into_iter().filter(|shell| found(shell).is_some()) {
        for script in [job().script, het.clone()] {
            for given in [&[][..], &[("GIVEN", "g")][..]] {
                let job = JobDescription { script: script.clone(), ..with(given) };
                let seen = environment_of(&job, shell, &login);
                for (name, value) in login.iter().chain(given) {
                    assert_eq!(seen.get(*name).map(String::as_str), Some(*value), "{shell}: {name} of {job:?}");
                }
            }
        }
    }
}

#[test]
fn the_login_decides_what_is_exported_and_nothing_else_of_the_submission() {
    let program = "#!/bin/sh\necho \"$SBATCH_EXPORT $SLURM_OF_SITE:$SBATCH_ACCOUNT$SLURM_CLUSTERS:$*\"\n";
    let login = [("SBATCH_EXPORT", "NONE"), ("SLURM_OF_SITE", "s"), ("SBATCH_ACCOUNT", "a"), ("SLURM_CLUSTERS", "c")];
    let output = submitted(&job(), program, "sh", &login);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "NONE s::--parsable --chdir=/\n");
}

#[test]
fn exported_functions_named_like_programs_change_nothing_of_the_submission() {
    let names = ["cat", "command", "env", "grep", "mktemp", "printf", "rm", "sbatch", "sed", "sleep"];
    let functions = names.map(|name| format!("BASH_FUNC_{name}%%"));
    let mut login: Vec<(&str, &str)> = functions.iter().map(|name| (name.as_str(), "() { echo wrong; }")).collect();
    login.push(("SBATCH_ACCOUNT", "a"));
    let het = JobScript::Inline("#!/bin/sh\n#SBATCH hetjob\n".to_owned());
    for script in [job().script, het] {
        let seen = environment_of(&JobDescription { script, ..with(&[("GIVEN", "g")]) }, "bash", &login);
        assert!(functions.iter().all(|name| seen.contains_key(name)), "{seen:?}");
        for (name, value) in [("GIVEN", "g"), ("SBATCH_ACCOUNT", "a")] {
            assert_eq!(seen.get(name).map(String::as_str), Some(value), "{name}");
        }
    }
}

#[test]
fn variables_reach_the_job_whatever_they_hold_beside_those_of_the_login() {
    let value = "1,2\n3 '\"$(id)`\\ -- ü %b";
    let seen = environment_of_the_job(&[("A", "x"), ("GIVEN", value), ("UID", "1000"), ("PATH", "/nowhere")], &[("LOGIN", "l")]);
    for (name, expected) in
        [("A", "x"), ("GIVEN", value), ("UID", "1000"), ("PATH", "/nowhere"), ("LOGIN", "l"), ("SLURM_JOB_NAME", "sbatch")]
    {
        assert_eq!(seen.get(name).map(String::as_str), Some(expected), "{name}");
    }
}

#[test]
fn functions_that_a_shell_between_drops_reach_the_job() {
    let function = ("BASH_FUNC_module%%", "() { echo module; }");
    assert_eq!(environment_of_the_job(&[("A", "x")], &[function]).get(function.0).map(String::as_str), Some(function.1));
}

#[test]
fn variables_of_the_job_are_in_no_argument_and_do_not_steer_sbatch() {
    let program = "#!/bin/sh\ntr '\\0' '\\n' </proc/$$/environ; tr '\\0' ' ' </proc/$PPID/cmdline; echo \"$@\"; cat\n";
    let given = [("API_TOKEN", "s3cret"), ("LD_LIBRARY_PATH", "/s3cret"), ("SLURM_CONF", "/s3cret"), ("SBATCH_WAIT", "s3cret")];
    let output = submitted(&with(&given), program, "sh", &[("SBATCH_PARTITION", "s3cret"), ("SLURM_CONF", "/login")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("s3cret") && text.contains("SLURM_CONF=/login\n") && text.ends_with("#!/bin/sh\n"), "{text}");
}

#[test]
fn every_component_of_a_heterogeneous_job_gets_the_environment() {
    let program = "#!/bin/sh\nfor word; do case $word in --export-file=*) file=${word#*=};; esac; done\n\
                       for component in 1 2; do tr '\\0' '\\n' <\"$file\" | grep ^GIVEN=; done\n";
    let script = "#!/bin/sh\n#SBATCH -n1\n#SBATCH hetjob\n#SBATCH -n1\n";
    let job = JobDescription { script: JobScript::Inline(script.to_owned()), ..with(&[("GIVEN", "x")]) };
    let folder = tempfile::tempdir().unwrap();
    let output = submitted(&job, program, "sh", &[("TMPDIR", folder.path().to_str().unwrap())]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "GIVEN=x\nGIVEN=x\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_script_decides_itself_what_is_exported() {
    let arguments = |script: &str| {
        let job = JobDescription { script: JobScript::Inline(script.to_owned()), ..job() };
        String::from_utf8(submitted(&job, "#!/bin/sh\necho \"$@\"\n", "sh", &[("BASH_FUNC_f%%", "() { :; }")]).stdout).unwrap()
    };
    assert!(!arguments("#!/bin/sh\n#SBATCH --export=NONE\n").contains("--export-file"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.sh");
    std::fs::write(&path, "#!/bin/sh\n#SBATCH -n1 --export=NONE\n").unwrap();
    let job = JobDescription { script: JobScript::Path(RemotePath::from_text(path.to_str().unwrap()).unwrap()), ..job() };
    let output = submitted(&job, "#!/bin/sh\necho \"$@\"\n", "sh", &[("BASH_FUNC_f%%", "() { :; }")]);
    assert!(!String::from_utf8(output.stdout).unwrap().contains("--export-file"));
}

#[test]
fn an_id_is_answered_while_sbatch_still_waits_for_the_job() {
    for shell in ["sh", "bash", "zsh", "ksh"] {
        if found(shell).is_none() {
            continue;
        }
        let began = Instant::now();
        let output = submitted(&job(), "#!/bin/sh\necho 'queue: long'\necho '123;alps'\nexec sleep 30\n", shell, &[]);
        let raw = RawOutput { stdout: output.stdout, stderr: output.stderr, exit: output.status.code().unwrap().unsigned_abs() };
        assert_eq!(Sbatch::new(&job()).unwrap().parse(raw).unwrap().as_str(), "123", "{shell}");
        assert!(began.elapsed() < Duration::from_secs(20), "{shell}: {:?}", began.elapsed());
    }
}

#[test]
fn a_working_directory_that_is_none_is_named_as_what_it_is() {
    for (directory, words) in
        [("/etc/passwd", "is not a directory: /etc/passwd"), ("/no/such", "does not exist, or may not be entered: /no/such")]
    {
        let job = JobDescription { working_directory: RemotePath::from_text(directory).unwrap(), ..job() };
        let output = submitted(&job, "echo 1", "sh", &[]);
        let expected = format!("sbatch: error: the working directory {words}\n");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()), (Some(1), expected));
    }
}

#[test]
fn a_refusal_comes_with_its_status_and_words() {
    let output = submitted(&job(), "#!/bin/sh\necho 'sbatch: error: no' >&2\nexit 1\n", "sh", &[]);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice(), output.stderr.as_slice()),
        (Some(1), &b""[..], &b"sbatch: error: no\n"[..])
    );
}

#[test]
fn the_id_is_read_with_and_without_a_cluster_and_after_a_greeting() {
    let job = job();
    let parse = |stdout: &str| Sbatch::new(&job).unwrap().parse(RawOutput { stdout: stdout.into(), ..RawOutput::default() });
    assert_eq!(parse("123\n").unwrap().as_str(), "123");
    assert_eq!(parse("123;alps\n").unwrap().as_str(), "123");
    assert_eq!(parse("Welcome\n\n123\n").unwrap().as_str(), "123");
    assert_eq!(parse("note: queue is long\n123;alps\nsee https://status.example\n").unwrap().as_str(), "123");
    assert_eq!(parse("123\n456\n").unwrap().as_str(), "123", "the record holds the first");
    assert!(matches!(parse("Submitted batch job 123\n"), Err(CommandError::Output { .. })));
    assert!(matches!(parse(""), Err(CommandError::Output { .. })));
}

#[test]
fn a_printed_id_is_never_lost_whatever_the_exit_status() {
    let job = job();
    for (stdout, stderr, exit) in [("123\n", "", 3), ("123;alps\n", "sbatch: error: Batch job 123 was killed\n", 1), ("123\n", "", 143)] {
        let raw = RawOutput { stdout: stdout.into(), stderr: stderr.into(), exit };
        assert_eq!(Sbatch::new(&job).unwrap().parse(raw).unwrap().as_str(), "123", "{stdout:?} {exit}");
    }
    let refused = RawOutput { stdout: b"Welcome\n".to_vec(), stderr: b"sbatch: error: no\n".to_vec(), exit: 1 };
    assert!(matches!(Sbatch::new(&job).unwrap().parse(refused), Err(CommandError::Exit { exit: 1, .. })));
}

fn refusal(release: &str, case: &str) -> SchedulerError {
    let job = job();
    explain_refusal("submit the job")(Sbatch::new(&job).unwrap().parse(recorded(release, &format!("{case}.sbatch"))).unwrap_err())
}

#[test]
fn recorded_submissions_are_read() {
    for release in RELEASES {
        let job = job();
        let id = Sbatch::new(&job).unwrap().parse(recorded(release, "accepted.sbatch")).unwrap();
        assert!(id.as_str().parse::<u32>().is_ok(), "{release}: {id}");
    }
}

#[test]
fn recorded_refusals_keep_slurms_words() {
    for release in RELEASES {
        for (case, words) in [
            ("account", "Batch job submission failed: Invalid account or account/partition combination specified"),
            ("partition", "invalid partition specified: nope\nBatch job submission failed: Invalid partition name specified"),
            ("reservation", "Batch job submission failed: Requested reservation is invalid"),
            ("constraint", "Batch job submission failed: Invalid feature specification"),
            ("missing", "Unable to open file /home/fireuser/missing.sh"),
        ] {
            let error = refusal(release, case);
            assert!(matches!(&error, SchedulerError::Rejected(text) if text == words), "{release} {case}: {error:?}");
        }
        assert!(matches!(refusal(release, "noscript"), SchedulerError::Rejected(text) if text.contains("batch script")), "{release}");
    }
}

#[test]
fn a_reservation_of_others_is_denied() {
    for release in RELEASES {
        let error = refusal(release, "reservation-denied");
        assert!(matches!(&error, SchedulerError::Denied(_)), "{release}: {error:?}");
    }
}

#[test]
fn a_controller_that_is_down_is_no_refusal() {
    for release in RELEASES {
        assert!(matches!(refusal(release, "no-controller"), SchedulerError::Down(_)), "{release}");
    }
}

#[test]
fn the_functions_that_a_job_does_not_get_are_documented() {
    let page = include_str!("../../../../../docs/deviations.md");
    let row = page.lines().find(|line| line.starts_with("| exported functions named")).unwrap();
    let names = |script: &str| {
        let lines = script.lines().filter_map(|line| line.strip_prefix("unset -f ")).map(str::to_owned).collect::<Vec<_>>().join(" ");
        lines.split(' ').take_while(|word| !word.contains('>')).map(str::to_owned).collect::<Vec<_>>()
    };
    let dropped: std::collections::BTreeSet<String> =
        [include_str!("submit.sh"), include_str!("../../../../ssh/prologue.sh")].into_iter().flat_map(names).collect();
    let told: std::collections::BTreeSet<String> =
        row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2).filter(|word| !word.starts_with('/')).map(str::to_owned).collect();
    assert_eq!(dropped, told);
}
