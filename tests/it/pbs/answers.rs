//! What PBS's answers become where they come at bad moments, or from Torque.

use std::sync::Arc;

use goldcrest::domain::JobQuery;
use goldcrest::error::{Classify, Kind};
use goldcrest::scheduler::pbs::{Config, Pbs};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use goldcrest::ssh::TransportError;

use super::id;
use crate::support::principal;
use crate::support::scripted::{ScriptedTransport, Step, breaks, fails, prints};

const VERSION: &str = "env LC_ALL=C TZ=UTC qstat --version";
const PBS: &str = "pbs_version = 23.06.06\n";
const ACTIVE: &str = "env LC_ALL=C TZ=UTC qselect -u 'jane'";
const LIST: &str = "env LC_ALL=C TZ=UTC xargs qstat -f -w -x -E";
const ONE: &str = "env LC_ALL=C TZ=UTC qstat -f -w -x -t -- '7'";
const DOWN: &str = "Connection refused\nqstat: cannot connect to server srv (errno=15010)";

fn pbs(steps: impl IntoIterator<Item = Step>) -> Pbs {
    Pbs::new(Arc::new(ScriptedTransport::new(steps)), Config::default())
}

/// The selection of what ended, whose line holds the time of day.
fn ended(reply: Step) -> Step {
    Step { line: String::new(), ..reply }
}

fn record(id: &str, letter: &str) -> String {
    format!("Job Id: {id}\n    Job_Name = n\n    Job_Owner = jane@h\n    job_state = {letter}\n    server = srv\n\n")
}

#[tokio::test]
async fn the_version_is_asked_for_once_unless_it_could_not_be_asked() {
    let pbs = pbs([
        breaks(VERSION, TransportError::Broken { sent: true }),
        prints(VERSION, PBS),
        prints(ONE, record("7.srv", "R")),
        prints(ONE, record("7.srv", "R")),
    ]);
    let jane = principal("jane");
    assert_eq!(pbs.job(&jane, &id("7")).await.unwrap_err().kind(), Kind::DependencyFailed);
    pbs.job(&jane, &id("7")).await.unwrap();
    pbs.job(&jane, &id("7")).await.unwrap();
}

#[tokio::test]
async fn a_history_that_could_not_be_asked_is_an_error_and_not_half_a_list() {
    let pbs = pbs([prints(VERSION, PBS), prints(ACTIVE, "7.srv\n"), ended(fails("", 162, &DOWN.replace("qstat", "qselect")))]);
    let error = pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_goes_down_in_the_middle_of_a_list_is_an_error() {
    let torn = format!("{DOWN}\nxargs: qstat: exited with status 255; aborting");
    let pbs = pbs([prints(VERSION, PBS), prints(ACTIVE, "7.srv\n8.srv\n"), ended(prints("", "")), fails(LIST, 124, &torn)]);
    let error = pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
}

#[tokio::test]
async fn without_a_job_nothing_is_described() {
    let pbs = pbs([prints(VERSION, PBS), prints(ACTIVE, ""), ended(prints("", ""))]);
    assert_eq!(pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap(), []);
}

#[tokio::test]
async fn a_job_of_another_server_keeps_its_name() {
    let pbs = pbs([prints(VERSION, PBS), prints(ONE, record("7.other", "R"))]);
    assert_eq!(pbs.job(&principal("jane"), &id("7")).await.unwrap()[0].id, id("7.other"));
}

#[tokio::test]
async fn torque_lists_everyone_and_only_the_callers_jobs_are_shown() {
    let others = record("8.srv", "R").replace("jane@", "eve@");
    let pbs = pbs([
        Step { line: VERSION.to_owned(), ..fails("", 0, "Version: 6.1.2\nCommit: 0\n") },
        prints("env LC_ALL=C TZ=UTC qstat -f", record("7.srv", "C") + &others),
    ]);
    let jane = principal("jane");
    let jobs = pbs.jobs(&jane, &JobQuery::default()).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["7"]);
    assert_eq!(pbs.reservations(&jane).await.unwrap(), []);
}

#[tokio::test]
async fn a_submission_whose_answer_is_not_understood_may_have_happened() {
    let job = goldcrest::domain::JobDescription {
        name: None,
        account: None,
        reservation: None,
        partition: None,
        working_directory: goldcrest::domain::RemotePath::from_text("/").unwrap(),
        standard_input: None,
        standard_output: None,
        standard_error: None,
        environment: std::collections::BTreeMap::new(),
        constraints: None,
        script: goldcrest::domain::JobScript::Inline("true\n".to_owned()),
    };
    let pbs = pbs([prints(VERSION, PBS), ended(prints("", "thank you\n"))]);
    let error = pbs.submit(&principal("jane"), &job).await.unwrap_err();
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(true)));
}
