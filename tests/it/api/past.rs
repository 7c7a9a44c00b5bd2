//! Features of FirecREST v1 that users ask for: pages, accounting, patterns, parameters, whoami.

use axum::body::Body;
use axum::http::Request;
use goldcrest::domain::{Content, ContentUnit, Job, JobId};
use serde_json::{Value, json};

use super::doubles::Reply;
use super::{Answer, Api};

const LIST: &str = "alice: jobs JobQuery { all_users: true, account: None, name: None, window: OneDay }";

fn jobs(count: usize) -> Reply {
    let job = |number: usize| Job { id: JobId::new(&number.to_string()).unwrap(), ..super::compute::job("1") };
    Reply::Jobs((1..=count).map(job).collect())
}

fn ids(answer: &Answer) -> Vec<Value> {
    let jobs = answer.json()["jobs"].as_array().unwrap().clone();
    jobs.iter().map(|job| job["jobId"].clone()).collect()
}

async fn anonymously(api: &Api, uri: &str) -> u16 {
    api.send(Request::builder().uri(uri).body(Body::empty()).unwrap()).await.status
}

#[tokio::test]
async fn a_job_list_is_given_in_pages_that_lead_to_one_another() {
    let api = Api::new(vec![(LIST, jobs(5))], vec![]);
    let mut uri = "/compute/daint/jobs?allusers=true&page=1&pageSize=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = api.get(&uri).await;
        assert_eq!((answer.status, answer.header("x-total-count")), (200, Some("5")), "{uri}");
        seen.extend(ids(&answer));
        let links = answer.header("link").unwrap().to_owned();
        let Some(next) = links.split(", ").find(|link| link.ends_with("rel=\"next\"")) else { break };
        uri = format!("/compute/daint/jobs{}", next.trim_start_matches('<').split('>').next().unwrap());
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    let beyond = api.get("/compute/daint/jobs?allusers=true&page=9").await;
    assert_eq!((ids(&beyond).len(), beyond.header("x-total-count")), (0, Some("5")));
    let whole = api.get("/compute/daint/jobs?allusers=true").await;
    assert_eq!((ids(&whole).len(), whole.header("link"), whole.header("x-total-count")), (5, None, None));
}

#[tokio::test]
async fn a_page_has_a_tag_of_its_own() {
    let api = Api::new(vec![(LIST, jobs(3))], vec![]);
    let first = api.get("/compute/daint/jobs?allusers=true&page=1&pageSize=2").await;
    let second = api.get("/compute/daint/jobs?allusers=true&page=2&pageSize=2").await;
    assert_ne!(first.header("etag"), second.header("etag"));
}

#[tokio::test]
async fn pages_that_cannot_be_are_refused_with_the_parameter() {
    for (query, name) in [("page=0", "page"), ("pageSize=0", "pageSize"), ("pageSize=10001", "pageSize"), ("page=-1", "page")] {
        let answer = Api::new(vec![], vec![]).get(&format!("/compute/daint/jobs?{query}")).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!(name)), "{query}");
    }
}

#[tokio::test]
async fn accounting_is_asked_for_a_span_of_time_or_for_jobs() {
    let cases = [
        (
            "starttime=2026-01-31&endtime=2026-02-01&account=g1",
            r#"alice: accounting AccountingQuery { all_users: false, account: Some("g1"), jobs: [], since: Some(1769817600), until: Some(1769904000) }"#,
        ),
        (
            "jobs=7,8_1&allusers=true",
            r#"alice: accounting AccountingQuery { all_users: true, account: None, jobs: [JobId("7"), JobId("8_1")], since: None, until: None }"#,
        ),
    ];
    for (query, call) in cases {
        let api = Api::new(vec![(call, jobs(2))], vec![]);
        let answer = api.get(&format!("/compute/daint/acct?{query}")).await;
        assert_eq!((answer.status, ids(&answer).len()), (200, 2), "{}", answer.everything());
    }
    let wrong = Api::new(vec![], vec![]).get("/compute/daint/acct?starttime=soon").await;
    assert_eq!((wrong.status, &wrong.json()["data"]["fields"][0]["name"]), (400, &json!("starttime")));
}

#[tokio::test]
async fn the_runs_of_a_requeued_job_are_told_apart_where_accounting_is_asked_for_it() {
    let run = |state: &str, start, end| {
        let mut run = Job { id: JobId::new("7").unwrap(), ..super::compute::job("1") };
        run.status.state = state.to_owned();
        (run.times.start, run.times.end) = (Some(start), end);
        run
    };
    let call = "alice: accounting AccountingQuery { all_users: false, account: None, jobs: [JobId(\"7\")], since: None, until: None }";
    let runs = || Reply::Jobs(vec![run("REQUEUED", 1_769_846_400, Some(1_769_846_460)), run("RUNNING", 1_769_846_500, None)]);
    for (query, count) in [("jobs=7", 2), ("jobs=7&page=1&pageSize=1", 1)] {
        let answer = Api::new(vec![(call, runs())], vec![]).get(&format!("/compute/daint/acct?{query}")).await;
        let jobs = answer.json()["jobs"].as_array().unwrap().clone();
        assert_eq!((answer.status, jobs.len()), (200, count), "{}", answer.everything());
        assert_eq!((&jobs[0]["jobId"], &jobs[0]["status"]["state"]), (&json!("7"), &json!("REQUEUED")));
        assert_eq!((&jobs[0]["time"]["start"], &jobs[0]["time"]["end"]), (&json!(1_769_846_400), &json!(1_769_846_460)));
        if let Some(last) = jobs.get(1) {
            assert_eq!((&last["jobId"], &last["status"]["state"]), (&json!("7"), &json!("RUNNING")));
            assert_eq!((&last["time"]["start"], last["time"]["end"].is_null()), (&json!(1_769_846_500), true));
        }
    }
}

#[tokio::test]
async fn head_and_tail_give_only_the_lines_that_match() {
    let content = || Content { data: b"one\nERROR two\nthree\n".to_vec(), unit: ContentUnit::Lines, start: 0, end: 10 };
    for tool in ["head", "tail"] {
        let call: &'static str = if tool == "head" {
            r#"alice: head "/home/a" Part { unit: Lines, count: 3, skip: false }"#
        } else {
            r#"alice: tail "/home/a" Part { unit: Lines, count: 3, skip: false }"#
        };
        let api = Api::new(vec![], vec![(call, Reply::Content(content()))]);
        let answer = api.get(&format!("/filesystem/daint/ops/{tool}?path=/home/a&lines=3&grep=%5EERROR")).await;
        assert_eq!(answer.json()["output"]["content"], "ERROR two\n", "{}", answer.everything());
        let wrong = Api::new(vec![], vec![]).get(&format!("/filesystem/daint/ops/{tool}?path=/home/a&grep=(")).await;
        assert_eq!((wrong.status, &wrong.json()["data"]["fields"][0]["name"]), (400, &json!("grep")));
    }
}

#[tokio::test]
async fn callers_learn_who_they_are_and_nothing_of_their_token() {
    let api = Api::new(vec![], vec![]);
    let answer = api.get("/status/whoami").await;
    assert_eq!((answer.status, &answer.json()["username"]), (200, &json!("alice")));
    assert!(!answer.everything().contains("token-of-alice"));
    assert_eq!(anonymously(&api, "/status/whoami").await, 401);
}

#[tokio::test]
async fn the_parameters_tell_the_limits_of_every_system_and_no_secret() {
    let api = Api::new(vec![], vec![]);
    let answer = api.get("/status/parameters").await;
    let utilities = answer.json()["utilities"].as_array().unwrap().clone();
    let timeout = utilities.iter().find(|parameter| parameter["name"] == "UTILITIES_TIMEOUT").unwrap();
    assert_eq!((&timeout["value"], &timeout["unit"], &timeout["system"]), (&json!(7), &json!("seconds"), &json!("daint")));
    assert!(!answer.everything().contains("hunter2"));
    assert_eq!(anonymously(&api, "/status/parameters").await, 401);
}
