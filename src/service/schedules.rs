//! Jobs that the scheduler itself submits at times.

use super::audit::Change;
use super::counts::Action;
use super::submission;
use super::text::Findings;
use super::{Access, ServiceError, jobs};
use crate::domain::{Schedule, ScheduleDescription, ScheduleId};
use crate::scheduler::{SchedulerError, Schedules};

/// Why a system has no schedules.
pub const NO_SCHEDULES: &str = "this system's scheduler submits no jobs by itself";

/// The longest name of a schedule, in bytes.
const MAX_NAME: usize = 255;
/// The longest text for times and for a time zone, in bytes.
const MAX_TIMES: usize = 256;

/// Creates a schedule.
///
/// # Errors
/// If the description breaks a rule, the scheduler has no schedules, or it does not take this one.
pub async fn create(access: &Access, schedule: ScheduleDescription<String>) -> Result<ScheduleId, ServiceError> {
    let schedules = of(access)?;
    let mut findings = Findings::default();
    let name = findings.line("name", schedule.name, MAX_NAME);
    let time_zone = findings.line("time_zone", schedule.time_zone, MAX_TIMES);
    let cron = findings.line("cron", Some(schedule.cron), MAX_TIMES).unwrap_or_default();
    if cron.trim().is_empty() {
        findings.add("cron", "it is empty: write the five fields of cron, such as `0 3 * * *`".to_owned());
    }
    findings.into_result()?;
    let job = submission::check(schedule.job, access).await?;
    let schedule = ScheduleDescription { name, cron, time_zone, job, suspended: schedule.suspended, overlap: schedule.overlap };
    let change = Change::begin(access, Action::SchedulesCreate, schedule.cron.clone());
    change.end(schedules.create(access.principal(), &schedule).await).map_err(jobs::refused)
}

/// The caller's schedules.
///
/// # Errors
/// If the scheduler has no schedules, or does not answer.
pub async fn list(access: &Access) -> Result<Vec<Schedule>, ServiceError> {
    Ok(of(access)?.list(access.principal()).await?)
}

/// One schedule.
///
/// # Errors
/// If there is no such schedule, or as [`list`].
pub async fn get(access: &Access, id: &str) -> Result<Schedule, ServiceError> {
    let schedules = of(access)?;
    Ok(schedules.get(access.principal(), &read_id(id)?).await?)
}

/// Removes a schedule.
///
/// # Errors
/// As [`get`].
pub async fn remove(access: &Access, id: &str) -> Result<(), ServiceError> {
    let schedules = of(access)?;
    let id = read_id(id)?;
    let change = Change::begin(access, Action::SchedulesRemove, id.as_str());
    Ok(change.end(schedules.remove(access.principal(), &id).await)?)
}

fn of(access: &Access) -> Result<&dyn Schedules, ServiceError> {
    access.cluster().scheduler()?.schedules().ok_or(ServiceError::Unsupported(NO_SCHEDULES))
}

/// No schedule has an id that cannot be one.
pub(super) fn read_id(id: &str) -> Result<ScheduleId, SchedulerError> {
    ScheduleId::new(id).ok_or(SchedulerError::ScheduleNotFound)
}
