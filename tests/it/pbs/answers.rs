//! Answers of PBS at inconvenient moments, and those of Torque.

use std::sync::Arc;

use goldcrest::domain::{JobDescription, JobQuery, JobScript, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::scheduler::pbs::{Config, Pbs};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use goldcrest::ssh::TransportError;

use super::id;
use crate::support::principal;
use crate::support::scripted::{ScriptedTransport, Step, breaks, fails, prints};

const VERSION: &str = "env LC_ALL=C TZ=UTC qstat --version";
const PBS: &str = "pbs_version = 23.06.06\n";
const OWN: &str = "env LC_ALL=C TZ=UTC qstat -u 'jane' -f -w -x";
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

/// The jobs of the caller, who has more than an answer may hold.
fn too_many() -> Step {
    breaks(OWN, TransportError::Output(1))
}

#[tokio::test]
async fn the_jobs_of_a_caller_are_one_command() {
    let pbs = pbs([prints(VERSION, PBS), prints(OWN, record("7.srv", "R") + &record("6.srv", "F"))]);
    let jobs = pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["6", "7"]);
}

#[tokio::test]
async fn a_job_that_ends_between_two_selections_is_in_the_second() {
    let pbs = pbs([
        prints(VERSION, PBS),
        too_many(),
        prints(ACTIVE, "7.srv\n"),
        ended(prints("", "7.srv\n8.srv\n")),
        prints(LIST, record("7.srv", "F") + &record("8.srv", "F")),
    ]);
    let jobs = pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["7", "8"]);
}

#[tokio::test]
async fn a_history_that_could_not_be_asked_is_an_error_and_not_half_a_list() {
    let pbs = pbs([prints(VERSION, PBS), too_many(), prints(ACTIVE, "7.srv\n"), ended(fails("", 162, &DOWN.replace("qstat", "qselect")))]);
    let error = pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_goes_down_in_the_middle_of_a_list_is_an_error() {
    let torn = format!("{DOWN}\nxargs: qstat: exited with status 255; aborting");
    let pbs = pbs([prints(VERSION, PBS), too_many(), prints(ACTIVE, "7.srv\n8.srv\n"), ended(prints("", "")), fails(LIST, 124, &torn)]);
    let error = pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
}

#[tokio::test]
async fn without_a_job_nothing_is_described() {
    let pbs = pbs([prints(VERSION, PBS), too_many(), prints(ACTIVE, ""), ended(prints("", ""))]);
    assert_eq!(pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap().value, []);
}

#[tokio::test]
async fn what_looks_like_the_job_of_another_in_a_variable_is_in_no_list() {
    let old = "pbs_version = PBSPro_13.1.0.160576\n";
    let eves = record("7.srv", "R").replace("jane@", "eve@");
    let forged = record("8.srv", "F") + &record("9.srv", "F");
    let pbs = pbs([
        prints(VERSION, old),
        prints("env LC_ALL=C TZ=UTC qstat -f -x", eves + &forged + &record("8.srv", "R")),
        prints("env LC_ALL=C TZ=UTC qstat -x", "Job id  Name\n------  ----\n7.srv   n\n8.srv   n\n"),
        prints("env LC_ALL=C TZ=UTC qstat -f -x -- '8.srv'", record("8.srv", "R")),
    ]);
    let jobs = pbs.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    let shown: Vec<_> = jobs.iter().map(|job| (job.id.as_str(), job.status.state.as_str())).collect();
    assert_eq!(shown, [("8", "RUNNING")]);
}

#[tokio::test]
async fn what_looks_like_another_job_in_a_variable_is_no_answer_to_an_id() {
    let forged = record("7.srv", "R") + &record("7.srv", "F") + &record("8.srv", "F");
    let pbs = pbs([prints(VERSION, PBS), prints(ONE, forged)]);
    let jobs = pbs.job(&principal("jane"), &id("7")).await.unwrap();
    assert_eq!(jobs.iter().map(|job| (job.id.as_str(), job.status.state.as_str())).collect::<Vec<_>>(), [("7", "RUNNING")]);
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
        prints("env LC_ALL=C TZ=UTC qstat", "7.srv n jane 0 C q\n8.srv n eve 0 R q\n"),
    ]);
    let jane = principal("jane");
    let jobs = pbs.jobs(&jane, &JobQuery::default()).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["7"]);
    assert_eq!(pbs.reservations(&jane).await.unwrap().value, []);
}

fn description(partition: Option<&str>) -> JobDescription {
    JobDescription {
        partition: partition.map(str::to_owned),
        ..JobDescription::new(RemotePath::from_text("/").unwrap(), JobScript::Inline("true\n".to_owned()))
    }
}

#[tokio::test]
async fn a_submission_whose_answer_is_not_understood_may_have_happened() {
    let crash = "qsub: End of File\nqsub: SIGPIPE received, job submission interrupted.: Success";
    for answer in [prints("sh -s", "thank you\n"), fails("sh -s", 1, crash), fails("sh -s", 139, "Segmentation fault")] {
        let pbs = pbs([prints(VERSION, PBS), answer]);
        let error = pbs.submit(&principal("jane"), &description(None)).await.unwrap_err();
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(true)), "{error:?}");
    }
}

#[tokio::test]
async fn a_queue_named_with_its_server_answers_the_id_that_lists_show() {
    let server = "env LC_ALL=C TZ=UTC qstat -B -f";
    let described = "Server: srv\n    server_state = Active\n\n";
    let pbs = pbs([
        prints(VERSION, PBS),
        prints(server, described),
        prints("sh -s", "7.srv\n"),
        prints("sh -s", "7.other\n"),
        prints("env LC_ALL=C TZ=UTC qstat -f -w -x -t -- '7.other'", record("7.other", "R").replace("server = srv", "server = other")),
    ]);
    let jane = principal("jane");
    assert_eq!(pbs.submit(&jane, &description(Some("workq@srv.example.org"))).await.unwrap().value, id("7"));
    let elsewhere = pbs.submit(&jane, &description(Some("workq@other"))).await.unwrap().value;
    assert_eq!(elsewhere, id("7.other"));
    assert_eq!(pbs.job(&jane, &elsewhere).await.unwrap()[0].id, elsewhere);
}

#[tokio::test]
async fn a_node_that_is_down_a_subjob_that_is_none_and_a_job_of_another_that_ended_are_told_when_a_job_is_cancelled() {
    let qdel = |id: &str| format!("env LC_ALL=C TZ=UTC qdel -- '{id}'");
    let qstat = |id: &str| format!("env LC_ALL=C TZ=UTC qstat -f -w -x -t -- '{id}'");
    let pbs = pbs([
        fails(&qdel("7"), 222, "qdel: Server could not connect to MOM 7.srv"),
        fails(&qdel("8[99]"), 156, "qdel: Invalid request 8[99].srv"),
        fails(&qdel("9[99]"), 35, "qdel: Job has finished 9[99].srv"),
        prints(VERSION, PBS),
        fails(&qstat("9[99]"), 153, "qstat: Unknown Job Id 9[99].srv"),
        fails(&qdel("9[1]"), 35, "qdel: Request invalid for finished array subjob 9[1].srv"),
        prints(&qstat("9[1]"), record("9[1].srv", "X")),
        fails(&qdel("11"), 35, "qdel: Job has finished 11.srv"),
        prints(&qstat("11"), record("11.srv", "F")),
        fails(&qdel("11"), 35, "qdel: Job has finished 11.srv"),
        prints(&qstat("11"), record("11.srv", "F")),
        fails(&qdel("10"), 139, "Segmentation fault"),
    ]);
    let jane = principal("jane");
    let error = pbs.cancel(&jane, &id("7")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("Server could not connect to MOM"), "{error}");
    assert!(matches!(pbs.cancel(&jane, &id("8[99]")).await, Err(SchedulerError::JobNotFound)));
    assert!(matches!(pbs.cancel(&jane, &id("9[99]")).await, Err(SchedulerError::JobNotFound)));
    pbs.cancel(&jane, &id("9[1]")).await.unwrap();
    pbs.cancel(&jane, &id("11")).await.unwrap();
    let error = pbs.cancel(&principal("ada"), &id("11")).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Denied(_)), "the job of another that has ended: {error:?}");
    let error = pbs.cancel(&jane, &id("10")).await.unwrap_err();
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(true)));
}

#[tokio::test(start_paused = true)]
async fn commands_over_the_budget_of_the_login_node_are_refused_before_anything_is_sent() {
    let steps = [prints(VERSION, PBS), prints(ONE, record("7.srv", "R"))];
    let config = Config { commands_per_minute: 2, ..Config::default() };
    let pbs = Pbs::new(Arc::new(ScriptedTransport::new(steps)), config);
    let jane = principal("jane");
    pbs.job(&jane, &id("7")).await.unwrap();
    let error = pbs.cancel(&jane, &id("7")).await.unwrap_err();
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(false)));
    assert!(error.to_string().contains("try again"), "{error}");
}
