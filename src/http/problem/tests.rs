//! The statuses and texts of problems.

use std::collections::BTreeSet;

use super::*;
use crate::http::server::request_metrics;
use crate::rest::RestError;
use crate::ssh::{CommandError, TransportError};
use crate::transfer::s3::ObjectStoreError;

/// The statuses of all problems.
fn statuses() -> BTreeSet<u16> {
    let kinds = [
        Kind::Invalid,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::RemoteTimeout,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::DependencyFailed,
        Kind::TooManyRequests,
        Kind::Internal,
        Kind::Unsupported,
        Kind::Unavailable,
        Kind::DeadlineExceeded,
    ];
    let others = [
        Problem::method_not_allowed(&[], ""),
        Problem::state_changed(),
        Problem::unsatisfiable(0),
        Problem::locked(String::new()),
        Problem::key_reused(String::new()),
        Problem::checksum_mismatch(String::new()),
        Problem::unsupported_media(""),
    ];
    kinds.map(|kind| Problem::new(kind, "")).iter().chain(&others).map(Problem::status).collect()
}

#[test]
fn requests_are_counted_by_the_statuses_of_all_problems_and_no_others() {
    let counted: BTreeSet<u16> = request_metrics::STATUSES.into_iter().filter(|status| *status >= 400).collect();
    assert_eq!(counted, statuses());
    assert!(request_metrics::STATUSES.is_sorted(), "they are searched");
}

#[test]
fn a_time_to_wait_is_rounded_up_to_whole_seconds() {
    assert_eq!([0, 1, 1000, 3001].map(|millis| whole_seconds(Duration::from_millis(millis))), [1, 1, 1, 4]);
}

#[test]
fn the_wrapped_error_speaks_and_only_causes_of_ours_are_shown() {
    let source = RestError::Timeout(Duration::from_secs(5));
    let store = ObjectStoreError::Unanswered { store: "s3".to_owned(), task: "begin an upload", source };
    let problem = Problem::from(ServiceError::from(store));
    assert_eq!(problem.0.message, "the object store s3 did not answer when it was asked to begin an upload");
    assert_eq!(problem.0.caused_by, Some(vec!["the service did not answer within 5 s".to_owned()]));
    let source = CommandError::from(TransportError::Broken { sent: true });
    let problem = Problem::from(ServiceError::from(SchedulerError::Command { operation: "attach", source }));
    assert_eq!(problem.0.message, "the SSH connection to the cluster broke");
    assert_eq!((problem.0.caused_by, problem.0.maybe_effected), (None, Some(true)));
}
