//! Changes of an unfinished job, by slurmrestd.

use serde::de::IgnoredAny;
use serde_json::json;

use super::endpoint::{Answered, Call, Endpoint};
use super::failure::{explain, explain_refusal};
use super::version::Offer;
use crate::domain::{JobChange, JobId, Principal};
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::job_ref::JobRef;

/// Why not each version does each of it.
const TOO_OLD: &str = "this version of slurmrestd's API does not tell whether the change was made: have the site set the mode hybrid";
const NO_TASKS: &str = "connection_mode is rest, and slurmrestd changes whole jobs and arrays alone: have the site set the mode hybrid";
/// Why a job is not put back into the queue.
pub(super) const NO_REQUEUE: &str = "connection_mode is rest, and most versions of slurmrestd do not put jobs back into the queue";

/// Changes a job.
///
/// # Errors
/// [`SchedulerError::Unsupported`] if the version cannot, or does not report whether it did.
pub(super) async fn alter(endpoint: &Endpoint, principal: &Principal, id: &JobId, change: JobChange) -> Result<(), SchedulerError> {
    let id = JobRef::new(id).ok_or(SchedulerError::JobNotFound)?;
    if id.is_for_commands() || id.is_component() || !id.is_whole() && !matches!(change, JobChange::Signal(_)) {
        return Err(SchedulerError::Unsupported(NO_TASKS));
    }
    let make = |offer: Offer| request(id, change, offer);
    let Answered { success, answer, .. } = endpoint.call::<IgnoredAny>(principal, make).await?;
    match answer.faults() {
        faults if !faults.is_empty() => Err(explain_refusal(&faults)),
        _ if success => Ok(()),
        faults => Err(explain(&faults)),
    }
}

fn request(id: JobRef<'_>, change: JobChange, offer: Offer) -> Result<Call, SchedulerError> {
    let version = offer.slurm;
    let update = |body| match version.reports_updates() {
        true => Ok(Call::slurm(version, &["job", id.as_str()]).post(body)),
        false => Err(SchedulerError::Unsupported(TOO_OLD)),
    };
    match change {
        JobChange::Hold => update(json!({"hold": true})),
        JobChange::Release => update(json!({"hold": false})),
        // Whole minutes, rounded up as scontrol does.
        JobChange::TimeLimit(seconds) => update(json!({"time_limit": {"set": true, "infinite": false, "number": seconds.div_ceil(60)}})),
        JobChange::Requeue => Err(SchedulerError::Unsupported(NO_REQUEUE)),
        JobChange::Signal(signal) if version.reports_signals() && (id.is_whole() || version.knows_tasks()) => {
            let call = Call::slurm(version, &["job", id.as_str()]).delete().with("signal", signal.as_str());
            Ok(if version.reports_updates() { call.with("flags", "FULL_JOB") } else { call })
        }
        JobChange::Signal(_) => Err(SchedulerError::Unsupported(TOO_OLD)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::ApiVersion;
    use super::*;
    use crate::domain::Signal;

    fn possible(change: JobChange, version: &str) -> bool {
        let id = JobId::new("1").unwrap();
        let offer = Offer { slurm: ApiVersion::parse(version).unwrap(), slurmdb: None };
        request(JobRef::new(&id).unwrap(), change, offer).is_ok()
    }

    #[test]
    fn only_versions_that_tell_of_it_are_asked_to_change_a_job() {
        let signal = JobChange::Signal(Signal::new("USR1").unwrap());
        for (version, expected) in [("0.0.38", [false, true]), ("0.0.40", [true, false]), ("0.0.42", [true, true])] {
            assert_eq!([JobChange::Hold, signal].map(|change| possible(change, version)), expected, "{version}");
        }
        assert!(possible(JobChange::TimeLimit(60), "0.0.45") && !possible(JobChange::Requeue, "0.0.45"));
        let task = JobId::new("8_1").unwrap();
        let sent = |version: &str| {
            request(JobRef::new(&task).unwrap(), signal, Offer { slurm: ApiVersion::parse(version).unwrap(), slurmdb: None }).is_ok()
        };
        assert!(sent("0.0.38") && !sent("0.0.36"), "a version without tasks would signal another job");
    }
}
