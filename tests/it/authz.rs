//! The OpenFGA client against servers that say yes, no, nothing, and nonsense.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldcrest::authz::{Authorizer, AuthzError, Decision, OpenFga, OpenFgaConfig, Relation};
use goldcrest::domain::{Principal, SystemName};
use goldcrest::error::{Classify, ErrorChain, Kind};
use goldcrest::rest::Client;
use serde_json::json;

use crate::support::principal;
use crate::support::service::{Reply, Seen, Service};

fn config(url: &str) -> OpenFgaConfig {
    serde_json::from_value(json!({"url": url, "timeout": 1, "store_id": "01STORE"})).unwrap()
}

fn open_fga(config: OpenFgaConfig) -> OpenFga {
    OpenFga::new(config, Client::new().unwrap()).unwrap()
}

async fn check(fga: &OpenFga, principal: &Principal) -> Result<Decision, AuthzError> {
    fga.check(principal, Relation::Access, &SystemName::new("daint").unwrap()).await
}

fn allows(allowed: bool) -> Reply {
    Reply::json(&json!({"allowed": allowed, "resolution": ""}))
}

/// Fails unless the answer leads to no decision at all.
async fn assert_fails_closed(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> AuthzError {
    let service = Service::start(reply).await;
    let error = check(&open_fga(config(&service.url)), &principal("ann")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    error
}

#[tokio::test]
async fn allowed_false_in_a_200_is_a_denial() {
    let service = Service::start(|_| allows(false)).await;
    assert_eq!(check(&open_fga(config(&service.url)), &principal("ann")).await.unwrap(), Decision::Denied);
}

#[tokio::test]
async fn the_request_is_openfgas_and_carries_no_token_of_the_caller() {
    let service = Service::start(|_| allows(true)).await;
    let configured: OpenFgaConfig = serde_json::from_value(json!({
        "url": service.url, "store_id": "01STORE", "authorization_model_id": "01MODEL", "api_token": "the preshared key",
    }))
    .unwrap();
    assert_eq!(check(&open_fga(configured), &principal("ann")).await.unwrap(), Decision::Allowed);
    let [request] = &service.seen()[..] else { panic!("one request") };
    assert_eq!((request.method.as_str(), request.uri.path()), ("POST", "/stores/01STORE/check"));
    assert_eq!(
        request.json(),
        json!({
            "tuple_key": {"user": "user:ann", "relation": "access", "object": "system:daint"},
            "authorization_model_id": "01MODEL",
        })
    );
    assert_eq!(request.header("authorization"), Some("Bearer the preshared key"));
    assert!(!request.text().contains("test-token"), "{}", request.text());
}

#[tokio::test]
async fn without_a_preshared_key_no_credential_is_sent() {
    let service = Service::start(|_| allows(true)).await;
    check(&open_fga(config(&service.url)), &principal("ann")).await.unwrap();
    assert_eq!(service.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn what_is_no_decision_fails_closed() {
    assert_fails_closed(|_| Reply::status(500, r#"{"allowed": true}"#)).await;
    assert_fails_closed(|_| Reply::status(401, "")).await;
    assert_fails_closed(|_| Reply::status(302, "")).await;
    assert_fails_closed(|_| Reply::status(204, "")).await;
    assert_fails_closed(|_| Reply::status(200, "<html>welcome</html>")).await;
    assert_fails_closed(|_| Reply::json(&json!({}))).await;
    assert_fails_closed(|_| Reply::json(&json!({"allowed": "true"}))).await;
    assert_fails_closed(|_| Reply::json(&json!({"allowed": true, "padding": "x".repeat(100_000)}))).await;
    assert_fails_closed(|_| allows(true).after(Duration::from_secs(5))).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_closed() {
    let error = check(&open_fga(config("http://127.0.0.1:1")), &principal("ann")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn no_error_repeats_the_answer_or_the_key() {
    let error = assert_fails_closed(|_| Reply::json(&json!({"allowed": "hunter2"}))).await;
    let shown = format!("{} {error:?} {}", ErrorChain(&error), error.public_message());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_permission_is_remembered_for_its_time_and_a_refusal_is_not() {
    let service = Service::start(|seen| allows(seen.text().contains("user:ann"))).await;
    let mut configured = config(&service.url);
    configured.cache_ttl = 60;
    let fga = open_fga(configured);
    for _ in 0..3 {
        assert_eq!(check(&fga, &principal("ann")).await.unwrap(), Decision::Allowed);
    }
    assert_eq!(service.seen().len(), 1);
    for _ in 0..3 {
        assert_eq!(check(&fga, &principal("bob")).await.unwrap(), Decision::Denied);
    }
    assert_eq!(service.seen().len(), 4, "each refusal is asked for");
    let other = SystemName::new("eiger").unwrap();
    fga.check(&principal("ann"), Relation::Access, &other).await.unwrap();
    assert_eq!(service.seen().len(), 5, "a permission is for one system");

    let mut forgetful = config(&service.url);
    forgetful.cache_ttl = 0;
    let fga = open_fga(forgetful);
    check(&fga, &principal("ann")).await.unwrap();
    check(&fga, &principal("ann")).await.unwrap();
    assert_eq!(service.seen().len(), 7);
}

#[tokio::test]
async fn the_store_is_found_by_name_once() {
    let service = Service::start(|seen| match seen.uri.path() {
        "/base/stores" => Reply::json(&json!({"stores": [
            {"id": "01OTHER", "name": "goldcrest-test"}, {"id": "01FOUND", "name": "goldcrest"},
        ]})),
        "/base/stores/01FOUND/check" => allows(true),
        _ => Reply::status(404, ""),
    })
    .await;
    let configured = serde_json::from_value(json!({"url": format!("{}/base/", service.url), "cache_ttl": 0})).unwrap();
    let fga = open_fga(configured);
    for _ in 0..2 {
        assert_eq!(check(&fga, &principal("ann")).await.unwrap(), Decision::Allowed);
    }
    let asked: Vec<String> = service.seen().iter().map(|seen| seen.uri.to_string()).collect();
    assert_eq!(asked, ["/base/stores?name=goldcrest", "/base/stores/01FOUND/check", "/base/stores/01FOUND/check"]);
}

#[tokio::test]
async fn a_store_that_was_made_anew_is_found_again() {
    let current = Arc::new(Mutex::new("01OLD"));
    let id = Arc::clone(&current);
    let service = Service::start(move |seen| {
        let id = *id.lock().unwrap();
        match seen.uri.path() {
            "/stores" => Reply::json(&json!({"stores": [{"id": id, "name": "goldcrest"}]})),
            path if path == format!("/stores/{id}/check") => allows(true),
            _ => Reply::status(404, r#"{"code": "store_id_not_found"}"#),
        }
    })
    .await;
    let fga = open_fga(serde_json::from_value(json!({"url": service.url, "cache_ttl": 0})).unwrap());
    assert_eq!(check(&fga, &principal("ann")).await.unwrap(), Decision::Allowed);
    *current.lock().unwrap() = "01NEW";
    assert_eq!(check(&fga, &principal("ann")).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(check(&fga, &principal("ann")).await.unwrap(), Decision::Allowed);
}

#[tokio::test]
async fn a_store_that_is_missing_or_ambiguous_fails_closed() {
    for stores in [json!([]), json!([{"id": "1", "name": "goldcrest"}, {"id": "2", "name": "goldcrest"}])] {
        let service = Service::start(move |_| Reply::json(&json!({"stores": stores}))).await;
        let configured = serde_json::from_value(json!({"url": service.url})).unwrap();
        let error = check(&open_fga(configured), &principal("ann")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}

#[tokio::test]
async fn the_url_may_name_the_store_as_firecrest_configures_it() {
    let service = Service::start(|_| allows(true)).await;
    let configured = serde_json::from_value(json!({"url": format!("{}/stores/01URL/check", service.url)})).unwrap();
    check(&open_fga(configured), &principal("ann")).await.unwrap();
    assert_eq!(service.seen()[0].uri.path(), "/stores/01URL/check");
}

#[tokio::test]
async fn no_more_checks_run_at_once_than_allowed() {
    let held = Duration::from_millis(20);
    let service = Service::start(move |_| allows(true).after(held)).await;
    let mut configured = config(&service.url);
    configured.max_connections = 3;
    let fga = open_fga(configured);
    let names: Vec<Principal> = (0..20).map(|number| principal(&format!("user{number}"))).collect();
    let decisions = futures::future::join_all(names.iter().map(|principal| check(&fga, principal))).await;
    assert!(decisions.into_iter().all(|decision| decision.unwrap() == Decision::Allowed));
    // Each is held for a while, so that a fourth can only come in when the first of three has been let go.
    let mut arrivals: Vec<_> = service.seen().iter().map(|seen| seen.at).collect();
    arrivals.sort();
    assert!(arrivals.windows(4).all(|four| four[3].duration_since(four[0]) >= held), "{arrivals:?}");
}

/// Against the server that `build/environment/openfga/start.sh` runs.
#[tokio::test]
#[ignore = "needs the OpenFGA server of build/environment/openfga"]
async fn a_real_server_decides_by_its_tuples() {
    let state = std::env::var("GOLDCREST_ENV").unwrap_or_else(|_| "/var/tmp/goldcrest-env".to_owned()) + "/openfga";
    let read = |name: &str| std::fs::read_to_string(format!("{state}/{name}")).unwrap().trim().to_owned();
    let url = read("url");
    let fga = open_fga(serde_json::from_value(json!({"url": url, "api_token": read("token")})).unwrap());
    let decide =
        async |user: &str, system: &str| fga.check(&principal(user), Relation::Access, &SystemName::new(system).unwrap()).await.unwrap();
    assert_eq!(decide("fireuser", "cluster-slurm-ssh").await, Decision::Allowed, "by way of a group");
    assert_eq!(decide("firesrv", "cluster-pbs").await, Decision::Allowed, "as an administrator");
    assert_eq!(decide("fireuser", "cluster-pbs").await, Decision::Denied);
    assert_eq!(decide("nobody", "cluster-slurm-ssh").await, Decision::Denied);
    assert_eq!(decide("a.b+c@example.org", "no-such-system").await, Decision::Denied);

    let stranger = open_fga(serde_json::from_value(json!({"url": url, "api_token": "wrong"})).unwrap());
    assert_eq!(check(&stranger, &principal("fireuser")).await.unwrap_err().kind(), Kind::Unavailable);
}
