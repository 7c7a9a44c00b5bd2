//! What kbatch's clients are refused, and in which words.

use axum::http::{Method, header};
use serde_json::{Value, json};

use super::double::{ApiServer, refusal};
use super::kbatch::{call, facade, get, submit, written_code, written_job};
use crate::api::{Answer, request};
use crate::support::service::Seen;
use crate::support::{PATIENCE, wait_until};

/// The Jobs that the unit tests of admission refuse, each by the name of the member.
const HOSTILE: &str = include_str!("../../../src/scheduler/kubernetes/admission/hostile.json");

/// The text of an error, which is all that its body has.
fn detail(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["detail"].as_str().unwrap().to_owned()
}

/// Every route that is about a user's objects.
fn routes(job: &str, pod: &str, schedule: &str) -> Vec<(Method, String)> {
    let body = [(Method::POST, "/jobs/".to_owned()), (Method::POST, "/cronjobs/".to_owned())];
    let paths = ["/authorized".to_owned(), "/jobs/".to_owned(), "/cronjobs/".to_owned(), "/pods/?job_name=".to_owned()];
    let objects = [
        format!("/jobs/{job}"),
        format!("/cronjobs/{schedule}"),
        format!("/pods/{pod}"),
        format!("/jobs/logs/{job}/"),
        format!("/jobs/logs/{pod}/"),
        format!("/jobs/logs/{job}/?stream=true"),
        format!("/pods/logs/{pod}/"),
        format!("/pods/logs/{pod}/?stream=true"),
    ];
    let removed = [(Method::DELETE, format!("/jobs/{job}")), (Method::DELETE, format!("/cronjobs/{schedule}"))];
    body.into_iter().chain(paths.into_iter().chain(objects).map(|path| (Method::GET, path))).chain(removed).collect()
}

#[tokio::test]
async fn every_route_wants_a_token_and_the_permission_but_those_that_are_for_everybody() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({}));
    for (method, path) in routes("a", "a", "a") {
        let body = (method == Method::POST).then(|| json!({"job": written_job()}));
        let nobody = api.send(request(method.clone(), &format!("/kb{path}"), None, body.clone())).await;
        assert_eq!((nobody.status, detail(&nobody)), (401, "Incorrect token".to_owned()), "{method} {path}");
        let mut wrong = request(method.clone(), &format!("/kb{path}"), None, body.clone());
        wrong.headers_mut().insert(header::AUTHORIZATION, "token abc".parse().unwrap());
        assert_eq!(api.send(wrong).await.status, 401, "{method} {path}");
        let denied = call(&api, "mallory", method.clone(), &path, body.clone()).await;
        assert_eq!(denied.status, 403, "{method} {path}");
        assert!(detail(&denied).contains("access to system daint is denied"), "{method} {path}");
        // Whoever may only read submits and removes nothing.
        let reader = call(&api, "reader", method.clone(), &path, body).await;
        assert_eq!(reader.status == 403, method != Method::GET, "{method} {path}: {}", reader.status);
    }
    for path in ["/kb/", "/kb/profiles/"] {
        assert_eq!(api.send(request(Method::GET, path, None, None)).await.status, 200, "{path}");
    }
    assert!(server.paths().is_empty(), "{:?}", server.paths());
}

#[tokio::test]
async fn a_second_user_reaches_nothing_of_the_first() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({}));
    let job = submit(&api, json!({"job": written_job()})).await;
    let path = format!("/pods/?job_name={job}");
    wait_until(PATIENCE, async || get(&api, &path).await.json()["items"].as_array().is_some_and(|pods| !pods.is_empty())).await;
    let pod = get(&api, &path).await.json()["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let schedule = json!({"schedule": "0 3 * * *", "job_template": {"metadata": {}, "spec": written_job()["spec"]}});
    let schedule = json!({"metadata": written_job()["metadata"], "spec": schedule});
    let schedule = call(&api, "alice", Method::POST, "/cronjobs/", Some(json!({"job": schedule}))).await;
    let schedule = schedule.json()["metadata"]["name"].as_str().unwrap().to_owned();
    server.write("goldcrest-alice", &job, "s3cret words\n");
    // The second user has a namespace too.
    call(&api, "bob", Method::POST, "/jobs/", Some(json!({"job": written_job()}))).await;
    let before = server.paths();
    for (method, path) in routes(&job, &pod, &schedule).into_iter().filter(|(method, _)| *method != Method::POST) {
        let answer = call(&api, "bob", method.clone(), &path, None).await;
        let is_list = ["/authorized", "/jobs/", "/cronjobs/", "/pods/?job_name="].contains(&path.as_str());
        assert_eq!(answer.status, if is_list { 200 } else { 404 }, "{method} {path}");
        let text = String::from_utf8_lossy(&answer.body);
        let is_named = answer.status == 200 && [&job, &pod, &schedule].iter().any(|name| text.contains(name.as_str()));
        assert!(!is_named && !text.contains("s3cret"), "{method} {path}: {text}");
    }
    assert_eq!(server.paths(), before);
}

#[tokio::test]
async fn what_a_job_may_not_have_is_named_and_nothing_is_made() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({"max_code_size": 1000}));
    let changed = |change: fn(&mut Value)| {
        let mut job = written_job();
        change(&mut job);
        json!({"job": job})
    };
    for (body, status, words) in [
        (changed(|job| job["spec"]["template"]["spec"]["host_network"] = json!(true)), 422, "job.spec.template.spec.host_network"),
        (changed(|job| job["spec"]["template"]["spec"]["volumes"] = json!([{"name": "a", "host_path": {"path": "/"}}])), 422, ".volumes"),
        (changed(|job| job["spec"]["scheduling"] = json!({"a": 1})), 422, "job.spec.scheduling: is not known"),
        (changed(|job| job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil.test/a:1")), 403, "evil.test/a:1"),
        (json!({"job": written_job(), "code": written_code(&[0; 1001])}), 413, "at most 1000"),
        (json!({"job": written_job(), "code": written_code(&[0; 3_000_000])}), 413, "at most 1000"),
        (json!({}), 422, "job: is missing"),
    ] {
        let answer = call(&api, "alice", Method::POST, "/jobs/", Some(body)).await;
        assert_eq!(answer.status, status, "{}", answer.everything());
        assert!(detail(&answer).contains(words), "{}", detail(&answer));
    }
    assert!(server.paths().is_empty(), "{:?}", server.paths());
}

#[tokio::test]
async fn a_submission_that_the_cluster_refuses_leaves_nothing_and_its_words_are_passed_on() {
    let message = "secrets \"x\" is forbidden: exceeded quota: jobs, requested: secrets=1, used: secrets=5, limited: secrets=5";
    let refuses = move |seen: &Seen| {
        (seen.method == Method::POST && seen.uri.path().ends_with("/secrets")).then(|| refusal(403, "Forbidden", message))
    };
    let server = ApiServer::start(refuses).await;
    let api = facade(&server, &json!({}));
    let answer = call(&api, "alice", Method::POST, "/jobs/", Some(json!({"job": written_job(), "code": written_code(b"PK")}))).await;
    assert_eq!((answer.status, detail(&answer)), (403, message.to_owned()));
    assert!(!server.paths().iter().any(|path| path.contains("/jobs/") || path.contains("/secrets/")), "{:?}", server.paths());
}

#[tokio::test]
async fn an_api_server_that_fails_is_never_an_empty_list() {
    let server = ApiServer::start(|_| Some(refusal(503, "ServiceUnavailable", "no leader"))).await;
    let api = facade(&server, &json!({}));
    for path in ["/jobs/", "/cronjobs/", "/pods/", "/jobs/a", "/jobs/logs/a/"] {
        let answer = get(&api, path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.everything());
        assert!(detail(&answer).contains("no leader"), "{path}");
    }
}

#[tokio::test]
async fn the_routes_are_where_the_site_puts_them_or_nowhere() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({}));
    let moved = api.send(request(Method::GET, "/kb/jobs", Some("token-of-alice"), None)).await;
    assert_eq!((moved.status, moved.header("location")), (307, Some("/kb/jobs/")));
    assert_eq!(api.get("/services/kbatch/").await.status, 404);
    let off = facade(&server, &json!({"enabled": false}));
    assert_eq!(off.get("/kb/").await.status, 404);
    assert!(!api.document["paths"].as_object().unwrap().keys().any(|path| path.starts_with("/kb")));
}

#[tokio::test]
async fn jobs_that_reach_out_of_their_pod_are_refused_by_the_member_in_either_spelling() {
    let server = ApiServer::start(|_| None).await;
    let api = facade(&server, &json!({}));
    let rows: Vec<Value> = serde_json::from_str(HOSTILE).unwrap();
    assert!(rows.len() >= 80, "{}", rows.len());
    for row in rows {
        let at = row["at"].as_str().unwrap();
        for members in [row["members"].clone(), in_python(&row["members"])] {
            let mut job = written_job();
            add(job.pointer_mut(at).unwrap(), &members);
            let schedule = json!({"schedule": "0 3 * * *", "job_template": {"metadata": job["metadata"], "spec": job["spec"]}});
            let schedule = json!({"metadata": written_job()["metadata"], "spec": schedule});
            for (path, job, start) in [("/jobs/", job, "job"), ("/cronjobs/", schedule, "job.spec.job_template")] {
                let answer = call(&api, "alice", Method::POST, path, Some(json!({"job": job}))).await;
                assert_eq!(answer.status, 422, "{row}: {}", answer.everything());
                let detail = detail(&answer);
                let named = detail.split(": ").next().unwrap();
                assert!(is_named(named, start, &row), "{row}: {detail}");
            }
        }
    }
    assert!(server.paths().is_empty(), "{:?}", server.paths());
}

/// Puts members in, in the place of what they are another spelling of.
fn add(place: &mut Value, members: &Value) {
    for (name, value) in members.as_object().unwrap() {
        place.as_object_mut().unwrap().remove(&python_name(name));
        place[name] = value.clone();
    }
}

fn in_python(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (python_name(name), in_python(value))).collect(),
        Value::Array(elements) => elements.iter().map(in_python).collect(),
        value => value.clone(),
    }
}

/// The name that a member of Kubernetes has in Python: `targetWWNs` is `target_ww_ns`.
fn python_name(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut found = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| letters[before]);
        let begins_word = |before: char| {
            before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || before.is_ascii_uppercase() && letters.get(index + 1).is_some_and(char::is_ascii_lowercase)
        };
        if letter.is_ascii_uppercase() && before.is_some_and(begins_word) {
            found.push('_');
        }
        found.push(letter.to_ascii_lowercase());
    }
    found
}

/// Whether it is a member that the row adds, or the one of the job that holds it.
fn is_named(named: &str, start: &str, row: &Value) -> bool {
    let place = |name: &str| if name.parse::<usize>().is_ok() { format!("[{name}]") } else { format!(".{}", python_name(name)) };
    let parent: String = row["at"].as_str().unwrap().split('/').skip(1).map(place).collect();
    let parent = format!("{start}{parent}");
    named.starts_with(&format!("{parent}.")) && paths(&parent, &row["members"]).iter().any(|path| path.starts_with(named))
}

/// The paths of all members, in the spelling of the Python client.
fn paths(parent: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let of_member = |(name, value): (&String, &Value)| {
                let path = format!("{parent}.{}", python_name(name));
                let below = paths(&path, value);
                [path].into_iter().chain(below)
            };
            members.iter().flat_map(of_member).collect()
        }
        Value::Array(elements) => {
            elements.iter().enumerate().flat_map(|(index, element)| paths(&format!("{parent}[{index}]"), element)).collect()
        }
        _ => Vec::new(),
    }
}
