//! The script as it is, and what a real shell makes of it and its reports.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::domain::JobScript;

const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);

fn script(directory: &Path, wait_timeout: u64) -> String {
    let directives = Directives::new(&["#SBATCH --nodes=1".to_owned()], None).unwrap();
    let directory = RemotePath::from_text(directory.to_str().unwrap()).unwrap();
    match job(Direction::Upload, wait_timeout, &directives, &directory, ID).script {
        JobScript::Inline(script) => script,
        JobScript::Path(path) => panic!("{path}"),
    }
}

#[test]
fn the_script_of_a_job_that_stands_for_a_transfer() {
    insta::assert_snapshot!(script(Path::new("/scratch/ada"), 86_400));
}

#[test]
fn coordinates_are_those_that_the_client_decodes() {
    let coordinates = coordinates(&["hpc.example.org".to_owned(), "[::1]".to_owned()], 5665, &Secret::from("s3".to_owned()));
    let decoded = URL_SAFE.decode(coordinates.expose()).unwrap();
    let expected = json!({"ports": [5665, 5665], "ips": ["hpc.example.org", "[::1]"], "secret": "s3"});
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&decoded).unwrap(), expected);
    assert_eq!(coordinates.expose().len() % 4, 0, "Python wants the padding");
}

#[test]
fn a_reason_is_one_line() {
    assert_eq!(Report::Failed("a\nb".to_owned()).content(), "failed\na b\n");
}

struct Job {
    child: Child,
    report: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Job {
    fn start(wait_timeout: u64) -> Self {
        Self::with(|script| script.replace("wait_timeout='60'", &format!("wait_timeout='{wait_timeout}'")))
    }

    /// A job whose script is changed.
    fn with(change: impl FnOnce(String) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = change(script(directory.path(), 60));
        let child = Command::new("sh").arg("-c").arg(script).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let report = directory.path().join(format!(".f7t_file_handling_job_{ID}.report"));
        Self { child, report, _directory: directory }
    }

    fn report(&self, report: &Report) {
        let temporary = self.report.with_extension("new");
        std::fs::write(&temporary, report.content()).unwrap();
        std::fs::rename(temporary, &self.report).unwrap();
    }

    /// The exit status with both outputs.
    fn end(self) -> (Option<i32>, String, String) {
        let output = self.child.wait_with_output().unwrap();
        assert!(!self.report.exists(), "the report stays");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn a_job_ends_as_its_report_says() {
    let job = Job::start(60);
    job.report(&Report::Begun);
    Command::new("sleep").arg("1.5").status().unwrap();
    job.report(&Report::Done);
    let (status, output, error) = job.end();
    assert_eq!((status, &*error), (Some(0), ""), "{output}");
    assert!(output.contains("The client is connected") && output.contains("File was successfully transferred"), "{output}");

    let job = Job::start(60);
    job.report(&Report::Failed("it's \"odd\" $(id) %s \\n".to_owned()));
    let (status, _, error) = job.end();
    assert_eq!(status, Some(1));
    assert!(error.contains("it's \"odd\" $(id) %s \\n\n"), "{error}");
}

#[test]
fn a_job_that_hears_nothing_more_of_its_transfer_fails() {
    let job = Job::with(|script| script.replace("silence='300'", "silence='2'"));
    job.report(&Report::Begun);
    let (status, _, error) = job.end();
    assert_eq!(status, Some(70));
    assert!(error.contains("Goldcrest has not reported for 2 seconds"), "{error}");
}

#[test]
fn a_job_whose_client_does_not_come_ends_when_its_time_is_over() {
    let (status, _, error) = Job::start(1).end();
    assert_eq!(status, Some(62));
    assert!(error.contains("No client connected within 1 seconds"), "{error}");
}
