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
pub type Submission = JobDescription<String>;

/// Checks a submission and gives the job for the scheduler, with paths that need no resolving.
pub(super) async fn check(mut job: Submission, access: &Access) -> Result<JobDescription, ServiceError> {
    let mut findings = Findings::default();
    for (name, value, max_bytes) in [
        ("job.name", &mut job.name, MAX_NAME),
        ("job.account", &mut job.account, MAX_NAME),
        ("job.reservation", &mut job.reservation, MAX_NAME),
        ("job.partition", &mut job.partition, MAX_NAME),
        ("job.standardInput", &mut job.standard_input, MAX_PATH),
        ("job.standardOutput", &mut job.standard_output, MAX_PATH),
        ("job.standardError", &mut job.standard_error, MAX_PATH),
        ("job.constraints", &mut job.constraints, MAX_CONSTRAINTS),
    ] {
        *value = findings.line(Place::Document, name, value.take(), max_bytes);
    }
    check_environment(&mut findings, &job.environment);
    if let JobScript::Inline(text) = &job.script {
        check_script(&mut findings, text);
    }
    findings.into_result()?;

    // A working directory need not lie on a configured file system: what the job does there is the scheduler's business.
    let working_directory = access.unchecked_directory(&job.working_directory).await?;
    let script = match &mut job.script {
        JobScript::Inline(text) => JobScript::Inline(std::mem::take(text)),
        JobScript::Path(path) => JobScript::Path(access.path(path).await?),
    };
    Ok(job.with_paths(working_directory, script))
}

fn check_script(findings: &mut Findings, text: &str) {
    if text.is_empty() {
        findings.add(Place::Document, "job.script", "it is empty");
    } else if text.len() > MAX_SCRIPT {
        findings.add(Place::Document, "job.script", format!("it is longer than {MAX_SCRIPT} bytes"));
    } else if text.contains('\0') {
        findings.add(Place::Document, "job.script", "it holds a NUL character");
    }
}

fn check_environment(findings: &mut Findings, variables: &BTreeMap<String, String>) {
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if variables.len() > MAX_VARIABLES || bytes > MAX_ENVIRONMENT {
        findings.add(Place::Document, "job.env", format!("more than {MAX_VARIABLES} variables or {MAX_ENVIRONMENT} bytes"));
        return;
    }
    for (name, value) in variables {
        if !is_variable_name(name) {
            findings.add(Place::Document, "job.env", format!("{name:?} is not a name for a variable: use letters, digits and `_`"));
        }
        if value.contains('\0') {
            findings.add(Place::Document, "job.env", format!("the value of {name:?} holds a NUL character"));
        }
    }
}
