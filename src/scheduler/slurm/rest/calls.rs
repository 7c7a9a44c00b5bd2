//! Queries whose form differs between the versions.

use super::endpoint::Call;
use super::version::{ApiVersion, StatesForm};

/// All states there are. Without naming them, accounting leaves out jobs that were cancelled before they could have started.
const STATES: [&str; 12] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PENDING",
    "PREEMPTED",
    "RUNNING",
    "SUSPENDED",
    "TIMEOUT",
];

/// Accounting's jobs of a span of time, of one user or of all. Every version reads the forms of sacct's times.
pub(super) fn accounted_jobs(version: ApiVersion, since: &str, until: &str, user: Option<&str>) -> Call {
    let call = Call::slurmdb(version, &["jobs"]).with("start_time", since).with("end_time", until);
    let call = match version.states_of_accounting() {
        StatesForm::None => call,
        StatesForm::List => call.with("state", STATES.join(",")),
        StatesForm::Repeated => STATES.iter().fold(call, |call, state| call.with("state", *state)),
    };
    if !version.filters_accounting() {
        return call;
    }
    let call = call.with("skip_steps", "true");
    user.map_or(call.clone(), |user| call.with("users", user))
}

/// A point in time as sacct reads it. The first second of all is one that no version reads.
pub(super) fn point(seconds: i64) -> String {
    format!("uts{}", seconds.max(1))
}
