//! The OpenFGA client against servers that say yes, no, nothing, and nonsense.

mod batches;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldcrest::authz::{Authorizer, AuthzError, Basis, Decision, OpenFga, OpenFgaConfig, Relation, Ruling};
use goldcrest::domain::{Principal, SystemName};
use goldcrest::error::{Classify, ErrorChain, Kind};
use goldcrest::rest::Client;
use serde_json::{Value, json};

use crate::support::principal;
use crate::support::service::{Reply, Seen, Service};

fn config(url: &str) -> OpenFgaConfig {
    serde_json::from_value(json!({"url": url, "timeout": 1, "store_id": "01STORE"})).unwrap()
}

fn open_fga(config: OpenFgaConfig) -> OpenFga {
    OpenFga::new(config, Client::new().unwrap()).unwrap()
}

async fn check(fga: &OpenFga, principal: &Principal) -> Result<Decision, AuthzError> {
    rule(fga, principal).await.map(|ruling| ruling.decision)
}

async fn rule(fga: &OpenFga, principal: &Principal) -> Result<Ruling, AuthzError> {
    fga.check(principal, Relation::Read, &SystemName::new("daint").unwrap()).await
}

/// Asks about several systems at once.
async fn check_all(fga: &OpenFga, principal: &Principal, systems: &[&str]) -> Result<Vec<Ruling>, AuthzError> {
    let systems: Vec<SystemName> = systems.iter().map(|name| SystemName::new(name).unwrap()).collect();
    fga.check_all(principal, Relation::Read, &systems.iter().collect::<Vec<_>>()).await
}

/// The systems that are allowed.
fn allowed(rulings: &[Ruling]) -> Vec<&str> {
    rulings.iter().filter(|ruling| ruling.decision == Decision::Allowed).map(|ruling| ruling.basis.object.as_str()).collect()
}

fn member_of(username: &str, groups: impl IntoIterator<Item = impl Into<String>>) -> Principal {
    Principal { groups: groups.into_iter().map(Into::into).collect(), ..principal(username) }
}

/// The answer of a server that allows whom it knows: each check of a batch by its object, last one first.
fn batch(seen: &Seen, allowed: &[&str]) -> Reply {
    let request = seen.json();
    let checks = request["checks"].as_array().unwrap().iter().rev();
    let result = checks.map(|check| {
        let object = check["tuple_key"]["object"].as_str().unwrap();
        (check["correlation_id"].as_str().unwrap().to_owned(), json!({"allowed": allowed.contains(&object)}))
    });
    Reply::json(&json!({"result": result.collect::<serde_json::Map<_, _>>()}))
}

/// How often each path was asked for.
fn counts(service: &Service) -> (usize, usize) {
    let ending = |end: &str| service.seen().iter().filter(|seen| seen.uri.path().ends_with(end)).count();
    (ending("/check"), ending("/batch-check"))
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
    for no_object in ["[true]", r#"[{"allowed": true}]"#, "true", r#"{"allowed": false, "allowed": true}"#] {
        assert_fails_closed(move |_| Reply::status(200, no_object)).await;
    }
    assert_fails_closed(|_| Reply::json(&json!({"allowed": true, "padding": "x".repeat(100_000)}))).await;
    assert_fails_closed(|_| allows(true).after(Duration::from_secs(5))).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_closed() {
    let error = check(&open_fga(config("http://127.0.0.1:1")), &principal("ann")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let told = error.public_message();
    assert!(["http://127.0.0.1:1/stores/", "Connection refused"].iter().all(|part| told.contains(part)), "{told}");
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
    fga.check(&principal("ann"), Relation::Read, &other).await.unwrap();
    assert_eq!(service.seen().len(), 5, "a permission is for one system");

    let mut forgetful = config(&service.url);
    forgetful.cache_ttl = 0;
    let fga = open_fga(forgetful);
    check(&fga, &principal("ann")).await.unwrap();
    check(&fga, &principal("ann")).await.unwrap();
    assert_eq!(service.seen().len(), 7);
}

#[tokio::test]
async fn an_operation_asks_for_the_relation_of_what_it_does_where_the_model_has_such() {
    let service = Service::start(|seen| allows(seen.json()["tuple_key"]["relation"] == "read")).await;
    let daint = SystemName::new("daint").unwrap();
    let asked = async |by_effect: bool| {
        let before = service.seen().len();
        let fga = open_fga(OpenFgaConfig { by_effect, cache_ttl: 60, ..config(&service.url) });
        let mut decisions = Vec::new();
        for relation in Relation::ALL {
            let ruling = fga.check(&principal("ann"), relation, &daint).await.unwrap();
            decisions.push((ruling.basis.relation, ruling.decision == Decision::Allowed));
        }
        fga.probe(&Relation::OF_ACCESS).await.unwrap();
        (decisions, service.seen().len() - before)
    };
    let named = |name: &str, allowed| (name.to_owned(), allowed);
    let separate = || [named("run", false), named("share", false)];
    let with = |general: [&str; 3]| {
        let general = general.map(|name| named(name, name == "read"));
        general.into_iter().chain(separate()).collect::<Vec<_>>()
    };
    assert_eq!(asked(true).await, (with(["read", "submit", "write"]), 5 + 3));
    // Refusals are asked for again. What permits the use of a system does not permit commands, nor links.
    assert_eq!(asked(false).await, (with(["access"; 3]), 5 + 1));
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
        let told = error.public_message();
        assert!(told.contains(&service.url) && told.contains("store") && told.contains("\"goldcrest\""), "{told}");
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

#[tokio::test]
async fn the_groups_of_the_token_go_along_where_the_site_says_so() {
    let service = Service::start(|_| allows(true)).await;
    let caller = member_of("ann", ["/hpc/users", "astro", "astro", "*", "a b", "x#member", "group:y", "", &"z".repeat(300)]);
    check(&open_fga(config(&service.url)), &caller).await.unwrap();
    assert_eq!(service.seen()[0].json().get("contextual_tuples"), None, "groups count for nothing by default");

    let mut configured = config(&service.url);
    configured.group_type = Some("group".to_owned());
    check(&open_fga(configured), &caller).await.unwrap();
    let member = |group: &str| json!({"user": "user:ann", "relation": "member", "object": group});
    let expected = json!({"tuple_keys": [member("group:/hpc/users"), member("group:astro")]});
    assert_eq!(service.seen()[1].json()["contextual_tuples"], expected, "each once, and none that means something else");
}

#[tokio::test]
async fn a_permission_by_a_group_is_not_remembered_for_a_caller_who_left_the_group() {
    let service = Service::start(|seen| allows(seen.text().contains("group:astro"))).await;
    let mut configured = config(&service.url);
    (configured.group_type, configured.cache_ttl) = (Some("group".to_owned()), 60);
    let fga = open_fga(configured);
    assert_eq!(check(&fga, &member_of("ann", ["astro"])).await.unwrap(), Decision::Allowed);
    assert_eq!(check(&fga, &member_of("ann", ["bio"])).await.unwrap(), Decision::Denied);
    assert_eq!(check(&fga, &principal("ann")).await.unwrap(), Decision::Denied);
    assert_eq!(check(&fga, &member_of("ann", ["astro"])).await.unwrap(), Decision::Allowed);
    assert_eq!(service.seen().len(), 3);
}

#[tokio::test]
async fn more_groups_than_one_check_takes_go_with_several_and_one_that_allows_is_enough() {
    let service = Service::start(|seen| {
        let request = seen.json();
        let result = request["checks"].as_array().unwrap().iter().map(|check| {
            let groups = check["contextual_tuples"]["tuple_keys"].as_array().unwrap();
            assert!(groups.len() <= 100, "OpenFGA refuses more");
            let allowed = groups.iter().any(|tuple| tuple["object"] == "group:g150");
            (check["correlation_id"].as_str().unwrap().to_owned(), json!({"allowed": allowed}))
        });
        Reply::json(&json!({"result": result.collect::<serde_json::Map<_, _>>()}))
    })
    .await;
    let mut configured = config(&service.url);
    (configured.group_type, configured.cache_ttl) = (Some("group".to_owned()), 0);
    let fga = open_fga(configured);
    let in_groups = |count: usize| member_of("ann", (0..count).map(|number| format!("g{number:03}")));
    assert_eq!(check(&fga, &in_groups(201)).await.unwrap(), Decision::Allowed);
    assert_eq!(check(&fga, &in_groups(140)).await.unwrap(), Decision::Denied);
    let rulings = check_all(&fga, &in_groups(201), &["daint", "eiger"]).await.unwrap();
    assert_eq!(allowed(&rulings), ["system:daint", "system:eiger"]);
}

#[tokio::test]
async fn a_failure_is_not_remembered() {
    let answers = Arc::new(Mutex::new(vec![allows(true), Reply::status(500, ""), Reply::status(200, "nonsense")]));
    let service = Service::start(move |_| answers.lock().unwrap().pop().unwrap()).await;
    let fga = open_fga(config(&service.url));
    assert!(check(&fga, &principal("ann")).await.is_err());
    assert!(check(&fga, &principal("ann")).await.is_err());
    assert_eq!(check(&fga, &principal("ann")).await.unwrap(), Decision::Allowed);
}

#[tokio::test]
async fn a_ruling_tells_what_it_rests_on() {
    let service =
        Service::start(|seen| allows(seen.text().contains("user:ann")).header("openfga-authorization-model-id", "01JNEWEST")).await;
    let fga = open_fga(config(&service.url));
    let basis = |cached| Basis {
        authorizer: "openfga",
        relation: "access".to_owned(),
        object: "system:daint".to_owned(),
        by: Some("01JNEWEST".into()),
        cached,
    };
    assert_eq!(rule(&fga, &principal("ann")).await.unwrap(), Ruling { decision: Decision::Allowed, basis: basis(false) });
    assert_eq!(rule(&fga, &principal("ann")).await.unwrap(), Ruling { decision: Decision::Allowed, basis: basis(true) });
    assert_eq!(rule(&fga, &principal("bob")).await.unwrap(), Ruling { decision: Decision::Denied, basis: basis(false) });

    // A server that does not say goes by the model that it was asked for; what is no id is not written down.
    for (header, pinned, expected) in [("", None, None), ("not an id", None, None), ("x\"y", Some("01PINNED"), Some("01PINNED"))] {
        let service = Service::start(move |_| allows(true).header("openfga-authorization-model-id", header)).await;
        let mut configured = config(&service.url);
        configured.authorization_model_id = pinned.map(str::to_owned);
        assert_eq!(rule(&open_fga(configured), &principal("ann")).await.unwrap().basis.by.as_deref(), expected);
    }
}

/// A service that is both: a token endpoint that counts its tokens, and an OpenFGA server that wants the newest one.
async fn guarded(lifetime: u64, endpoint_status: u16) -> (Service, Arc<Mutex<String>>) {
    let wanted = Arc::new(Mutex::new("token-1".to_owned()));
    let accepted = Arc::clone(&wanted);
    let granted = Mutex::new(0);
    let service = Service::start(move |seen| {
        if seen.uri.path() == "/token" {
            let mut granted = granted.lock().unwrap();
            *granted += 1;
            let grant = json!({"access_token": format!("token-{granted}"), "expires_in": lifetime, "token_type": "Bearer"});
            return Reply::status(endpoint_status, grant.to_string());
        }
        let shown = seen.header("authorization").unwrap_or_default() == format!("Bearer {}", accepted.lock().unwrap());
        if shown { allows(true) } else { Reply::status(401, r#"{"code": "bearer_token_missing"}"#) }
    })
    .await;
    (service, wanted)
}

fn with_client_credentials(url: &str) -> OpenFga {
    let account = json!({
        "token_url": format!("{url}/token"), "client_id": "goldcrest", "client_secret": "hunter2",
        "token_endpoint_auth_method": "client_secret_post", "audience": "https://fga.example.org", "scope": "check",
    });
    open_fga(serde_json::from_value(json!({"url": url, "store_id": "01STORE", "cache_ttl": 0, "client_credentials": account})).unwrap())
}

#[tokio::test]
async fn a_token_of_an_identity_provider_is_shown_and_asked_for_once() {
    let (service, wanted) = guarded(3600, 200).await;
    let fga = with_client_credentials(&service.url);
    let caller = principal("ann");
    let decisions = futures::future::join_all((0..10).map(|_| check(&fga, &caller))).await;
    assert!(decisions.into_iter().all(|decision| decision.unwrap() == Decision::Allowed));
    let grants = || service.seen().into_iter().filter(|seen| seen.uri.path() == "/token").collect::<Vec<_>>();
    assert_eq!(grants().len(), 1);
    let form = String::from_utf8(grants()[0].body.to_vec()).unwrap();
    let expected =
        "grant_type=client_credentials&audience=https%3A%2F%2Ffga.example.org&scope=check&client_id=goldcrest&client_secret=hunter2";
    assert_eq!(form, expected);

    // A token that the server does not take any more is given up: the next decision has a new one.
    *wanted.lock().unwrap() = "token-2".to_owned();
    assert_eq!(check(&fga, &caller).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(check(&fga, &caller).await.unwrap(), Decision::Allowed);
    assert_eq!(grants().len(), 2);
}

#[tokio::test]
async fn without_a_token_of_its_own_nothing_is_asked_and_no_secret_is_told() {
    for status in [401, 500] {
        let (service, _) = guarded(3600, status).await;
        let error = check(&with_client_credentials(&service.url), &principal("ann")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        let shown = format!("{} {error:?} {}", ErrorChain(&error), error.public_message());
        assert!(!shown.contains("hunter2") && !shown.contains("token-1"), "{shown}");
        assert_eq!(counts(&service), (0, 0));
    }
}

/// Against the server that `build/environment/openfga/start.sh` runs.
#[tokio::test]
#[ignore = "needs the OpenFGA server of build/environment/openfga"]
async fn a_real_server_decides_by_its_tuples() {
    let state = std::env::var("GOLDCREST_ENV").unwrap_or_else(|_| "/var/tmp/goldcrest-env".to_owned()) + "/openfga";
    let read = |name: &str| std::fs::read_to_string(format!("{state}/{name}")).unwrap().trim().to_owned();
    let url = read("url");
    let fga = open_fga(serde_json::from_value(json!({"url": url, "api_token": read("token")})).unwrap());
    let decide = async |user: &str, system: &str| check_all(&fga, &principal(user), &[system]).await.unwrap().remove(0).decision;
    assert_eq!(decide("fireuser", "cluster-slurm-ssh").await, Decision::Allowed, "by way of a group");
    assert_eq!(decide("firesrv", "cluster-pbs").await, Decision::Allowed, "as an administrator");
    assert_eq!(decide("fireuser", "cluster-pbs").await, Decision::Denied);
    assert_eq!(decide("nobody", "cluster-slurm-ssh").await, Decision::Denied);
    assert_eq!(decide("a.b+c@example.org", "no-such-system").await, Decision::Denied);

    let stranger = open_fga(serde_json::from_value(json!({"url": url, "api_token": "wrong"})).unwrap());
    assert_eq!(check(&stranger, &principal("fireuser")).await.unwrap_err().kind(), Kind::Unavailable);
}
