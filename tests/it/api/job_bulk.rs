//! Many jobs of one request.

use std::time::Duration;

use axum::http::Method;
use goldcrest::domain::{Job, JobStatus, JobTimes};
use goldcrest::scheduler::SchedulerError;
use serde_json::{Value, json};

use super::compute::job;
use super::doubles::{Reply, Step};
use super::{Answer, Api};

fn waiting(id: &str, state: &str) -> Job {
    let status = JobStatus { state: state.to_owned(), ..JobStatus::default() };
    Job { status, times: JobTimes::default(), ..job(id) }
}

async fn submit(jobs: &[Value], key: Option<&str>, steps: Vec<Step>) -> Answer {
    let mut request = super::request(Method::POST, "/compute/daint/jobs/bulk", Some("token-of-alice"), Some(json!({"jobs": jobs})));
    if let Some(key) = key {
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    }
    Api::new(steps, vec![]).send(request).await
}

fn named(name: &str) -> Value {
    json!({"name": name, "workingDirectory": "/home/alice", "script": "#!/bin/sh\n"})
}

#[tokio::test]
async fn each_job_has_a_status_of_its_own() {
    let refused = SchedulerError::Rejected("Invalid partition name specified".to_owned());
    let steps = vec![
        (r#"alice: submit JobDescription { name: Some("a"),..."#, Reply::Id("7")),
        (r#"alice: submit JobDescription { name: Some("c"),..."#, Reply::SchedulerFails(refused)),
    ];
    let both = json!({"workingDirectory": "/home/alice", "script": "#!/bin/sh\n", "scriptPath": "/home/alice/x"});
    let answer = submit(&[named("a"), both, named("c")], None, steps).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["failed"]), (200, &json!(2)), "{body}");
    assert_eq!(body["results"][0], json!({"status": 201, "jobId": "7"}));
    assert_eq!((&body["results"][1]["status"], &body["results"][2]["status"]), (&json!(400), &json!(400)));
    assert_eq!(body["results"][1]["error"]["data"]["fields"][0]["name"], "scriptPath");
    assert!(body["results"][2]["error"]["detail"].as_str().unwrap().contains("Invalid partition"), "{body}");
}

#[tokio::test]
async fn with_a_key_each_job_is_submitted_once() {
    let steps = || vec![("alice: submit_once ...", Reply::Id("7")), ("alice: submit_once ...", Reply::Known("8"))];
    let body = submit(&[named("a"), named("b")], Some("k"), steps()).await.json();
    assert_eq!(body["results"], json!([{"status": 201, "jobId": "7"}, {"status": 201, "jobId": "8", "repeated": true}]));
}

#[tokio::test]
async fn too_many_jobs_and_unknown_members_are_refused_whole() {
    let many: Vec<Value> = (0..101).map(|_| named("x")).collect();
    let mut unknown = named("x");
    unknown["nodez"] = json!(1);
    for jobs in [many, Vec::new(), vec![unknown]] {
        let answer = submit(&jobs, None, vec![]).await;
        assert_eq!(answer.status, 400, "{}", answer.json());
        assert!(answer.json()["data"]["fields"][0]["name"].as_str().unwrap().starts_with("jobs"), "{}", answer.json());
    }
}

async fn cancel(query: &str, steps: Vec<Step>) -> Answer {
    Api::new(steps, vec![]).call(Method::DELETE, &format!("/compute/daint/jobs?{query}"), None).await
}

#[tokio::test]
async fn the_jobs_that_a_filter_means_are_cancelled_and_named() {
    let foreign = Job { user: Some("bob".to_owned()), ..waiting("4", "PENDING") };
    let elsewhere = Job { partition: "other".to_owned(), ..waiting("5", "PENDING") };
    let jobs = vec![job("1"), waiting("2", "PENDING"), waiting("3", "RUNNING"), foreign, elsewhere, waiting("6", "PENDING")];
    let gone = Reply::SchedulerFails(SchedulerError::JobNotFound);
    let steps = vec![("alice: jobs ...", Reply::Jobs(jobs)), (r#"alice: cancel "2""#, Reply::Done), (r#"alice: cancel "6""#, gone)];
    let answer = cancel("state=pending&partition=normal", steps).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["failed"]), (200, &json!(1)), "{body}");
    assert_eq!(body["results"][0], json!({"status": 204, "jobId": "2"}));
    assert_eq!((&body["results"][1]["jobId"], &body["results"][1]["status"]), (&json!("6"), &json!(404)));
}

#[tokio::test]
async fn a_job_that_has_started_since_it_was_listed_is_not_cancelled_as_a_waiting_one() {
    let jobs = |state| Reply::Jobs(vec![waiting("7", state)]);
    let api = Api::new(vec![("alice: jobs ...", jobs("PENDING")), ("alice: jobs ...", jobs("RUNNING"))], vec![]);
    let listed = api.get("/compute/daint/jobs").await.json();
    assert_eq!(listed["jobs"][0]["status"]["state"], "PENDING");
    let body = api.call(Method::DELETE, "/compute/daint/jobs?state=PENDING", None).await.json();
    assert_eq!(body["results"], json!([]), "{body}");
}

#[tokio::test]
async fn a_list_that_was_under_way_before_the_request_is_no_reason_to_cancel_a_job_that_has_started_since() {
    let late = Reply::After(Duration::from_millis(1500), Box::new(Reply::Jobs(vec![waiting("7", "PENDING")])));
    let api = Api::new(vec![("alice: jobs ...", late), (r#"alice: job "7""#, Reply::Jobs(vec![waiting("7", "RUNNING")]))], vec![]);
    let cancel = |state: &str| {
        let uri = format!("/compute/daint/jobs?state={state}");
        let api = &api;
        async move { api.call(Method::DELETE, &uri, None).await.json() }
    };
    let joining = async {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        cancel("PENDING").await
    };
    let (first, second) = tokio::join!(cancel("RUNNING"), joining);
    assert_eq!(first["results"], json!([]), "{first}");
    assert_eq!((&second["results"][0]["jobId"], &second["results"][0]["status"]), (&json!("7"), &json!(409)), "{second}");
    assert!(second["results"][0]["error"]["message"].as_str().unwrap().contains("has changed since it was listed"), "{second}");
}

#[tokio::test]
async fn the_waiting_tasks_of_an_array_are_not_cancelled_together_with_those_that_run() {
    let jobs = vec![waiting("12", "PENDING"), waiting("12_1", "RUNNING")];
    let body = cancel("state=PENDING", vec![("alice: jobs ...", Reply::Jobs(jobs))]).await.json();
    assert_eq!((&body["results"][0]["jobId"], &body["results"][0]["status"]), (&json!("12"), &json!(409)), "{body}");
}

#[tokio::test]
async fn the_components_of_a_heterogeneous_job_are_cancelled_at_once_where_all_are_meant() {
    let jobs = vec![waiting("40+0", "PENDING"), waiting("40+1", "PENDING"), waiting("50+0", "PENDING"), waiting("50+1", "RUNNING")];
    let steps = vec![
        ("alice: jobs ...", Reply::Jobs(jobs)),
        (r#"alice: cancel "40""#, Reply::Done),
        (r#"alice: cancel "50+0""#, Reply::SchedulerFails(SchedulerError::Rejected("one component".to_owned()))),
    ];
    let body = cancel("state=PENDING", steps).await.json();
    let told: Vec<_> = body["results"].as_array().unwrap().iter().map(|result| (&result["jobId"], &result["status"])).collect();
    assert_eq!(told, [(&json!("40"), &json!(204)), (&json!("50+0"), &json!(400))], "{body}");
}

#[tokio::test]
async fn the_filters_of_a_cancellation_have_the_bounds_of_a_list() {
    for (name, value) in [("name", "n".repeat(236)), ("account", "a".repeat(256)), ("name", "a%0Ab".to_owned())] {
        let cancelled = cancel(&format!("{name}={value}"), vec![]).await;
        let listed = Api::new(vec![], vec![]).call(Method::GET, &format!("/compute/daint/jobs?{name}={value}"), None).await;
        assert_eq!((cancelled.status, &cancelled.json()["data"]), (400, &listed.json()["data"]), "{name}");
    }
}

#[tokio::test]
async fn a_cancellation_of_jobs_in_a_state_that_there_is_not_is_refused_and_none_is_cancelled() {
    for (states, words) in [("PENDIN", "`PENDIN`: "), ("PENDING,RUNING", "did you mean `RUNNING`?"), (",", "``: "), ("PD", "known are ")] {
        let answer = cancel(&format!("state={states}&name=h"), vec![]).await;
        let field = answer.json()["data"]["fields"][0].clone();
        assert_eq!((answer.status, &field["name"]), (400, &json!("state")), "{states}: {field}");
        assert!(field["message"].as_str().unwrap().contains(words), "{states}: {field}");
    }
}

#[tokio::test]
async fn a_cancellation_names_what_is_cancelled() {
    for query in ["", "state=", "allusers=true"] {
        let answer = cancel(query, vec![]).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}
