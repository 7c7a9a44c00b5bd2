//! Jobs: submit, list, look at, cancel, attach to.

use crate::domain::{Job, JobChange, JobDescription, JobEstimate, JobId, JobMetadata, JobProfile, JobQuery, JobScript, Reading, Reported};
use crate::error::{Classify, Kind};
use crate::scheduler::{AttachOutput, RefusedMember, SchedulerError, Submitted};

use super::audit::Change;
use super::counts::{Action, ChangeOutcome};
use super::submission::{self, Submission};
use super::text::{Findings, MAX_ARGUMENT_BYTES};
use super::{Access, AccountingRequest, IdempotencyKey, InvalidField, InvalidRequest, ServiceError};

/// The longest job name to filter by, in characters: OpenPBS has no longer ones.
const MAX_JOB_NAME: usize = 235;

/// Why a system has no profiles.
pub const NO_PROFILES: &str = "this system's scheduler has no profiles: its partitions are listed by /status/{system_name}/partitions";

/// The advice for a client that does not know whether its job was submitted.
const ASK_BY_KEY: &str = "whether the job was submitted is not known: send the same request with the same `Idempotency-Key` again";

/// Submits a job; with a key, unless that was done before.
///
/// # Errors
/// If the description breaks a rule, or the scheduler does not take it.
pub async fn submit(access: &Access, submission: Submission, key: Option<&IdempotencyKey>) -> Result<Reported<Submitted>, ServiceError> {
    let job = submission::check(submission, access).await?;
    let scheduler = access.cluster().scheduler()?;
    let change = Change::begin(access, Action::JobsSubmit, describe(&job));
    let submitted = match key {
        Some(key) => scheduler.submit_once(access.principal(), &job, &key.of(access)).await,
        None => {
            let submitted = scheduler.submit(access.principal(), &job).await;
            submitted.map(|reported| reported.map(Submitted::once))
        }
    };
    if let (Some(mirror), Ok(submitted)) = (access.mirror(), &submitted) {
        match submitted.value.repeated {
            // The scheduler may have forgotten it since.
            true => mirror.nudge(&access.principal().username),
            false => mirror.submitted(access.principal(), &submitted.value.id, job.name.as_deref(), &job.working_directory.to_text()),
        }
    }
    let success = |submitted: &Reported<Submitted>| if submitted.value.repeated { ChangeOutcome::Repeated } else { ChangeOutcome::Done };
    change.end_as(submitted, success).map_err(|error| match (error.maybe_effected(), error) {
        // The error has its own advice.
        (_, error @ (SchedulerError::Undecided { .. } | SchedulerError::Undecidable { .. })) => error.into(),
        (Some(true), error) => {
            ServiceError::MaybeSubmitted(error, if key.is_some() { ASK_BY_KEY.into() } else { ask_by_list(access).into() })
        }
        (_, error) => refused(error),
    })
}

fn ask_by_list(access: &Access) -> String {
    format!(
        "whether the job was submitted is not known: look for it among your jobs (GET /compute/{}/jobs). A request with an `Idempotency-Key` can be sent again",
        access.cluster().name()
    )
}

/// The scheduler's refusal of members becomes the errors of those fields.
pub(super) fn refused(error: SchedulerError) -> ServiceError {
    match error {
        SchedulerError::Members(refused) => {
            let field = |RefusedMember { name, reason }| InvalidField::new(name, format!("it cannot be given on this system: {reason}"));
            refused.into_iter().map(field).collect::<InvalidRequest>().into()
        }
        error => error.into(),
    }
}

/// The caller's jobs, or those of all users that the caller may see.
///
/// # Errors
/// If a filter breaks a rule, or the scheduler does not answer.
pub async fn list(access: &Access, query: JobQuery) -> Result<Reading<Vec<Job>>, ServiceError> {
    let query = checked(query)?;
    // The mirror has the list that is requested by default.
    let mirror = access.mirror().filter(|_| query == JobQuery::default());
    if let Some(list) = mirror.and_then(|mirror| mirror.list(access.principal())) {
        return Ok(list);
    }
    let asked = async { Ok(access.cluster().scheduler()?.jobs(access.principal(), &query).await?) };
    or_as_last_seen(asked.await, || mirror?.last_list(access.principal()))
}

/// As [`list`], from the scheduler itself: for those who change what is listed. A query that is under way is shared, so that the list may be as old as
/// [`Reading::asked`] says.
///
/// # Errors
/// As [`list`].
pub async fn list_anew(access: &Access, query: JobQuery) -> Result<Reading<Vec<Job>>, ServiceError> {
    Ok(access.cluster().scheduler()?.jobs_anew(access.principal(), &checked(query)?).await?)
}

fn checked(query: JobQuery) -> Result<JobQuery, ServiceError> {
    let mut findings = Findings::default();
    if query.name.as_ref().is_some_and(|name| name.chars().count() > MAX_JOB_NAME) {
        findings.add("name", format!("it should have at most {MAX_JOB_NAME} characters"));
    }
    let name = findings.line("name", query.name, 4 * MAX_JOB_NAME);
    let account = findings.line("account", query.account, 255);
    findings.into_result()?;
    Ok(JobQuery { name, account, ..query })
}

/// The scheduler's answer, or the last known one if the scheduler does not answer.
fn or_as_last_seen(
    asked: Result<Reading<Vec<Job>>, ServiceError>,
    last_seen: impl FnOnce() -> Option<Reading<Vec<Job>>>,
) -> Result<Reading<Vec<Job>>, ServiceError> {
    let could_not_ask = |error: &ServiceError| matches!(error.kind(), Kind::Unavailable | Kind::DependencyFailed | Kind::RemoteTimeout);
    asked.or_else(|error| if could_not_ask(&error) { last_seen().ok_or(error) } else { Err(error) })
}

/// The jobs of a time span, or the named ones, from accounting.
///
/// # Errors
/// If the query breaks a rule, the scheduler keeps no accounting, or it does not answer.
pub async fn accounting(access: &Access, request: AccountingRequest) -> Result<Reading<Vec<Job>>, ServiceError> {
    let query = request.check(jiff::Timestamp::now())?;
    Ok(access.cluster().scheduler()?.accounting(access.principal(), &query).await?)
}

/// One job, or all tasks of an array.
///
/// # Errors
/// If there is no such job, or the scheduler does not answer.
pub async fn get(access: &Access, id: &str) -> Result<Reading<Vec<Job>>, ServiceError> {
    let (id, principal) = (job_id(id)?, access.principal());
    let asked = async {
        let scheduler = access.cluster().scheduler()?;
        let job = scheduler.job(principal, &id).await?;
        let is_outdated = access.mirror().is_some_and(|mirror| mirror.is_outdated(&job));
        Ok(if is_outdated { scheduler.job_anew(principal, &id).await? } else { job })
    };
    match or_as_last_seen(asked.await, || access.mirror()?.last_single(principal, &id)) {
        Err(ServiceError::Scheduler(SchedulerError::JobNotFound)) => {
            let missed = access.mirror().and_then(|mirror| mirror.missed(principal, &id));
            missed.ok_or(ServiceError::Scheduler(SchedulerError::JobNotFound))
        }
        answer => answer,
    }
}

/// A job's script and files.
///
/// # Errors
/// If there is no such job, or the scheduler does not answer.
pub async fn metadata(access: &Access, id: &str) -> Result<Reading<Vec<JobMetadata>>, ServiceError> {
    let id = job_id(id)?;
    Ok(access.cluster().scheduler()?.metadata(access.principal(), &id).await?)
}

/// Cancels a job.
///
/// # Errors
/// If there is no such job, it is another user's, or the scheduler does not answer.
pub async fn cancel(access: &Access, id: &str) -> Result<Reported<()>, ServiceError> {
    let id = job_id(id)?;
    let scheduler = access.cluster().scheduler()?;
    let change = Change::begin(access, Action::JobsCancel, id.as_str());
    let cancelled = scheduler.cancel(access.principal(), &id).await;
    look_at_once(access);
    Ok(change.end(cancelled)?)
}

/// Makes the mirror query the jobs after a change, if they are watched.
pub(super) fn look_at_once(access: &Access) {
    if let Some(mirror) = access.mirror() {
        mirror.nudge(&access.principal().username);
    }
}

/// Changes a job that has not ended, as the scheduler can.
///
/// # Errors
/// If there is no such job, it is another user's, it cannot be changed so, or the scheduler does not answer.
pub async fn alter(access: &Access, id: &str, change: JobChange) -> Result<Reported<()>, ServiceError> {
    let id = job_id(id)?;
    if matches!(change, JobChange::TimeLimit(0)) {
        return Err(InvalidRequest::new("time_limit", "it must be at least 1 second").into());
    }
    let scheduler = access.cluster().scheduler()?;
    let audited = Change::begin(access, Action::JobsAlter, format!("{id}: {change}"));
    let altered = scheduler.alter(access.principal(), &id, change).await;
    look_at_once(access);
    Ok(audited.end(altered)?)
}

/// Asks the scheduler to check and estimate a job, and submits nothing.
///
/// # Errors
/// As [`submit`].
pub async fn validate(access: &Access, submission: Submission) -> Result<Reported<JobEstimate>, ServiceError> {
    let job = submission::check(submission, access).await?;
    access.cluster().scheduler()?.validate(access.principal(), &job).await.map_err(refused)
}

/// Runs a command inside a running job and returns its output.
///
/// # Errors
/// If the command breaks a rule, there is no such job, or the scheduler does not answer. A failure of the command itself is no error.
pub async fn attach(access: &Access, id: &str, command: &str) -> Result<Reported<AttachOutput>, ServiceError> {
    let id = job_id(id)?;
    if let Some(problem) = wrong_command(command) {
        return Err(InvalidRequest::new("command", problem).into());
    }
    let scheduler = access.cluster().scheduler()?;
    let change = Change::begin(access, Action::JobsAttach, id.as_str());
    Ok(change.end(scheduler.attach(access.principal(), &id, command).await)?)
}

/// The sizes and places that the system offers for jobs.
///
/// # Errors
/// If the system runs no jobs, or its scheduler has no profiles.
pub fn profiles(access: &Access) -> Result<Vec<JobProfile>, ServiceError> {
    access.cluster().scheduler_without_health_check()?.profiles().ok_or(ServiceError::Unsupported(NO_PROFILES))
}

pub(super) fn job_id(id: &str) -> Result<JobId, InvalidRequest> {
    JobId::new(id).map_err(|error| InvalidRequest::new("job_id", error.to_string()))
}

fn wrong_command(command: &str) -> Option<String> {
    if command.trim().is_empty() {
        Some("it is empty".to_owned())
    } else if command.contains('\0') {
        Some("it holds a NUL character".to_owned())
    } else if command.len() > MAX_ARGUMENT_BYTES {
        Some(format!("it is longer than {MAX_ARGUMENT_BYTES} bytes"))
    } else {
        None
    }
}

fn describe(job: &JobDescription) -> String {
    if let Some(program) = &job.program {
        let image = job.options.container_image.as_deref().unwrap_or("the image of the partition");
        let code = program.code.as_ref().map_or_else(String::new, |code| format!(" with code of {} bytes", code.len()));
        return format!("program of {image}{code}");
    }
    match &job.script {
        JobScript::Inline(text) => format!("inline script of {} bytes in {}", text.len(), job.working_directory),
        JobScript::Path(path) => format!("{path} in {}", job.working_directory),
    }
}
