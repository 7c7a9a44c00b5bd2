//! What a submission may hold.

use std::collections::BTreeMap;

use crate::domain::{JobDescription, JobScript};

use super::text::{Findings, is_variable_name};
use super::{Access, Place, ServiceError};

/// The longest name of a job, account, partition or reservation, in bytes.
const MAX_NAME: usize = 255;
/// The longest constraint expression, in bytes.
const MAX_CONSTRAINTS: usize = 1024;
/// The longest file name with patterns, in bytes (`PATH_MAX` of Linux without its NUL).
const MAX_PATH: usize = 4095;
/// The longest script, in bytes: Slurm's own default (`max_script_size`).
const MAX_SCRIPT: usize = 4 * 1024 * 1024;
/// The most variables, and the most bytes that they may take together: they become part of a command line or its input.
const MAX_VARIABLES: usize = 1024;
const MAX_ENVIRONMENT: usize = 96 * 1024;

/// A job as the caller describes it, unchecked.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The job's name.
    pub name: Option<String>,
    /// The account to charge.
    pub account: Option<String>,
    /// The reservation to run in.
    pub reservation: Option<String>,
    /// The partition or queue.
    pub partition: Option<String>,
    /// Where the job starts.
    pub working_directory: String,
    /// The file read as standard input.
    pub standard_input: Option<String>,
    /// The file that takes standard output.
    pub standard_output: Option<String>,
    /// The file that takes standard error.
    pub standard_error: Option<String>,
    /// Variables, as name and value.
    pub environment: Vec<(String, String)>,
    /// Node features required.
    pub constraints: Option<String>,
    /// The script's text.
    pub script: Option<String>,
    /// Where the script lies on the cluster.
    pub script_path: Option<String>,
}

impl Submission {
    /// Checks it and gives the job for the scheduler, with paths that need no resolving.
    pub(super) async fn check(self, access: &Access) -> Result<JobDescription, ServiceError> {
        let mut findings = Findings::default();
        let line = |findings: &mut Findings, name, value, max_bytes| findings.line(Place::Document, name, value, max_bytes);
        let name = line(&mut findings, "job.name", self.name, MAX_NAME);
        let account = line(&mut findings, "job.account", self.account, MAX_NAME);
        let reservation = line(&mut findings, "job.reservation", self.reservation, MAX_NAME);
        let partition = line(&mut findings, "job.partition", self.partition, MAX_NAME);
        let standard_input = line(&mut findings, "job.standardInput", self.standard_input, MAX_PATH);
        let standard_output = line(&mut findings, "job.standardOutput", self.standard_output, MAX_PATH);
        let standard_error = line(&mut findings, "job.standardError", self.standard_error, MAX_PATH);
        let constraints = line(&mut findings, "job.constraints", self.constraints, MAX_CONSTRAINTS);
        let environment = environment(&mut findings, self.environment);
        check_script(&mut findings, self.script.as_deref(), self.script_path.as_deref());
        findings.into_result()?;

        // A working directory need not lie on a configured file system: what the job does there is the scheduler's business.
        let working_directory = access.unchecked_directory(&self.working_directory).await?;
        let script = match (self.script, self.script_path) {
            (Some(text), _) => JobScript::Inline(text),
            (None, path) => JobScript::Path(access.path(path.as_deref().unwrap_or_default()).await?),
        };
        Ok(JobDescription {
            name,
            account,
            reservation,
            partition,
            working_directory,
            standard_input,
            standard_output,
            standard_error,
            environment,
            constraints,
            script,
        })
    }
}

fn check_script(findings: &mut Findings, text: Option<&str>, path: Option<&str>) {
    match (text, path) {
        (None, None) => findings.add(Place::Document, "job.script", "give either `script` or `scriptPath`"),
        (Some(_), Some(_)) => findings.add(Place::Document, "job.scriptPath", "give `script` or `scriptPath`, not both"),
        (Some(""), None) => findings.add(Place::Document, "job.script", "it is empty"),
        (Some(text), None) if text.len() > MAX_SCRIPT => {
            findings.add(Place::Document, "job.script", format!("it is longer than {MAX_SCRIPT} bytes"));
        }
        (Some(text), None) if text.contains('\0') => findings.add(Place::Document, "job.script", "it holds a NUL character"),
        (Some(_), None) | (None, Some(_)) => {}
    }
}

fn environment(findings: &mut Findings, pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if pairs.len() > MAX_VARIABLES || bytes > MAX_ENVIRONMENT {
        findings.add(Place::Document, "job.env", format!("more than {MAX_VARIABLES} variables or {MAX_ENVIRONMENT} bytes"));
        return BTreeMap::new();
    }
    for (name, value) in &pairs {
        if !is_variable_name(name) {
            findings.add(Place::Document, "job.env", format!("{name:?} is not a name for a variable: use letters, digits and `_`"));
        }
        if value.contains('\0') {
            findings.add(Place::Document, "job.env", format!("the value of {name:?} holds a NUL character"));
        }
    }
    pairs.into_iter().collect()
}
