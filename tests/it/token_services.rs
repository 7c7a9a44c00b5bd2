//! Tokens that a service is asked about, beside JSON Web Tokens: a JupyterHub and an introspection endpoint, which answer as the real ones do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use goldcrest::authn::{Authenticator, AuthnError, Config, PrincipalSource, ServiceAccountTokens, SetupError, Validators};
use goldcrest::domain::{Principal, Secret, TokenValidator};
use goldcrest::error::{Classify, ErrorChain, Kind};
use goldcrest::rest::Client;
use serde_json::{Value, json};

use crate::support::service::{Reply, Seen, Service};
use crate::support::{PATIENCE, wait_until};

const ADA: &str = "3f0c4e7d9b8a46f2a1c5";
const SCOPE: &str = "access:services!service=goldcrest";

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// What JupyterHub 6 answers to `GET /hub/api/user` with this token, if it is a user's.
fn hub_user(token: &str) -> Option<Value> {
    let user = |name: &str, scopes: Value| {
        json!({
            "kind": "user", "name": name, "admin": false, "groups": ["biology", "users"], "roles": ["user"], "server": null, "pending": null,
            "created": "2026-11-30T10:00:00.000000Z", "last_activity": "2026-11-30T11:00:00.000000Z", "servers": {}, "auth_state": null,
            "token_id": "a17", "session_id": null, "scopes": scopes,
        })
    };
    Some(match token {
        ADA => user("ada", json!(["access:servers!user=ada", SCOPE, "read:users:name!user=ada"])),
        "of-everybody" => user("bob", json!(["access:services"])),
        "of-a-server" => user("ada", json!(["users:activity!user=ada"])),
        "of-another-service" => user("ada", json!(["access:services!service=goldcrest2"])),
        "of-root" => user("root", json!([SCOPE])),
        "of-a-strange-name" => user("a/../b", json!([SCOPE])),
        "of-a-service" => json!({"kind": "service", "name": "checker", "admin": false, "roles": [], "scopes": [SCOPE], "session_id": null}),
        _ => return None,
    })
}

/// The Hub's answers, which are those of JupyterHub 6.
fn hub(seen: &Seen) -> Reply {
    if seen.uri.path() == "/hub/api" {
        return Reply::json(&json!({"version": "6.1.1"}));
    }
    assert_eq!(seen.uri.path(), "/hub/api/user");
    let token = seen.header("authorization").and_then(|value| value.strip_prefix("token ")).unwrap();
    match hub_user(token) {
        Some(user) => Reply::json(&user),
        None => Reply::status(403, r#"{"status": 403, "message": null}"#).header("content-type", "application/json"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn hub_config(url: &str, changes: Value) -> Config {
    let mut section = json!({"type": "jupyterhub", "api_url": format!("{url}/hub/api/"), "scopes": [SCOPE]});
    for (name, value) in changes.as_object().unwrap() {
        section[name] = value.clone();
    }
    serde_json::from_value(json!({"validators": [section]})).unwrap()
}

fn validators(config: &Config) -> Arc<Validators> {
    Arc::new(Validators::new(config, &Client::new().unwrap()).unwrap())
}

async fn with_hub(changes: Value) -> (Service, Arc<Validators>) {
    let service = Service::start(hub).await;
    let validators = validators(&hub_config(&service.url, changes));
    (service, validators)
}

/// The refusal of a token, which must not repeat it.
async fn refusal(validators: &Validators, token: &str) -> AuthnError {
    let error = validators.authenticate(&secret(token)).await.expect_err("the token was accepted");
    let shown = format!("{} {error:?} {}", ErrorChain(&error), error.public_message());
    assert!(!shown.contains(token), "the message repeats the token: {shown}");
    error
}

async fn accepted(validators: &Validators, token: &str) -> Arc<Principal> {
    validators.authenticate(&secret(token)).await.unwrap_or_else(|error| panic!("{}", ErrorChain(&error)))
}

/// A text with the form of a JSON Web Token.
fn some_jwt() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(json!({"alg": "ES256", "kid": "k"})), part(json!({"sub": "ada"})), URL_SAFE_NO_PAD.encode([7; 64]))
}

#[tokio::test]
async fn a_token_of_the_hub_becomes_its_user_with_groups_and_scopes() {
    let (service, validators) = with_hub(json!({"group_prefix": "hub:"})).await;
    assert!(validators.takes_token_scheme());
    let ada = accepted(&validators, ADA).await;
    assert_eq!((ada.username.as_str(), ada.subject.as_str()), ("ada", "ada"));
    assert_eq!(ada.groups, ["hub:biology", "hub:users"]);
    assert!(ada.scopes.contains(&SCOPE.to_owned()) && !ada.is_service_account);
    assert_eq!(ada.validator, Some(TokenValidator::JupyterHub));
    let left = ada.expires_at.as_second() - jiff::Timestamp::now().as_second();
    assert!((3590..=3600).contains(&left), "a request that lasts is sent again after an hour: {left}");
    assert!(accepted(&validators, "of-a-service").await.is_service_account);
    assert_eq!(accepted(&validators, "of-everybody").await.username.as_str(), "bob");
    assert_eq!(service.seen()[0].header("authorization").unwrap(), format!("token {ADA}"));
}

#[tokio::test]
async fn a_token_without_a_required_scope_is_403_and_the_message_names_both() {
    let (_service, validators) = with_hub(json!({})).await;
    for (token, scopes) in [("of-a-server", "users:activity!user=ada"), ("of-another-service", "access:services!service=goldcrest2")] {
        let error = refusal(&validators, token).await;
        assert_eq!(error.kind(), Kind::Forbidden);
        let message = error.public_message().into_owned();
        assert!(message.contains(scopes) && message.contains(SCOPE), "{message}");
    }
    let (_service, validators) = with_hub(json!({"scopes": []})).await;
    accepted(&validators, "of-a-server").await;
}

#[tokio::test]
async fn names_of_the_hub_pass_the_rules_for_login_names() {
    let (_service, validators) = with_hub(json!({})).await;
    assert_eq!(refusal(&validators, "of-root").await.kind(), Kind::Forbidden);
    assert_eq!(refusal(&validators, "of-a-strange-name").await.kind(), Kind::Unauthenticated);
}

#[tokio::test]
async fn an_answer_is_kept_and_a_token_that_the_hub_does_not_know_is_401_without_a_flood() {
    let (service, validators) = with_hub(json!({})).await;
    let calls = futures::future::join_all((0..20).map(|_| accepted(&validators, ADA))).await;
    assert_eq!((calls.len(), service.seen().len()), (20, 1));
    for _ in 0..20 {
        let error = refusal(&validators, "made-up-token").await;
        assert_eq!(error.kind(), Kind::Unauthenticated);
        assert_eq!(error.to_string(), "the access token is not valid: the JupyterHub does not know it");
    }
    assert_eq!(service.seen().len(), 2);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_refused_when_its_answer_is_too_old() {
    let revoked = Arc::new(AtomicBool::new(false));
    let is_revoked = Arc::clone(&revoked);
    let service = Service::start(move |seen| match is_revoked.load(Ordering::SeqCst) {
        true => Reply::status(403, r#"{"status": 403, "message": null}"#),
        false => hub(seen),
    })
    .await;
    let validators = validators(&hub_config(&service.url, json!({"cache_seconds": 1})));
    accepted(&validators, ADA).await;
    revoked.store(true, Ordering::SeqCst);
    wait_until(PATIENCE, async || validators.authenticate(&secret(ADA)).await.is_err()).await;
    assert_eq!(refusal(&validators, ADA).await.kind(), Kind::Unauthenticated);
}

#[tokio::test]
async fn a_hub_that_cannot_be_asked_is_503_with_the_reason_and_is_asked_again() {
    let answers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answers);
    let service = Service::start(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(500, r#"{"status": 500, "message": "database is locked"}"#),
        1 => Reply::status(302, "").header("location", "/hub/login"),
        2 => Reply::status(200, "<html>hub</html>"),
        _ => hub(seen),
    })
    .await;
    let validators = validators(&hub_config(&service.url, json!({})));
    for expected in ["status 500", "status 302", "was not understood"] {
        let error = refusal(&validators, ADA).await;
        assert_eq!(error.kind(), Kind::Unavailable);
        let message = error.public_message().into_owned();
        assert!(message.contains(expected) && message.contains(&format!("{}/hub/api/user", service.url)), "{message}");
        assert!(!message.contains("<html>"), "{message}");
    }
    accepted(&validators, ADA).await;

    let unreachable = self::validators(&hub_config("http://127.0.0.1:1", json!({})));
    let error = refusal(&unreachable, ADA).await;
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.public_message().contains("Connection refused"), "{}", error.public_message());
}

#[tokio::test]
async fn a_silent_hub_costs_its_time_limit_and_few_questions_at_once() {
    let service = Service::start(|seen| hub(seen).after(Duration::from_secs(30))).await;
    let validators = validators(&hub_config(&service.url, json!({"timeout": 5})));
    let begun = std::time::Instant::now();
    let tokens: Vec<String> = (0..200).map(|number| format!("made-up-{number}")).collect();
    let errors = futures::future::join_all(tokens.iter().map(|token| refusal(&validators, token))).await;
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(errors.iter().all(|error| error.kind() == Kind::Unavailable));
    let busy = errors.iter().filter(|error| matches!(error, AuthnError::TooManyChecks(_))).count();
    assert_eq!((service.seen().len(), busy), (64, 136));
}

#[tokio::test]
async fn the_hub_is_never_sent_a_json_web_token() {
    let (service, validators) = with_hub(json!({})).await;
    assert_eq!(refusal(&validators, &some_jwt()).await.kind(), Kind::Unauthenticated);
    assert_eq!(refusal(&validators, &"x".repeat(20_000)).await.kind(), Kind::Unauthenticated);
    assert!(service.seen().is_empty());
}

/// An introspection endpoint (RFC 7662) that knows some tokens.
fn introspection(seen: &Seen) -> Reply {
    let body = String::from_utf8(seen.body.to_vec()).unwrap();
    let pair = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("goldcrest:s%2Fcret"));
    if seen.header("authorization") != Some(pair.as_str()) {
        return Reply::status(401, r#"{"error": "invalid_client"}"#);
    }
    assert!(body.contains("token_type_hint=access_token"), "{body}");
    let exp = jiff::Timestamp::now().as_second() + 300;
    let active = |username: &str, audience: &str| {
        json!({
            "active": true, "username": username, "sub": "7d1c", "client_id": "portal", "scope": "jobs files", "aud": audience,
            "iss": "https://id.example.org", "exp": exp, "groups": ["physics"],
        })
    };
    let token = body.split('&').find_map(|field| field.strip_prefix("token=")).unwrap();
    Reply::json(&match token {
        "opaque" => active("ann", "goldcrest"),
        "foreign" => active("ann", "elsewhere"),
        "unlimited" => json!({"active": true, "username": "ann", "aud": "goldcrest"}),
        "refresh" => json!({"active": true, "username": "ann", "aud": "goldcrest", "typ": "Refresh", "exp": exp}),
        "tok-bound" => json!({"active": true, "username": "ann", "aud": "goldcrest", "cnf": {"jkt": "x"}, "exp": exp}),
        "nameless" => json!({"active": true, "aud": "goldcrest"}),
        "silly" => json!({"active": "yes", "username": "ann"}),
        _ => json!({"active": false}),
    })
}

fn introspection_section(url: &str) -> Value {
    json!({
        "type": "introspection", "url": format!("{url}/introspect"), "client_id": "goldcrest", "client_secret": "s/cret",
        "audience": ["goldcrest"],
    })
}

#[tokio::test]
async fn an_introspected_token_becomes_a_principal_by_the_rules_for_claims() {
    let service = Service::start(introspection).await;
    let config = serde_json::from_value(json!({"validators": [introspection_section(&service.url)]})).unwrap();
    let validators = validators(&config);
    assert!(!validators.takes_token_scheme());
    for _ in 0..3 {
        let ann = accepted(&validators, "opaque").await;
        assert_eq!((ann.username.as_str(), ann.subject.as_str(), ann.client_id.as_deref()), ("ann", "7d1c", Some("portal")));
        assert_eq!((ann.scopes.clone(), ann.groups.clone()), (vec!["jobs".to_owned(), "files".to_owned()], vec!["physics".to_owned()]));
        assert_eq!(ann.validator, Some(TokenValidator::Introspection));
    }
    assert_eq!(service.seen().len(), 1, "an answer is kept");
    let left = accepted(&validators, "unlimited").await.expires_at.as_second() - jiff::Timestamp::now().as_second();
    assert!((3590..=3600).contains(&left), "{left}");
    for (token, reason) in [
        ("foreign", "another audience"),
        ("refresh", "another kind of token"),
        ("tok-bound", "bound to a key"),
        ("nameless", "no usable user name in the claim `username`"),
        ("unknown", "says that it is not active"),
    ] {
        let error = refusal(&validators, token).await;
        assert_eq!(error.kind(), Kind::Unauthenticated, "{token}");
        assert!(error.to_string().contains(reason), "{token}: {error}");
    }
    assert_eq!(refusal(&validators, "silly").await.kind(), Kind::Unavailable, "an answer that says nothing is no answer");
}

#[tokio::test]
async fn an_endpoint_that_refuses_our_client_makes_tokens_503_not_401() {
    let service = Service::start(introspection).await;
    let mut section = introspection_section(&service.url);
    section["client_secret"] = json!("another");
    let validators = validators(&serde_json::from_value(json!({"validators": [section]})).unwrap());
    let error = refusal(&validators, "opaque").await;
    assert_eq!(error.kind(), Kind::Unavailable);
    let message = error.public_message().into_owned();
    assert!(message.contains("client_id, client_secret") && !message.contains("another"), "{message}");
    assert!(validators.services()[0].probe().await.is_err());
}

/// JSON Web Tokens, the Hub and introspection, in this order. The key set is empty or away.
fn all_three(url: &str, has_keys: bool) -> Config {
    let certs = if has_keys { format!("{url}/certs") } else { "http://127.0.0.1:1/certs".to_owned() };
    let hub = json!({"type": "jupyterhub", "api_url": format!("{url}/hub/api"), "scopes": [SCOPE]});
    serde_json::from_value(json!({
        "token_url": format!("{url}/token"), "public_certs": [certs],
        "validators": [{"type": "jwt"}, hub, introspection_section(url)],
    }))
    .unwrap()
}

fn everything(seen: &Seen) -> Reply {
    match seen.uri.path() {
        "/certs" => Reply::json(&json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "other", "alg": "ES256",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        }]})),
        "/introspect" => introspection(seen),
        _ => hub(seen),
    }
}

#[tokio::test]
async fn each_validator_leaves_to_the_next_what_it_does_not_know() {
    let service = Service::start(everything).await;
    let validators = validators(&all_three(&service.url, true));
    assert_eq!(accepted(&validators, ADA).await.validator, Some(TokenValidator::JupyterHub));
    assert_eq!(accepted(&validators, "opaque").await.validator, Some(TokenValidator::Introspection));
    let asked = |path: &str| service.seen().iter().filter(|seen| seen.uri.path() == path).count();
    assert_eq!((asked("/hub/api/user"), asked("/introspect")), (2, 1), "the Hub knows its token, so that nobody else is asked");
    // What the Hub refuses is final: the next validator is not asked.
    assert_eq!(refusal(&validators, "of-a-server").await.kind(), Kind::Forbidden);
    assert_eq!(asked("/introspect"), 1);
    // A JSON Web Token that nobody signed is asked about where tokens of any form are known, and not at the Hub.
    let error = refusal(&validators, &some_jwt()).await;
    assert_eq!((error.kind(), asked("/hub/api/user"), asked("/introspect")), (Kind::Unauthenticated, 3, 2));
}

#[tokio::test]
async fn a_token_that_nobody_accepts_is_503_while_one_who_may_know_it_is_away() {
    let service = Service::start(|seen| match seen.uri.path() {
        "/hub/api/user" => Reply::status(503, ""),
        _ => everything(seen),
    })
    .await;
    let validators = validators(&all_three(&service.url, false));
    assert_eq!(accepted(&validators, "opaque").await.validator, Some(TokenValidator::Introspection), "the others still answer");
    let error = refusal(&validators, "unknown").await;
    assert!(error.kind() == Kind::Unavailable && error.public_message().contains("the JupyterHub at"), "{error}");
    let error = refusal(&validators, &some_jwt()).await;
    assert!(matches!(error, AuthnError::KeysUnavailable(_)), "{error}");
}

#[tokio::test]
async fn without_a_token_endpoint_the_secret_of_a_service_account_is_its_token() {
    let (service, validators) = with_hub(json!({})).await;
    let account = |token: &str| {
        let config = hub_config(&service.url, json!({}));
        ServiceAccountTokens::new(&config, "checker", secret(token), Client::new().unwrap(), validators.clone()).unwrap()
    };
    let checker = account("of-a-service").principal().await.unwrap();
    assert_eq!((checker.username.as_str(), checker.is_service_account), ("checker", true));
    let error = account("unknown-token").principal().await.unwrap_err();
    let shown = ErrorChain(&error).to_string();
    assert!(shown.contains("the JupyterHub does not know it") && !shown.contains("unknown-token"), "{shown}");
}

#[tokio::test]
async fn the_services_are_tried_with_the_credentials_of_the_configuration() {
    let probe = async |changes: Value| {
        let (_service, validators) = with_hub(changes).await;
        validators.services()[0].probe().await.map_err(|error| ErrorChain(&error).to_string())
    };
    assert_eq!(probe(json!({})).await.unwrap(), "version 6.1.1");
    assert_eq!(probe(json!({"api_token": "of-a-service"})).await.unwrap(), "version 6.1.1, Goldcrest is the service checker");
    let error = probe(json!({"api_token": "hunter2"})).await.unwrap_err();
    assert!(error.contains("refuses Goldcrest's own credentials (api_token)") && !error.contains("hunter2"), "{error}");
    let service = Service::start(introspection).await;
    let config = serde_json::from_value(json!({"validators": [introspection_section(&service.url)]})).unwrap();
    validators(&config).services()[0].probe().await.unwrap();
}

#[test]
fn validators_that_cannot_be_made_are_not_made() {
    let made = |config: Value| Validators::new(&serde_json::from_value(config).unwrap(), &Client::new().unwrap()).err();
    assert!(matches!(made(json!({"validators": []})), Some(SetupError::NoValidator)));
    assert!(matches!(made(json!({})), Some(SetupError::NoKeySet)));
    let url = made(json!({"validators": [{"type": "jupyterhub", "api_url": "hub"}]}));
    assert!(matches!(url, Some(SetupError::Url { key: "api_url", .. })));
}
