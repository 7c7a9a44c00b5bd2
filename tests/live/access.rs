//! Access control, and the answers to refused callers.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::environment::{Component, Live, wait_for};
use crate::instance::Instance;
use crate::processes;

pub async fn the_service_is_alive_and_names_itself(live: &Live) {
    let answer = live.api_with(None).get("/status/liveness/", &[]).await.expect(200);
    assert!(answer.json()["lastUpdate"].is_u64(), "{}", answer.json());
    for header in ["f7t-timestamp", "f7t-appversion"] {
        assert_ne!(answer.header(header), "", "{header}");
    }
}

pub async fn a_request_without_a_valid_token_is_refused(live: &Live) {
    let valid = live.token("fireuser", None).await;
    let (signed, signature) = valid.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
    let tokens = [
        ("none", None),
        ("no token", Some("not-a-token".to_owned())),
        ("unsigned", Some(unsigned)),
        ("signature changed", Some(format!("{header}.{claims}.{flipped}{}", &signature[1..]))),
        ("for somebody else", Some(live.token("fireuser", Some("urn:elsewhere")).await)),
        ("about to end", Some(live.token("fireuser", Some("urn:goldcrest:brief")).await)),
    ];
    for (case, token) in tokens {
        let answer = live.api_with(token).get("/status/systems", &[]).await;
        assert_eq!(answer.status, 401, "{case}: {}", answer.json());
        assert_eq!(answer.header("auth-token"), "", "{case}: the token is sent back");
        assert_eq!(answer.json()["errorType"], "error", "{case}");
    }
}

pub async fn an_unknown_system_is_not_found(live: &Live) {
    let answer = live.api("fireuser").await.file("no-such-system", "ls", "/home/fireuser").await.expect(404);
    assert!(answer.message().contains("not found"), "{}", answer.message());
}

pub async fn every_error_has_both_forms_of_body(live: &Live) {
    let answers = [
        live.api("fireuser").await.file("no-such-system", "ls", "/home").await,
        live.api("fireuser").await.get("/filesystem/slurm/ops/head", &[("path", "/home/x"), ("lines", "1"), ("bytes", "1")]).await,
        live.api("fireuser").await.get("/filesystem/slurm/ops/ls", &[]).await,
        live.api("fireuser").await.get("/no/such/route", &[]).await,
        live.api("fireuser").await.post("/compute/slurm/jobs", &json!({"job": {}})).await,
        live.api_with(None).get("/status/systems", &[]).await,
    ];
    for answer in answers {
        let body = answer.json();
        assert_eq!(answer.header("content-type"), "application/problem+json", "{body}");
        assert_eq!(body["status"], answer.status, "{body}");
        for member in ["title", "detail", "errorType", "message"] {
            assert!(body[member].is_string(), "{member} of {body}");
        }
        assert!(body["retryable"].is_boolean(), "{body}");
        if body["errorType"] == "validation" {
            assert_eq!(answer.status, 400, "{body}");
            assert!(body["data"]["fields"][0]["message"].is_string(), "{body}");
        }
    }
}

pub async fn a_request_id_comes_back(live: &Live) {
    let api = live.api("fireuser").await;
    let request = api
        .request(reqwest::Method::GET, "/status/systems")
        .header("x-request-id", "live-request-1")
        .header("x-correlation-id", "live-correlation-1");
    let answer = api.send(request).await.expect(200);
    assert_eq!(answer.header("x-request-id"), "live-request-1");
    assert_eq!(answer.header("x-correlation-id"), "live-correlation-1");
    assert_eq!(answer.header("f7t-authusername"), "fireuser");
}

pub async fn a_rotated_signing_key_is_accepted_without_a_restart(live: &Live) {
    let before = live.token("fireuser", None).await;
    live.api_with(Some(before.clone())).get("/status/systems", &[]).await.expect(200);
    processes::signal(&[live.pid("oidc", "/pidFile")], Signal::HUP);
    // The header, the first part of a token, names the key.
    let key = |token: &str| token.split('.').next().unwrap().to_owned();
    let after = wait_for("the provider signs with another key", Duration::from_secs(10), || async {
        let token = live.token("fireuser", None).await;
        (key(&token) != key(&before)).then_some(token)
    })
    .await;
    // A verifier may look for new keys seldom, so that strangers cannot make it ask; it must not take minutes.
    wait_for("a token of the new key is accepted", Duration::from_secs(40), || async {
        (live.api_with(Some(after.clone())).get("/status/systems", &[]).await.status == 200).then_some(())
    })
    .await;
    live.api_with(Some(before)).get("/status/systems", &[]).await.expect(200);
}

pub async fn a_denied_relation_is_forbidden(live: &Live) {
    // `certuser` has a valid token and a valid key, and no tuple in the store.
    let answer = live.api("certuser").await.file("slurm", "ls", "/home/certuser").await.expect(403);
    assert_eq!(answer.json()["errorType"], "error");
    live.api("fireuser").await.file("slurm", "ls", "/home/fireuser").await.expect(200);
}

pub async fn nothing_is_allowed_while_the_authorization_server_is_down(live: &Live) {
    let closed = format!("http://127.0.0.1:{}/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV", live.number("openssh", "/closedPort"));
    let instance = Instance::start(live, &["--authorization-url", &closed]).await;
    let answer = live.api_at(&instance.url(), "fireuser").await.file("slurm", "ls", "/home/fireuser").await.expect(503);
    assert_eq!(answer.json()["retryable"], true);
}

/// Whether the services that every system has were checked, and all that were checked are healthy.
pub fn is_found_healthy(system: &Value) -> Option<bool> {
    let health = system["servicesHealth"].as_array()?;
    let probed = |service: &str| health.iter().any(|entry| entry["serviceType"] == service);
    Some(["ssh", "scheduler", "filesystem"].into_iter().all(probed) && health.iter().all(|entry| entry["healthy"] == true))
}

pub async fn the_system_list_shows_health_and_no_secret(live: &Live) {
    let api = live.api("fireuser").await;
    let answer = wait_for("the cluster's services are found healthy", Duration::from_secs(60), || async {
        let answer = api.get("/status/systems", &[]).await.expect(200);
        let systems = answer.json();
        let system = systems["systems"].as_array()?.iter().find(|system| system["name"] == "slurm")?;
        is_found_healthy(system)?.then_some(answer)
    })
    .await;
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    let secret = std::fs::read_to_string(live.text("oidc", "/clients/firesrv/secretFile")).unwrap();
    let store = if live.has(Component::S3) { ["access_key", "secret_key"].map(|name| live.file("s3", name)).to_vec() } else { Vec::new() };
    let store = store.iter().map(String::as_str);
    for word in [secret.as_str(), "PRIVATE KEY", "secret_file", "serviceAccount"].into_iter().chain(store) {
        assert!(!body.contains(word), "the system list tells a secret");
    }
}
