//! The rules for submissions.

use std::collections::BTreeMap;

use crate::domain::{Dependency, DependencyType, ImageProgram, JobDescription, JobOptions, JobScript};

use super::text::{Findings, MAX_ARGUMENT_BYTES, is_variable_name};
use super::{Access, ServiceError};

/// Why a system does not run the programs of images, and has no jobs as objects.
pub(super) const NO_NATIVE_JOBS: &str = "this system's scheduler keeps no jobs as objects";

/// The longest name of a job, account, partition or reservation, in bytes.
const MAX_NAME: usize = 255;
/// The longest constraint expression, in bytes.
const MAX_CONSTRAINTS: usize = 1024;
/// The longest file name with patterns, in bytes (`PATH_MAX` of Linux without its NUL).
const MAX_PATH: usize = 4095;
/// The longest script, in bytes: Slurm's own default (`max_script_size`).
const MAX_SCRIPT: usize = 4 * 1024 * 1024;
/// The maximum number of variables, which become part of a command line or its input.
const MAX_VARIABLES: usize = 1024;
/// The maximum of any count: Slurm's 32-bit numbers below those with a meaning of their own.
const MAX_COUNT: u32 = 1 << 31;
const MAX_LICENCES: usize = 64;
/// The maximum number of conditions, and of the jobs that they name together.
const MAX_DEPENDENCIES: usize = 100;

/// A job as the caller describes it, unchecked.
pub type Submission = JobDescription<String>;

/// Checks a submission and returns the job for the scheduler, with resolved paths.
pub(super) async fn check(mut job: Submission, access: &Access) -> Result<JobDescription, ServiceError> {
    let mut findings = Findings::default();
    for (name, value, max_bytes) in [
        ("name", &mut job.name, MAX_NAME),
        ("account", &mut job.account, MAX_NAME),
        ("reservation", &mut job.reservation, MAX_NAME),
        ("partition", &mut job.partition, MAX_NAME),
        ("standard_input", &mut job.standard_input, MAX_PATH),
        ("standard_output", &mut job.standard_output, MAX_PATH),
        ("standard_error", &mut job.standard_error, MAX_PATH),
        ("constraints", &mut job.constraints, MAX_CONSTRAINTS),
    ] {
        *value = findings.line(name, value.take(), max_bytes);
    }
    check_environment(&mut findings, &job.environment);
    check_options(&mut findings, &mut job.options);
    match (&job.program, &job.script) {
        (Some(program), _) => check_program(&mut findings, program),
        (None, JobScript::Inline(text)) => check_script(&mut findings, text),
        (None, JobScript::Path(_)) => {}
    }
    findings.into_result()?;
    if job.program.is_some() && access.cluster().scheduler()?.native_jobs().is_none() {
        return Err(ServiceError::Unsupported(NO_NATIVE_JOBS));
    }

    // A working directory need not lie on a configured file system: what the job does there is the scheduler's business.
    let working_directory = access.unchecked_directory(&job.working_directory).await?;
    let script = match &mut job.script {
        JobScript::Inline(text) => JobScript::Inline(std::mem::take(text)),
        JobScript::Path(path) => JobScript::Path(access.path(path).await?),
    };
    Ok(job.with_paths(working_directory, script))
}

/// Checks the job's options: each value by itself, and combinations that are not allowed.
fn check_options(findings: &mut Findings, options: &mut JobOptions) {
    for (name, value) in [
        ("nodes", options.nodes),
        ("tasks", options.tasks),
        ("tasks_per_node", options.tasks_per_node),
        ("cpus_per_task", options.cpus_per_task),
        ("gpus", options.gpus),
        ("gpus_per_node", options.gpus_per_node),
        ("time_limit", options.time_limit),
    ] {
        if value.is_some_and(|value| !(1..=MAX_COUNT).contains(&value)) {
            findings.add(name, format!("it must be from 1 to {MAX_COUNT}"));
        }
    }
    for (name, value, max_bytes) in [
        ("qos", &mut options.qos, MAX_NAME),
        ("mail_user", &mut options.mail_user, MAX_NAME),
        ("container", &mut options.container, MAX_PATH),
        ("container_image", &mut options.container_image, MAX_CONSTRAINTS),
        ("gpu_type", &mut options.gpu_type, MAX_NAME),
    ] {
        *value = findings.line(name, value.take(), max_bytes);
    }
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if options.gpu_type.as_deref().is_some_and(|name| !is_word(name)) {
        findings.add("gpu_type", "it holds a character that no type has: use letters, digits, `_`, `-` and `.`");
    }
    if options.gpu_type.is_some() && options.gpus.is_none() && options.gpus_per_node.is_none() {
        findings.add("gpu_type", "give `gpus` or `gpusPerNode` with it");
    }
    if options.gpus.is_some() && options.gpus_per_node.is_some() {
        findings.add("gpus_per_node", "give `gpus` or `gpusPerNode`, not both");
    }
    if options.memory.is_some() && options.memory_per_cpu.is_some() {
        findings.add("memory_per_cpu", "give `memory` or `memoryPerCpu`, not both");
    }
    if options.container.as_deref().is_some_and(|path| !path.starts_with('/')) {
        findings.add("container", "it is no absolute path; an image is named by `containerImage`");
    }
    let is_licence = |text: &String| !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(|c| c.is_ascii_graphic() && c != ',');
    if options.licenses.len() > MAX_LICENCES || !options.licenses.iter().all(is_licence) {
        findings.add("licenses", format!("write at most {MAX_LICENCES}, each as `name` or `name:count`"));
    }
    let mut known = Vec::new();
    options.mail_events.retain(|event| {
        let is_new = !known.contains(event);
        known.push(*event);
        is_new
    });
    check_dependencies(findings, &options.dependencies);
}

fn check_dependencies(findings: &mut Findings, dependencies: &[Dependency]) {
    let jobs: usize = dependencies.iter().map(|dependency| dependency.jobs.len()).sum();
    if dependencies.len() > MAX_DEPENDENCIES || jobs > MAX_DEPENDENCIES {
        findings.add("dependencies", format!("more than {MAX_DEPENDENCIES} conditions or jobs"));
    }
    for dependency in dependencies {
        match (dependency.condition, dependency.jobs.is_empty()) {
            (DependencyType::Singleton, false) => {
                findings.add("dependencies", "`singleton` names no jobs: it means all earlier ones of the same name");
            }
            (DependencyType::Singleton, true) | (_, false) => {}
            (_, true) => findings.add("dependencies", "name the jobs in `jobs`"),
        }
    }
}

fn check_program(findings: &mut Findings, program: &ImageProgram) {
    let words = || program.command.iter().chain(&program.arguments);
    if words().map(|word| word.len() + 1).sum::<usize>() > MAX_ARGUMENT_BYTES {
        findings.add("command", format!("it has more than {MAX_ARGUMENT_BYTES} bytes with its arguments"));
    } else if words().any(|word| word.contains('\0')) {
        findings.add("command", "it holds a NUL character");
    }
}

fn check_script(findings: &mut Findings, text: &str) {
    if text.is_empty() {
        findings.add("script", "it is empty");
    } else if text.len() > MAX_SCRIPT {
        findings.add("script", format!("it is longer than {MAX_SCRIPT} bytes"));
    } else if text.contains('\0') {
        findings.add("script", "it holds a NUL character");
    }
}

fn check_environment(findings: &mut Findings, variables: &BTreeMap<String, String>) {
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if variables.len() > MAX_VARIABLES || bytes > MAX_ARGUMENT_BYTES {
        findings.add("environment", format!("more than {MAX_VARIABLES} variables or {MAX_ARGUMENT_BYTES} bytes"));
        return;
    }
    for (name, value) in variables {
        if !is_variable_name(name) {
            findings.add("environment", format!("{name:?} is not a name for a variable: use letters, digits and `_`"));
        }
        if value.contains('\0') {
            findings.add("environment", format!("the value of {name:?} holds a NUL character"));
        }
    }
}
