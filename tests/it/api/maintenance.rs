//! Maintenance of the site and of a system: the refused requests, their answers, and the requests that still work.

use std::collections::BTreeMap;

use axum::http::Method;
use goldcrest::domain::{ClusterHealth, Maintenance, SystemName};
use serde_json::json;

use super::doubles::Reply;
use super::{Api, request};

const NOTICE: &str = "Daint is back at 14:00, see https://status.example.org";

/// The API while the site, or else the system, is under maintenance.
fn under_maintenance(site: bool, retry_after: Option<u32>) -> Api {
    let maintenance = Maintenance::announced(NOTICE, retry_after).unwrap();
    let systems = BTreeMap::from([(SystemName::new("daint").unwrap(), maintenance.clone())]);
    Api::assemble(vec![], vec![], ClusterHealth::default(), |state| {
        let gate = state.gate.clone();
        state.gate = if site { gate.under_maintenance(Some(maintenance), BTreeMap::new()) } else { gate.under_maintenance(None, systems) };
    })
}

#[tokio::test]
async fn every_way_to_a_system_under_maintenance_is_503_with_the_notice_and_the_reason() {
    for site in [true, false] {
        let api = under_maintenance(site, Some(3600));
        for (method, path) in [
            (Method::GET, "/compute/daint/jobs"),
            (Method::POST, "/compute/daint/jobs"),
            (Method::GET, "/filesystem/daint/ops/ls?path=/home"),
            (Method::PUT, "/filesystem/daint/ops/upload?path=/home/a"),
            (Method::POST, "/filesystem/daint/uploads?path=/home/a"),
            (Method::POST, "/filesystem/daint/ops/batch"),
            (Method::DELETE, "/filesystem/daint/transfer/rm?path=/home/a"),
            (Method::GET, "/status/daint/nodes"),
            (Method::GET, "/status/daint/userinfo"),
        ] {
            let answer = api.call(method.clone(), path, None).await;
            assert_eq!(answer.status, 503, "{method} {path}: {}", answer.everything());
            let body = answer.json();
            for (member, value) in [
                ("message", json!(NOTICE)),
                ("reason", json!("maintenance")),
                ("type", json!("urn:goldcrest:problem:maintenance")),
                ("retryable", json!(true)),
            ] {
                assert_eq!(body[member], value, "{method} {path}");
            }
            assert_eq!(answer.header("retry-after"), Some("3600"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_says_how_things_stand_answers_during_a_maintenance_and_names_it() {
    for site in [true, false] {
        let api = under_maintenance(site, None);
        for path in ["/status/liveness/", "/status/whoami", "/status/parameters", "/openapi.json"] {
            assert_eq!(api.get(path).await.status, 200, "{path}");
        }
        assert_eq!(api.get("/status/systems").await.json()["systems"][0]["maintenance"], NOTICE);
    }
}

#[tokio::test]
async fn who_may_not_use_a_system_is_not_told_of_its_maintenance_and_a_closed_site_asks_for_no_token() {
    let system = under_maintenance(false, None);
    for (token, status) in [(None, 401), (Some("token-of-mallory"), 403)] {
        let answer = system.send(request(Method::GET, "/compute/daint/jobs", token, None)).await;
        assert_eq!(answer.status, status);
        assert!(!answer.everything().contains("14:00"));
    }
    let answer = under_maintenance(true, None).send(request(Method::GET, "/compute/daint/jobs", None, None)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, None), "no time is made up where none is configured");
}

#[tokio::test]
async fn without_a_maintenance_there_is_no_word_of_one() {
    let api = Api::new(vec![("alice: nodes", Reply::Nodes(Vec::new()))], vec![]);
    assert_eq!(api.get("/status/daint/nodes").await.status, 200);
    assert!(!api.get("/status/systems").await.everything().contains("maintenance"));
    assert!(!api.get("/compute/unknown/jobs").await.everything().contains("reason"));
}
