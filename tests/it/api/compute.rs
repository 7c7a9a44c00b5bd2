//! `/compute`.

use axum::http::Method;
use goldcrest::domain::{Job, JobId, JobMetadata, JobStatus, JobStep, JobTimes};
use goldcrest::scheduler::{AttachOutput, SchedulerError};
use goldcrest::ssh::TransportError;
use insta::assert_snapshot;
use serde_json::json;

use super::Api;
use super::doubles::Reply;

pub fn job(id: &str) -> Job {
    Job {
        id: JobId::new(id).unwrap(),
        name: "wave".to_owned(),
        status: JobStatus { state: "COMPLETED".to_owned(), reason: Some("None".to_owned()), exit_code: Some(0), signal: None },
        steps: Some(vec![JobStep {
            id: format!("{id}.batch"),
            name: "batch".to_owned(),
            status: JobStatus { state: "COMPLETED".to_owned(), reason: None, exit_code: Some(0), signal: Some(9) },
            times: JobTimes::default(),
        }]),
        times: JobTimes {
            elapsed: Some(61),
            start: Some(1_769_846_400),
            end: Some(1_769_846_461),
            suspended: Some(0),
            limit: Some(3600),
            ..JobTimes::default()
        },
        account: Some("g1".to_owned()),
        allocation_nodes: 2,
        cluster: "daint".to_owned(),
        group: Some("users".to_owned()),
        nodes: "nid[001-002]".to_owned(),
        partition: "normal".to_owned(),
        kill_request_user: None,
        user: Some("alice".to_owned()),
        working_directory: "/home/alice".to_owned(),
        priority: Some(42),
    }
}

#[tokio::test]
async fn a_job_is_submitted_with_every_member_of_the_contract() {
    let expected = r##"alice: submit JobDescription { name: Some("wave"), account: Some("g1"), reservation: Some("r"), partition: Some("normal"), working_directory: "/home/alice", standard_input: Some("in"), standard_output: Some("out-%j"), standard_error: Some("err"), environment: {"A": "1", "B": "x=y"}, constraints: Some("gpu"), script: Inline("#!/bin/sh\ndate\n"), options: ..."##;
    let body = json!({"job": {
        "name": "wave", "account": "g1", "reservation": "r", "partition": "normal", "workingDirectory": "/home/alice/",
        "standardInput": "in", "standardOutput": "out-%j", "standardError": "err", "env": {"B": "x=y", "A": "1"},
        "constraints": "gpu", "script": "#!/bin/sh\ndate\n"
    }});
    let api = Api::new(vec![(expected, Reply::Id("1234"))], vec![]);
    assert_snapshot!(api.call(Method::POST, "/compute/daint/jobs", Some(body)).await);
}

#[tokio::test]
async fn snake_case_a_list_of_variables_and_a_script_on_the_cluster_are_understood() {
    let expected = r#"alice: submit JobDescription { name: None, account: None, reservation: None, partition: None, working_directory: "/anywhere", standard_input: None, standard_output: None, standard_error: None, environment: {"A": "1=2", "B": ""}, constraints: None, script: Path("/scratch/job.sh"), options: ..."#;
    let body = json!({"job": {"working_directory": "/anywhere", "env": ["A=1=2", "B="], "script_path": "/scratch/job.sh", "name": null, "account": ""}});
    let api = Api::new(vec![(expected, Reply::Id("7"))], vec![]);
    let answer = api.call(Method::POST, "/compute/Daint/jobs", Some(body)).await;
    assert_eq!((answer.status, answer.json()), (201, json!({"jobId": "7"})));
}

#[tokio::test]
async fn a_submission_whose_effect_is_unknown_says_so_and_does_not_advise_to_repeat_it() {
    let expected = r##"alice: submit JobDescription { name: None, account: None, reservation: None, partition: None, working_directory: "/home/alice", standard_input: None, standard_output: None, standard_error: None, environment: {"F7T_version": "v2.0.0"}, constraints: None, script: Inline("#!/bin/sh"), options: ..."##;
    let body = || Some(json!({"job": {"workingDirectory": "/home/alice", "script": "#!/bin/sh"}}));
    for (sent, retryable) in [(true, false), (false, true)] {
        let source = TransportError::Broken { sent }.into();
        let fails = Reply::SchedulerFails(SchedulerError::Command { operation: "submit", source });
        let answer = Api::new(vec![(expected, fails)], vec![]).call(Method::POST, "/compute/daint/jobs", body()).await;
        let json = answer.json();
        assert_eq!(answer.status, 424);
        assert_eq!((&json["maybeEffected"], &json["retryable"]), (&json!(sent), &json!(retryable)));
        assert_eq!(answer.header("retry-after").is_some(), retryable);
    }
}

#[tokio::test]
async fn jobs_are_listed_with_the_filters_of_the_contract() {
    let cases = [
        ("", r"alice: jobs JobQuery { all_users: false, account: None, name: None, window: OneDay }"),
        (
            "?allusers=True&account=g1&name=wave%20one&time_window=7d",
            r#"alice: jobs JobQuery { all_users: true, account: Some("g1"), name: Some("wave one"), window: SevenDays }"#,
        ),
    ];
    for (query, expected) in cases {
        let api = Api::new(vec![(expected, Reply::Jobs(vec![job("1"), job("2_3")]))], vec![]);
        let answer = api.get(&format!("/compute/daint/jobs{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        assert_eq!(answer.json()["jobs"][1]["jobId"], "2_3");
    }
}

#[tokio::test]
async fn a_job_is_shown_with_every_member_of_the_contract() {
    let api = Api::new(vec![(r#"alice: job "1234""#, Reply::Jobs(vec![job("1234")]))], vec![]);
    assert_snapshot!(api.get("/compute/daint/jobs/1234").await);
}

#[tokio::test]
async fn the_ids_of_every_scheduler_reach_it_unchanged() {
    for (segment, call) in [
        ("123_4", r#"alice: job "123_4""#),
        ("123%5B1%5D.Srv", r#"alice: job "123[1].Srv""#),
        ("123[1].srv", r#"alice: job "123[1].srv""#),
        ("12+1", r#"alice: job "12+1""#),
    ] {
        let api = Api::new(vec![(call, Reply::Jobs(vec![]))], vec![]);
        assert_eq!(api.get(&format!("/compute/daint/jobs/{segment}")).await.status, 200, "{segment}");
    }
}

#[tokio::test]
async fn metadata_is_shown_with_every_member_of_the_contract() {
    let metadata = JobMetadata {
        id: JobId::new("1234").unwrap(),
        script: Some("#!/bin/sh\n".to_owned()),
        standard_input: Some("/dev/null".to_owned()),
        standard_output: Some("/home/alice/out".to_owned()),
        standard_error: None,
        is_array: false,
    };
    let api = Api::new(vec![(r#"alice: metadata "1234""#, Reply::Metadata(vec![metadata]))], vec![]);
    assert_snapshot!(api.get("/compute/daint/jobs/1234/metadata").await);
}

#[tokio::test]
async fn a_job_is_cancelled() {
    let api = Api::new(vec![(r#"alice: cancel "1234""#, Reply::Done)], vec![]);
    assert_snapshot!(api.call(Method::DELETE, "/compute/daint/jobs/1234", None).await);
}

#[tokio::test]
async fn a_job_that_is_not_there_is_told_in_the_words_of_the_contract() {
    let api = Api::new(vec![(r#"alice: job "9""#, Reply::SchedulerFails(SchedulerError::JobNotFound))], vec![]);
    assert_snapshot!(api.get("/compute/daint/jobs/9").await);
}

fn printed(exit: u32) -> Reply {
    Reply::Attached(AttachOutput { stdout: b"out \xFF".to_vec(), stderr: b"err\n".to_vec(), exit })
}

#[tokio::test]
async fn an_attached_command_answers_204_and_with_output_what_it_printed() {
    let body = || Some(json!({"command": "nvidia-smi -L"}));
    let call = r#"alice: attach "5" "nvidia-smi -L""#;
    let answer = Api::new(vec![(call, printed(0))], vec![]).call(Method::PUT, "/compute/daint/jobs/5/attach", body()).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));

    let answer = Api::new(vec![(call, printed(3))], vec![]).call(Method::PUT, "/compute/daint/jobs/5/attach?output=true", body()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"stdout": "out \u{EFFF}", "stderr": "err\n", "exitCode": 3}));
}

#[tokio::test]
async fn an_attached_command_that_fails_is_an_error_where_its_output_is_not_asked_for() {
    let api = Api::new(vec![(r#"alice: attach "5" "false""#, printed(1))], vec![]);
    let answer = api.call(Method::PUT, "/compute/daint/jobs/5/attach", Some(json!({"command": "false"}))).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["message"], "Remote process failed with exit status:1 and error message:err");
}
