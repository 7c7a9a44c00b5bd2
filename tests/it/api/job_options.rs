//! Options of a job in addition to FirecREST's members.

use axum::http::Method;
use goldcrest::scheduler::SchedulerError;
use serde_json::{Value, json};

use super::doubles::Reply;
use super::{Answer, Api};

fn with(options: &Value) -> Value {
    let mut job = json!({"workingDirectory": "/home/alice", "script": "#!/bin/sh\n"});
    job.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    json!({"job": job})
}

async fn refused(options: &Value) -> Answer {
    Api::new(vec![], vec![]).call(Method::POST, "/compute/daint/jobs", Some(with(options))).await
}

#[tokio::test]
async fn every_option_reaches_the_scheduler() {
    let options = json!({
        "nodes": 2, "tasks": 8, "tasksPerNode": 4, "cpusPerTask": 3, "memory": "4GiB", "gpus": 2, "gpuType": "a100", "timeLimit": 90,
        "qos": "high", "exclusive": true, "hold": true, "array": "0-9%2",
        "dependencies": [{"type": "afterok", "jobs": ["12", "13_4"]}, {"type": "singleton"}],
        "mailUser": "a@example.org", "mailEvents": ["begin", "fail", "begin"], "licenses": ["matlab:2"], "container": "/c", "containerImage": "i",
    });
    let expected = r##"alice: submit JobDescription { name: None, account: None, reservation: None, partition: None, working_directory: "/home/alice", standard_input: None, standard_output: None, standard_error: None, environment: {"F7T_version": "v2.0.0"}, constraints: None, script: Inline("#!/bin/sh\n"), options: JobOptions { nodes: Some(2), tasks: Some(8), tasks_per_node: Some(4), cpus_per_task: Some(3), memory: Some(Memory(4096)), memory_per_cpu: None, gpus: Some(2), gpus_per_node: None, gpu_type: Some("a100"), time_limit: Some(90), qos: Some("high"), exclusive: true, hold: true, array: Some(ArrayIndices("0-9%2")), dependencies: [Dependency { condition: AfterOk, jobs: [JobId("12"), JobId("13_4")] }, Dependency { condition: Singleton, jobs: [] }], mail_user: Some("a@example.org"), mail_events: [Begin, Fail], licenses: ["matlab:2"], container: Some("/c"), container_image: Some("i") }, program: None }"##;
    let api = Api::new(vec![(expected, Reply::Id("7"))], vec![]);
    let answer = api.call(Method::POST, "/compute/daint/jobs", Some(with(&options))).await;
    assert_eq!((answer.status, answer.json()), (201, json!({"jobId": "7"})));
}

#[tokio::test]
async fn a_value_that_cannot_be_is_refused_by_its_name() {
    for (options, name) in [
        (json!({"nodes": 0}), "job.nodes"),
        (json!({"nodes": "2"}), "job.nodes"),
        (json!({"tasks": -1}), "job.tasks"),
        (json!({"timeLimit": 4_000_000_000_u32}), "job.timeLimit"),
        (json!({"memory": "4096"}), "job.memory"),
        (json!({"memory": 4096}), "job.memory"),
        (json!({"memory": "1G", "memoryPerCpu": "1G"}), "job.memoryPerCpu"),
        (json!({"gpus": 1, "gpusPerNode": 1}), "job.gpusPerNode"),
        (json!({"gpuType": "a100"}), "job.gpuType"),
        (json!({"gpus": 1, "gpuType": "a,b=1"}), "job.gpuType"),
        (json!({"qos": "a\nb"}), "job.qos"),
        (json!({"array": "9-0"}), "job.array"),
        (json!({"dependencies": [{"type": "afterok"}]}), "job.dependencies"),
        (json!({"dependencies": [{"type": "singleton", "jobs": ["1"]}]}), "job.dependencies"),
        (json!({"dependencies": [{"type": "before", "jobs": ["1"]}]}), "job.dependencies[0].type"),
        (json!({"dependencies": [{"type": "after", "jobs": ["1;id"]}]}), "job.dependencies[0].jobs[0]"),
        (json!({"mailEvents": ["always"]}), "job.mailEvents[0]"),
        (json!({"licenses": ["a,b"]}), "job.licenses"),
        (json!({"container": "image"}), "job.container"),
        (json!({"node": 2}), "job.node"),
    ] {
        let answer = refused(&options).await;
        assert_eq!(answer.status, 400, "{options}");
        assert_eq!(answer.json()["data"]["fields"][0]["name"], name, "{options}: {}", answer.json());
    }
    assert!(refused(&json!({"node": 2})).await.json()["message"].as_str().unwrap().contains("did you mean `nodes`?"));
}

#[tokio::test]
async fn what_the_scheduler_does_not_have_is_refused_by_its_name_with_the_reason() {
    let refused = [("qos", true, "there is none"), ("hold", true, "none either"), ("array", false, "")];
    let fails = Reply::SchedulerFails(SchedulerError::refuse_members(refused).unwrap_err());
    let api = Api::new(vec![("alice: submit ...", fails)], vec![]);
    let answer = api.call(Method::POST, "/compute/daint/jobs", Some(with(&json!({"qos": "x", "hold": true})))).await;
    let fields = answer.json()["data"]["fields"].clone();
    assert_eq!((answer.status, &fields[0]["name"], &fields[1]["name"]), (400, &json!("job.qos"), &json!("job.hold")), "{fields}");
    assert!(fields[0]["message"].as_str().unwrap().contains("there is none"), "{fields}");
}

#[tokio::test]
async fn null_and_an_empty_list_mean_that_nothing_is_asked_for() {
    let options = json!({"nodes": null, "memory": null, "dependencies": [], "qos": "", "exclusive": null, "array": null});
    let expected = r#"alice: submit ..."#;
    let api = Api::new(vec![(expected, Reply::Id("7"))], vec![]);
    assert_eq!(api.call(Method::POST, "/compute/daint/jobs", Some(with(&options))).await.status, 201);
}
