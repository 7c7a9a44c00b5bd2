//! Logs: the audit trail and the access line, without any token.

use axum::http::Method;
use goldcrest::domain::{ClusterHealth, ServiceType};
use goldcrest::http::TimeLimits;
use goldcrest::scheduler::SchedulerError;
use goldcrest::ssh::{CommandError, TransportError};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::doubles::Reply;
use super::{Api, request};
use crate::support::PATIENCE;
use crate::support::records::records;

/// What the double for authorization says of its decisions.
const BASIS: [&str; 6] =
    ["authorizer=\"double\"", "relation=\"access\"", "resource=\"system:daint\"", "decided_by=\"01MODEL\"", "cached=true", "decision_ms="];

async fn cancel(reply: Reply, token: &str) -> Vec<String> {
    let (records, _guard) = records();
    let api = Api::new(vec![(r#"alice: cancel "1""#, reply)], vec![]);
    api.send(request(Method::DELETE, "/compute/daint/jobs/1", Some(token), None)).await;
    records.of("audit")
}

#[tokio::test]
async fn every_change_leaves_one_line_that_says_who_what_where_and_how_it_ended() {
    let broken = || SchedulerError::Command { operation: "cancel", source: TransportError::Broken { sent: true }.into() };
    let killed = || {
        let source = CommandError::Exit { exit: 124, stderr: String::new() };
        SchedulerError::Command { operation: "cancel", source }
    };
    for (reply, outcome) in [
        (Reply::Done, "done"),
        (Reply::SchedulerFails(SchedulerError::JobNotFound), "failed"),
        (Reply::SchedulerFails(broken()), "unknown"),
        (Reply::SchedulerFails(killed()), "unknown"),
    ] {
        let lines = cancel(reply, "token-of-alice").await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        for part in [
            "user=alice",
            "subject=\"subject-of-alice\"",
            "validator=\"jwt\"",
            "system=daint",
            "action=\"jobs.cancel\"",
            "object=\"1\"",
            "request_id=\"test\"",
        ]
        .into_iter()
        .chain(BASIS)
        {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
        assert!(lines[0].contains(&format!("outcome=\"{outcome}\"")), "{}", lines[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_cancelled_leaves_its_line_too() {
    let lines = cancel(Reply::Hangs, "token-of-alice").await;
    assert!(lines.len() == 1 && lines[0].contains("outcome=\"cancelled\""), "{lines:#?}");
}

#[tokio::test]
async fn a_change_that_is_refused_is_not_recorded_as_cancelled() {
    let (records, _guard) = records();
    let answer = Api::unhealthy(ServiceType::Ssh, None).call(Method::DELETE, "/filesystem/daint/ops/rm?path=/home/a", None).await;
    assert_eq!(answer.status, 503, "{answer}");
    let lines = records.of("audit");
    assert!(!lines.iter().any(|line| line.contains("cancelled")), "{lines:#?}");
}

#[tokio::test]
async fn a_caller_who_is_not_let_in_leaves_a_line_that_says_why() {
    let (records, _guard) = records();
    let api = Api::new(vec![], vec![]);
    for token in ["token-of-mallory", "token-of-nobody"] {
        api.send(request(Method::DELETE, "/compute/daint/jobs/1", Some(token), None)).await;
    }
    let lines = records.of("audit");
    let [denied, undecided] = &lines[..] else { panic!("{lines:#?}") };
    for part in ["user=mallory", "system=daint", "action=\"access\"", "outcome=\"denied\"", "request_id=\"test\""].into_iter().chain(BASIS)
    {
        assert!(denied.contains(part), "{part}: {denied}");
    }
    for part in ["user=nobody", "outcome=\"undecided\"", "error=", "connection to 10.0.0.2 refused", "decision_ms="] {
        assert!(undecided.contains(part), "{part}: {undecided}");
    }
}

#[tokio::test]
async fn a_permission_to_read_is_told_below_the_level_of_the_trail() {
    let (records, _guard) = records();
    let api = Api::new(vec![("alice: nodes", Reply::Nodes(Vec::new()))], vec![]);
    api.get("/status/daint/nodes").await;
    assert_eq!(records.of("audit"), [""; 0]);
    let lines = records.of("goldcrest::service::audit");
    assert!(lines.len() == 1 && lines[0].contains("level=DEBUG"), "{lines:#?}");
    assert!(BASIS.iter().all(|part| lines[0].contains(part)), "{}", lines[0]);
}

#[tokio::test]
async fn what_was_refused_before_it_began_leaves_no_line() {
    let (records, _guard) = records();
    let api = Api::new(vec![], vec![]);
    api.call(Method::POST, "/compute/daint/jobs", Some(json!({"job": {"workingDirectory": "/"}}))).await;
    api.get("/status/systems").await;
    assert_eq!(records.of("audit"), [""; 0]);
}

#[tokio::test]
async fn every_request_leaves_one_access_line_without_its_query() {
    let (records, _guard) = records();
    let cancel = (r#"alice: cancel "1""#, Reply::SchedulerFails(SchedulerError::JobNotFound));
    let api = Api::build(vec![cancel], vec![], ClusterHealth::default(), "", |config| config.lenient = true);
    api.call(Method::DELETE, "/compute/daint/jobs/1?secret=hunter2", None).await;
    let lines = records.of("goldcrest::http::middleware::access_log");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in [
        "method=DELETE",
        "path=\"/compute/daint/jobs/1\"",
        "route=\"/compute/{system_name}/jobs/{job_id}\"",
        "status=404",
        "error=\"Job not found\"",
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
}

/// The access line of a request with some headers, under this `logger` section.
async fn line_with_headers(logger: serde_json::Value) -> String {
    let (records, _guard) = records();
    let api = Api::assemble(vec![], vec![], ClusterHealth::default(), |state| state.logger = serde_json::from_value(logger).unwrap());
    let mut request = request(Method::GET, "/status/systems", Some("token-of-alice"), None);
    let headers = request.headers_mut();
    headers.insert("user-agent", "a \"client\"".parse().unwrap());
    headers.insert("x-project", "p".repeat(9000).parse().unwrap());
    headers.insert("cookie", "session=hunter2".parse().unwrap());
    api.send(request).await;
    records.of("goldcrest::http::middleware::access_log").remove(0)
}

#[tokio::test]
async fn the_configured_request_headers_are_in_the_access_line_and_no_secret_is() {
    let headers = json!([
        {"input": "User-Agent", "output": "agent"}, {"input": "X-Project", "output": "project"}, {"input": "x-absent", "output": "absent"},
        {"input": "Authorization", "output": "token"}, {"input": "Cookie", "output": "cookie"},
    ]);
    let line = line_with_headers(json!({"enable_tracing_log": true, "loggable_request_headers": headers})).await;
    let expected = json!({"agent": "a \"client\"", "project": "p".repeat(256)}).to_string();
    assert!(line.contains(&format!("headers={expected:?}")), "{line}");
    assert!(!line.contains("hunter2") && !line.contains("token-of-alice"), "{line}");
    let line = line_with_headers(json!({"enable_tracing_log": false, "loggable_request_headers": headers})).await;
    assert!(!line.contains("headers="), "{line}");
}

#[tokio::test]
async fn liveness_which_is_asked_for_every_few_seconds_leaves_no_line_that_is_shown_by_default() {
    let (records, _guard) = records();
    Api::new(vec![], vec![]).send(request(Method::GET, "/status/liveness/", None, None)).await;
    let lines = records.of("goldcrest::http::middleware::access_log");
    assert!(lines.len() == 1 && lines[0].contains("level=DEBUG"), "{lines:#?}");
}

#[tokio::test]
async fn no_token_and_no_secret_of_a_request_is_ever_written_down() {
    let (records, _guard) = records();
    let api = Api::new(vec![(r#"alice: cancel "1""#, Reply::SchedulerFails(SchedulerError::Denied("no".to_owned())))], vec![]);
    for token in ["hunter2", "token-of-mallory-hunter2", "hunter2;", "no-keys"] {
        api.send(request(Method::GET, "/compute/daint/jobs?x=hunter2", Some(token), None)).await;
    }
    api.call(Method::DELETE, "/compute/daint/jobs/1", None).await;
    let script = json!({"job": {"workingDirectory": "/home", "script": "hunter2", "env": "PASSWORD=hunter2"}});
    api.call(Method::POST, "/compute/daint/jobs", Some(script)).await;
    let all = records.0.lock().unwrap().clone();
    assert!(all.len() > 10, "{all:#?}");
    let leaks: Vec<_> =
        all.iter().filter(|line| line.contains("hunter2") && !line.contains("mallory-hunter2") || line.contains("token-of-")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test]
async fn the_clients_address_is_in_the_access_line_and_in_the_trail_and_no_client_can_make_one_up() {
    let (records, _guard) = records();
    for (trusted, header, expected) in [
        (vec![], "192.0.2.1", "127.0.0.1"),
        (vec!["127.0.0.0/8"], "198.51.100.7", "198.51.100.7"),
        (vec!["127.0.0.0/8", "10.0.0.0/8"], "192.0.2.1, 198.51.100.7, 10.0.0.3", "198.51.100.7"),
    ] {
        records.0.lock().unwrap().clear();
        let health = ClusterHealth::default();
        let api = Api::build(vec![(r#"alice: cancel "1""#, Reply::Done)], vec![], health, "", |config| {
            config.trusted_proxies = trusted.iter().map(|text| text.parse().unwrap()).collect();
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stop = CancellationToken::new();
        let request = format!(
            "DELETE /compute/daint/jobs/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer token-of-alice\r\nx-forwarded-for: {header}\r\n\r\n"
        );
        let serving = goldcrest::http::serve(listener, api.router, api.request_metrics, stop.clone(), TimeLimits::draining(PATIENCE));
        let asking = async {
            connection.write_all(request.as_bytes()).await.unwrap();
            connection.read_to_end(&mut Vec::new()).await.unwrap();
            stop.cancel();
        };
        tokio::join!(serving, asking);
        for target in ["audit", "goldcrest::http::middleware::access_log"] {
            let lines = records.of(target);
            assert!(lines.len() == 1 && lines[0].contains(&format!("client_address={expected}")), "{trusted:?}: {lines:#?}");
        }
    }
}
