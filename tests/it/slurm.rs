//! Merged answers of Slurm: the outputs of two commands about the same jobs, and the result if one of them fails.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use goldcrest::cluster::Cluster;
use goldcrest::domain::{ClusterHealth, Job, JobDescription, JobId, JobQuery, JobScript, Principal, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::scheduler::slurm::{Delimiter, SlurmCli};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};

use crate::api::doubles::{Script, ScriptedFiles};
use crate::api::{Api, cluster_config, request, whole};
use crate::support::principal;
use crate::support::scripted::{ScriptedTransport, Step, breaks, fails, prints};

const DELIMITER: &str = "\u{1f}test";
const SQUEUE_FIELDS: &str = "JobArrayID,JobID,State,Reason,exit_code,UserName,GroupName,Account,NumNodes,NodeList,Partition,PriorityLong,\
                             StartTime,EndTime,TimeUsed,TimeLimit,WorkDir,Name";
const SACCT_FIELDS: &str = "JobID,State,Reason,ExitCode,Start,End,ElapsedRaw,Suspended,TimelimitRaw,NNodes,Cluster,User,UID,Group,Account,\
                            NodeList,Partition,Priority,WorkDir,JobName";
const DATABASE_DOWN: &str = "sacct: error: Problem talking to the database: Connection refused";
const ACCOUNTING_OFF: &str = "Slurm accounting storage is disabled";
const NO_SUCH_JOB: &str = "slurm_load_jobs error: Invalid job id specified";
const CONTROLLER_DOWN: &str = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)";

fn slurm(steps: impl IntoIterator<Item = Step>) -> SlurmCli {
    SlurmCli::with_delimiter(Arc::new(ScriptedTransport::new(steps)), || Delimiter::fixed("test"))
}

fn squeue_line(rest: &str) -> String {
    let format: Vec<String> = SQUEUE_FIELDS.split(',').map(|field| format!("{}:{DELIMITER}", field.trim())).collect();
    let format = format.join(",");
    format!("env LC_ALL=C SLURM_TIME_FORMAT=%s squeue --noheader --all --states=all --Format='{format}'{rest}")
}

fn sacct_line(rest: &str) -> String {
    let command = "env LC_ALL=C SLURM_TIME_FORMAT=%s sacct --noheader --parsable";
    format!("{command} --delimiter='{DELIMITER}' --format='{SACCT_FIELDS}'{rest}")
}

fn squeue_list() -> String {
    squeue_line(" --user='jane'")
}

fn sacct_list() -> String {
    let states = "BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S,TO";
    sacct_line(&format!(" --allocations --starttime='now-24hours' --endtime='now' --state='{states}' --user='jane'"))
}

fn record(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("{field}{DELIMITER}")).collect::<String>() + "\n"
}

fn queued(id: &str, number: &str, state: &str, name: &str) -> String {
    let fields =
        [id, number, state, "None", "0:0", "jane", "staff", "proj", "1", "", "normal", "7", "N/A", "N/A", "0:00", "10:00", "/home/jane"];
    record(&[fields.as_slice(), &[name]].concat())
}

fn accounted(id: &str, state: &str, name: &str) -> String {
    let times = ["None", "0:0", "1700000000", "1700000060", "60", "00:00:00", "10", "1"];
    let rest = ["alps", "jane", "1000", "staff", "proj", "nid1", "normal", "7", "/home/jane", name];
    // A list only shows jobs that ended within its window, so the times are now.
    let now = jiff::Timestamp::now().as_second();
    let (start, end) = ((now - 100).to_string(), (now - 40).to_string());
    let mut fields = [&[id, state], times.as_slice(), rest.as_slice()].concat();
    fields[4] = &start;
    fields[5] = &end;
    record(&fields)
}

fn id(text: &str) -> JobId {
    JobId::new(text).expect("a job id")
}

fn states(jobs: &[Job]) -> Vec<(&str, &str)> {
    jobs.iter().map(|job| (job.id.as_str(), job.status.state.as_str())).collect()
}

#[tokio::test]
async fn a_list_holds_what_either_knows_and_believes_the_controller() {
    let queue = queued("12_[3-9%2]", "12", "PENDING", "array")
        + &queued("12_2", "14", "RUNNING", "array")
        + &queued("15", "15", "PENDING", "dependent");
    let history = accounted("11", "FAILED", "old") + &accounted("12_2", "PENDING", "array");
    let slurm = slurm([prints(&squeue_list(), queue), prints(&sacct_list(), history)]);
    let jobs = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!(states(&jobs), [("11", "FAILED"), ("12", "PENDING"), ("12_2", "RUNNING"), ("15", "PENDING")]);
    assert!(jobs.iter().all(|job| job.cluster == "alps"));
}

/// What the configuration says of how long the controller remembers.
fn remembers(seconds: u32) -> Step {
    let config = format!("ClusterName             = alps\nMinJobAge               = {seconds} sec\n");
    prints("env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol show config", config)
}

async fn list(slurm: &SlurmCli) -> Vec<(String, String)> {
    let jobs = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    states(&jobs).into_iter().map(|(id, state)| (id.to_owned(), state.to_owned())).collect()
}

fn told(jobs: &[(&str, &str)]) -> Vec<(String, String)> {
    jobs.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn accounting_is_not_asked_again_for_a_list_while_no_job_ends() {
    let history = accounted("1", "COMPLETED", "old") + &accounted("2", "PENDING", "x");
    let slurm = slurm([
        remembers(300),
        prints(&squeue_list(), queued("2", "2", "PENDING", "x")),
        prints(&sacct_list(), history),
        prints(&squeue_list(), queued("2", "2", "RUNNING", "x") + &queued("3", "3", "PENDING", "new")),
    ]);
    let slurm = slurm.remembering(Duration::from_secs(10));
    assert_eq!(list(&slurm).await, told(&[("1", "COMPLETED"), ("2", "PENDING")]));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(list(&slurm).await, told(&[("1", "COMPLETED"), ("2", "RUNNING"), ("3", "PENDING")]));
}

#[tokio::test(start_paused = true)]
async fn accounting_is_asked_when_a_job_has_ended_since() {
    let slurm = slurm([
        remembers(300),
        prints(&squeue_list(), queued("2", "2", "RUNNING", "x")),
        prints(&sacct_list(), accounted("2", "RUNNING", "x")),
        prints(&squeue_list(), queued("2", "2", "COMPLETED", "x")),
        prints(&sacct_list(), accounted("2", "COMPLETED", "x")),
        prints(&squeue_list(), queued("2", "2", "COMPLETED", "x")),
    ]);
    let slurm = slurm.remembering(Duration::from_secs(10));
    assert_eq!(list(&slurm).await, told(&[("2", "RUNNING")]));
    for _ in 0..2 {
        assert_eq!(list(&slurm).await, told(&[("2", "COMPLETED")]));
    }
}

#[tokio::test(start_paused = true)]
async fn accounting_is_asked_before_the_controller_can_have_forgotten_a_job() {
    for (memory, wait) in [(300, 11), (8, 5), (0, 1)] {
        let slurm = slurm([
            remembers(memory),
            prints(&squeue_list(), queued("2", "2", "RUNNING", "x")),
            prints(&sacct_list(), accounted("2", "RUNNING", "x")),
            prints(&squeue_list(), ""),
            prints(&sacct_list(), accounted("2", "COMPLETED", "x")),
        ]);
        let slurm = slurm.remembering(Duration::from_secs(10));
        assert_eq!(list(&slurm).await, told(&[("2", "RUNNING")]));
        tokio::time::advance(Duration::from_secs(wait)).await;
        assert_eq!(list(&slurm).await, told(&[("2", "COMPLETED")]), "a memory of {memory} s");
    }
}

#[tokio::test]
async fn one_users_answer_of_accounting_is_no_other_users() {
    let of = |user: &str| (squeue_list().replace("jane", user), sacct_list().replace("jane", user));
    let ((queue, history), (other_queue, other_history)) = (of("jane"), of("june"));
    let slurm = slurm([
        remembers(300),
        prints(&queue, ""),
        prints(&history, accounted("1", "COMPLETED", "x")),
        prints(&other_queue, ""),
        prints(&other_history, ""),
    ]);
    let slurm = slurm.remembering(Duration::from_secs(10));
    assert_eq!(list(&slurm).await.len(), 1);
    assert_eq!(slurm.jobs(&principal("june"), &JobQuery::default()).await.unwrap().value, Vec::new());
}

#[tokio::test]
async fn one_callers_answer_of_accounting_is_no_other_callers_of_the_same_user_name() {
    let jane = principal("jane");
    let other = Principal { subject: "another".to_owned(), ..jane.clone() };
    let by_another_client = Principal { client_id: Some("portal".to_owned()), ..jane.clone() };
    let denied = "sacct: error: Access/permission denied";
    let slurm = slurm([
        remembers(300),
        prints(&squeue_list(), ""),
        prints(&sacct_list(), accounted("1", "COMPLETED", "x")),
        prints(&squeue_list(), ""),
        breaks(&sacct_list(), TransportError::Login(denied.to_owned())),
        prints(&squeue_list(), ""),
        prints(&sacct_list(), ""),
        prints(&squeue_list(), ""),
    ]);
    let slurm = slurm.remembering(Duration::from_secs(10));
    let query = JobQuery::default();
    assert_eq!(slurm.jobs(&jane, &query).await.unwrap().len(), 1);
    assert!(slurm.jobs(&other, &query).await.is_err(), "it is told what only the first one was told");
    assert_eq!(slurm.jobs(&by_another_client, &query).await.unwrap().value, Vec::new());
    assert_eq!(slurm.jobs(&jane, &query).await.unwrap().len(), 1, "its own answer is still there");
}

#[tokio::test]
async fn a_list_of_an_account_and_a_name_holds_nothing_else() {
    let rest = " --user='jane' --account='proj' --name='one'";
    let squeue = squeue_line(rest);
    let sacct = sacct_list().replace(" --user='jane'", rest);
    // Accounting compares without regard to case.
    let slurm = slurm([
        prints(&squeue, queued("1", "1", "RUNNING", "one")),
        prints(&sacct, accounted("1", "RUNNING", "one") + &accounted("2", "FAILED", "ONE")),
    ]);
    let query = JobQuery { account: Some("proj".to_owned()), name: Some("one".to_owned()), ..JobQuery::default() };
    assert_eq!(states(&slurm.jobs(&principal("jane"), &query).await.unwrap()), [("1", "RUNNING")]);
}

#[tokio::test]
async fn a_name_with_a_comma_is_compared_here() {
    let slurm = slurm([
        prints(&squeue_list(), queued("1", "1", "RUNNING", "a,b") + &queued("2", "2", "RUNNING", "a")),
        prints(&sacct_list(), accounted("1", "RUNNING", "a,b")),
    ]);
    let query = JobQuery { name: Some("a,b".to_owned()), ..JobQuery::default() };
    assert_eq!(states(&slurm.jobs(&principal("jane"), &query).await.unwrap()), [("1", "RUNNING")]);
}

#[tokio::test]
async fn a_list_without_the_database_still_holds_the_controllers_jobs() {
    let config = prints("env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol show config", "ClusterName             = alps\n");
    let slurm = slurm([prints(&squeue_list(), queued("1", "1", "RUNNING", "x")), fails(&sacct_list(), 1, DATABASE_DOWN), config]);
    let jobs = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap();
    assert_eq!((states(&jobs), jobs[0].cluster.as_str()), (vec![("1", "RUNNING")], "alps"));
    assert!(jobs.missing.is_some_and(|missing| missing.contains("accounting did not answer")));
}

#[tokio::test]
async fn a_caller_reads_in_header_and_member_that_accounting_was_silent() {
    let config = prints("env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol show config", "ClusterName             = alps\n");
    let steps = [prints(&squeue_list(), queued("1", "1", "RUNNING", "x")), fails(&sacct_list(), 1, DATABASE_DOWN), config];
    let files = Arc::new(ScriptedFiles(Script::new("file system", [])));
    let transport = Arc::new(ScriptedTransport::new([]));
    let (_, health) = tokio::sync::watch::channel(ClusterHealth::default());
    let api = Api::over(Cluster::new(cluster_config(), whole(transport, Arc::new(slurm(steps)), files), health));
    for uri in ["/compute/daint/jobs", "/compute/daint/jobs?page=1"] {
        let answer = api.send(request(Method::GET, uri, Some("token-of-jane"), None)).await;
        let document = answer.json();
        assert_eq!((answer.status, document["jobs"].as_array().map(Vec::len)), (200, Some(1)), "{uri}: {}", answer.everything());
        let words = document["incomplete"].as_str().unwrap();
        assert!(words.contains("accounting did not answer"), "{uri}: {words}");
        assert_eq!(answer.header("goldcrest-incomplete"), Some(words), "{uri}");
    }
}

/// A cluster whose controller is down: `scontrol ping` says so at once, the other commands go on trying.
pub struct ControllerDown;

#[async_trait::async_trait]
impl Transport for ControllerDown {
    async fn exec(&self, _: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        if exec.line.to_string().ends_with("scontrol ping") {
            return Ok(RawOutput { stdout: b"Slurmctld(primary) at controller is DOWN\n".to_vec(), ..RawOutput::default() });
        }
        std::future::pending().await
    }

    async fn subsystem(&self, _: &Principal, _: LaneKind, _: &'static str) -> Result<ByteStream, TransportError> {
        std::future::pending().await
    }

    async fn stream(&self, _: &Principal, _: &CommandLine) -> Result<ByteStream, TransportError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_down_is_told_before_slurms_own_commands_give_up() {
    let slurm = SlurmCli::new(Arc::new(ControllerDown));
    let jane = principal("jane");
    let began = tokio::time::Instant::now();
    let told = |error: SchedulerError| (error.to_string().contains("the controller is down"), error.maybe_effected());
    assert_eq!(told(slurm.nodes(&jane).await.unwrap_err()), (true, Some(false)));
    assert_eq!(told(slurm.cancel(&jane, &id("7")).await.unwrap_err()), (true, Some(false)));
    assert_eq!(told(slurm.metadata(&jane, &id("7")).await.unwrap_err()), (true, Some(false)));
    assert_eq!(told(slurm.accounts(&jane).await.unwrap_err()), (true, Some(false)));
    // sbatch may have reached it before.
    assert_eq!(told(slurm.submit(&jane, &description()).await.unwrap_err()), (true, Some(true)));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_question_for_a_component_is_not_answered_with_its_neighbours() {
    let queue = || queued("40+0", "40", "RUNNING", "x") + &queued("40+1", "41", "RUNNING", "x");
    let slurm = slurm([
        prints(&squeue_line(" --jobs='40+1'"), queue()),
        prints(&sacct_line(" --jobs='40+1'"), accounted("40+0", "RUNNING", "x") + &accounted("40+1", "RUNNING", "x")),
        prints(&squeue_line(" --jobs='40+7'"), queue()),
        prints(&sacct_line(" --jobs='40+7'"), ""),
        prints(&squeue_line(" --jobs='40'"), queue()),
        prints(&sacct_line(" --jobs='40'"), accounted("40", "RUNNING", "x")),
    ]);
    let jane = principal("jane");
    assert_eq!(states(&slurm.job(&jane, &id("40+1")).await.unwrap()), [("40+1", "RUNNING")]);
    assert!(matches!(slurm.job(&jane, &id("40+7")).await, Err(SchedulerError::JobNotFound)));
    assert_eq!(states(&slurm.job(&jane, &id("40")).await.unwrap()), [("40+0", "RUNNING"), ("40+1", "RUNNING")]);
}

#[tokio::test]
async fn a_cancellation_that_did_nothing_is_not_told_as_done() {
    let slurm = slurm([prints(SCANCEL, "7 RUNNING")]);
    let error = slurm.cancel(&principal("jane"), &id("7")).await.unwrap_err();
    assert!(error.to_string().contains("still RUNNING"), "{error:?}");
}

#[tokio::test]
async fn a_list_without_the_controller_is_an_error_and_not_half_a_list() {
    let slurm = slurm([fails(&squeue_list(), 1, CONTROLLER_DOWN), prints(&sacct_list(), accounted("1", "RUNNING", "x"))]);
    let error = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn an_output_of_sacct_that_is_not_understood_is_not_taken_for_silence() {
    let slurm = slurm([prints(&squeue_list(), queued("1", "1", "RUNNING", "x")), prints(&sacct_list(), "usage: sacct")]);
    let error = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal, "{error:?}");
}

#[tokio::test]
async fn a_broken_connection_is_told_as_such() {
    let broken = || TransportError::Broken { sent: true };
    let slurm = slurm([breaks(&squeue_list(), broken()), breaks(&sacct_list(), broken())]);
    let error = slurm.jobs(&principal("jane"), &JobQuery::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DependencyFailed, "{error:?}");
}

#[tokio::test]
async fn a_job_that_nobody_knows_is_not_found() {
    let slurm = slurm([fails(&squeue_line(" --jobs='7'"), 1, NO_SUCH_JOB), prints(&sacct_line(" --jobs='7'"), "")]);
    let error = slurm.job(&principal("jane"), &id("7")).await.unwrap_err();
    assert_eq!(error.to_string(), "Job not found");
}

#[tokio::test]
async fn a_job_of_which_the_database_could_not_be_asked_is_not_not_found() {
    let slurm = slurm([fails(&squeue_line(" --jobs='7'"), 1, NO_SUCH_JOB), fails(&sacct_line(" --jobs='7'"), 1, DATABASE_DOWN)]);
    let error = slurm.job(&principal("jane"), &id("7")).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
}

#[tokio::test]
async fn without_accounting_the_controller_alone_decides_that_a_job_is_not_there() {
    let slurm = slurm([fails(&squeue_line(" --jobs='7'"), 1, NO_SUCH_JOB), fails(&sacct_line(" --jobs='7'"), 1, ACCOUNTING_OFF)]);
    assert!(matches!(slurm.job(&principal("jane"), &id("7")).await, Err(SchedulerError::JobNotFound)));
}

#[tokio::test]
async fn a_job_that_ended_is_told_without_the_controller_and_one_that_runs_is_not() {
    for (state, known) in [("COMPLETED", true), ("RUNNING", false)] {
        let slurm = slurm([
            fails(&squeue_line(" --jobs='7'"), 1, CONTROLLER_DOWN),
            prints(&sacct_line(" --jobs='7'"), accounted("7", state, "x") + &accounted("7.batch", state, "batch")),
        ]);
        match slurm.job(&principal("jane"), &id("7")).await {
            Ok(jobs) => assert!(known && jobs[0].steps.as_ref().is_some_and(|steps| steps.len() == 1), "{jobs:?}"),
            Err(error) => assert!(!known && matches!(error, SchedulerError::Down(_)), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn an_id_that_slurm_cannot_have_is_not_found_without_asking() {
    let slurm = slurm([]);
    for text in ["123[1].server", "7.batch", "abc"] {
        assert!(matches!(slurm.job(&principal("jane"), &id(text)).await, Err(SchedulerError::JobNotFound)), "{text}");
        assert!(matches!(slurm.cancel(&principal("jane"), &id(text)).await, Err(SchedulerError::JobNotFound)), "{text}");
    }
}

/// The command line of a cancellation is tried beside its parser.
const SCANCEL: &str = "";
const SCANCEL_NOT_KNOWN: &str = "scancel: Terminating job 7\nscancel: error: Kill job error on job id 7: Invalid job id specified";

const SCANCEL_OVER: &str = "scancel: error: Kill job error on job id 7: Job/step already completing or completed";

#[tokio::test]
async fn cancelling_a_job_that_ended_succeeds_for_its_owner_alone() {
    let ended = || prints(&sacct_line(" --jobs='7'"), accounted("7", "COMPLETED", "x"));
    let known = || [fails(SCANCEL, 0, SCANCEL_OVER), prints(&squeue_line(" --jobs='7'"), queued("7", "7", "COMPLETED", "x")), ended()];
    let forgotten = || [fails(SCANCEL, 0, SCANCEL_NOT_KNOWN), ended()];
    for slurm in [slurm(known()), slurm(forgotten())] {
        slurm.cancel(&principal("jane"), &id("7")).await.unwrap();
    }
    for slurm in [slurm(known()), slurm(forgotten())] {
        let error = slurm.cancel(&principal("ada"), &id("7")).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Denied(_)), "{error:?}");
    }
    // A site may hide the jobs of others.
    let hidden = [fails(SCANCEL, 0, SCANCEL_OVER), prints(&squeue_line(" --jobs='7'"), ""), prints(&sacct_line(" --jobs='7'"), "")];
    assert!(matches!(slurm(hidden).cancel(&principal("ada"), &id("7")).await, Err(SchedulerError::JobNotFound)));
}

#[tokio::test]
async fn cancelling_a_job_that_never_was_is_not_found() {
    let slurm = slurm([fails(SCANCEL, 0, SCANCEL_NOT_KNOWN), prints(&sacct_line(" --jobs='7'"), "")]);
    assert!(matches!(slurm.cancel(&principal("jane"), &id("7")).await, Err(SchedulerError::JobNotFound)));
}

#[tokio::test]
async fn attaching_takes_the_number_of_the_task_that_runs() {
    let queue = queued("7_[2-3]", "7", "PENDING", "x") + &queued("7_1", "8", "RUNNING", "x");
    let slurm = slurm([prints(&squeue_line(" --jobs='7'"), queue), prints("", "n1\n")]);
    let output = slurm.attach(&principal("jane"), &id("7"), "hostname").await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.exit), (b"n1\n".as_slice(), 0));
}

#[tokio::test]
async fn attaching_to_a_job_that_waits_is_refused_without_trying() {
    let slurm = slurm([prints(&squeue_line(" --jobs='7'"), queued("7", "7", "PENDING", "x"))]);
    let error = slurm.attach(&principal("jane"), &id("7"), "hostname").await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Rejected(words) if words.contains("PENDING")), "{error:?}");
}

fn description() -> JobDescription {
    JobDescription::new(RemotePath::from_text("/home/jane").expect("an absolute path"), JobScript::Inline("#!/bin/sh\n".to_owned()))
}

/// What is asked where the answer to a submission was lost: accounting, for the job.
fn searches() -> Vec<Step> {
    (0..3).map(|_| prints("", "")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_submission_whose_answer_was_lost_may_have_happened_and_one_that_was_not_sent_has_not() {
    for (words, maybe) in [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", true),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (receive failure)", true),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", false),
    ] {
        let search = if maybe { searches() } else { Vec::new() };
        let slurm = slurm(std::iter::once(fails("", 1, words)).chain(search));
        let error = slurm.submit(&principal("jane"), &description()).await.unwrap_err();
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(maybe)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_submission_whose_id_is_not_understood_may_have_happened() {
    let slurm = slurm(std::iter::once(prints("", "queued, thank you\n")).chain(searches()));
    let error = slurm.submit(&principal("jane"), &description()).await.unwrap_err();
    assert_eq!(error.maybe_effected(), Some(true), "{error:?}");
}

#[tokio::test]
async fn the_clusters_name_is_asked_for_once() {
    let config = prints("env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol show config", "ClusterName = alps\n");
    let manager = "env LC_ALL=C SLURM_TIME_FORMAT=%s sacctmgr --noheader --parsable2 show user name='jane' withassoc \
                   format=Cluster,DefaultAccount,Account";
    let slurm = slurm([
        config,
        prints(manager, "alps|proj|proj\nother|proj|elsewhere\n"),
        fails(manager, 1, "You are not running a supported accounting_storage plugin"),
    ]);
    let accounts = slurm.accounts(&principal("jane")).await.unwrap().value.unwrap();
    assert_eq!(accounts.iter().map(|account| (account.name.as_str(), account.default)).collect::<Vec<_>>(), [("proj", true)]);
    assert_eq!(slurm.accounts(&principal("jane")).await.unwrap().value, None);
}

const SHOW_JOB: &str = "env LC_ALL=C SLURM_TIME_FORMAT=%s scontrol --oneliner show job '7'";

#[tokio::test]
async fn the_metadata_of_a_job_that_the_controller_forgot_comes_from_accounting() {
    let files = format!(
        "env LC_ALL=C SLURM_TIME_FORMAT=%s sacct --noheader --parsable --delimiter='{DELIMITER}' --allocations --expand-patterns \
         --format=JobID,StdIn,StdOut,StdErr --jobs='7'"
    );
    let script = "env LC_ALL=C SLURM_TIME_FORMAT=%s sacct --batch-script --jobs='7'";
    for release_keeps_files in [true, false] {
        let slurm = slurm([
            fails(SHOW_JOB, 1, NO_SUCH_JOB),
            prints(&sacct_line(" --jobs='7'"), accounted("7", "COMPLETED", "x")),
            if release_keeps_files {
                prints(&files, record(&["7", "/dev/null", "/home/jane/o", ""]))
            } else {
                fails(&files, 1, "sacct: unrecognized option '--expand-patterns'")
            },
            prints(script, format!("Batch Script for 7\n{}\n#!/bin/sh\n", "-".repeat(80))),
        ]);
        let metadata = slurm.metadata(&principal("jane"), &id("7")).await.unwrap();
        assert_eq!((metadata.len(), metadata[0].script.as_deref()), (1, Some("#!/bin/sh\n")));
        let output = release_keeps_files.then_some("/home/jane/o");
        assert_eq!((metadata[0].standard_output.as_deref(), metadata[0].standard_error.as_deref()), (output, output));
    }
}
