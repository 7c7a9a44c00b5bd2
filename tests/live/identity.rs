//! Tokens of a real Keycloak: accepted and refused ones, changes of its keys, and its outages.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::access::is_found_healthy;
use crate::environment::{Live, wait_for};
use crate::instance::Instance;
use crate::keycloak::{CLIENT, Keycloak, password, text};
use crate::login::Login;
use crate::openfga::Store;
use crate::relay::Relay;

const CHECKER: &str = "firecrest-health-check";

/// A Goldcrest that trusts Keycloak, with further options.
async fn instance(live: &Live, options: &[&str]) -> Instance {
    let mut all = vec!["--identity", "keycloak"];
    all.extend(options);
    Instance::start(live, &all).await
}

/// The status and the reason that a token is answered with.
async fn answer_to(live: &Live, instance: &Instance, token: &str) -> (u16, String) {
    let answer = live.api_at_with(&instance.url(), token).get("/status/systems", &[]).await;
    let reason = if answer.status == 200 { String::new() } else { answer.message() };
    (answer.status, reason)
}

pub async fn a_person_and_a_service_of_keycloak_come_in_under_their_names_on_the_cluster(live: &Live) {
    let (keycloak, instance) = (Keycloak::new(live), instance(live, &[]).await);
    for (token, name) in [
        (keycloak.person(CLIENT, "fireuser").await, "fireuser"),
        (keycloak.service(CLIENT).await, "fireuser"),
        (keycloak.service(CHECKER).await, "firesrv"),
    ] {
        let api = live.api_at_with(&instance.url(), &token);
        let answer = api.file("slurm", "ls", &format!("/home/{name}")).await.expect(200);
        assert_eq!(answer.header("f7t-authusername"), name);
    }
    // The checker logs in with the client credentials of the realm.
    let api = live.api_at_with(&instance.url(), &keycloak.service(CLIENT).await);
    wait_for("the checker finds the cluster healthy", Duration::from_secs(60), || async {
        let systems = api.get("/status/systems", &[]).await.expect(200).json();
        let system = systems["systems"].as_array()?.iter().find(|system| system["name"] == "slurm")?.clone();
        is_found_healthy(&system)?.then_some(())
    })
    .await;
}

pub async fn a_person_logs_in_with_code_and_pkce_at_either_provider(live: &Live) {
    for (provider, client, secret, password) in
        [("keycloak", CLIENT, Some("demo-only-firecrest-test-client"), Some("demo-only-fireuser")), ("oidc", "webpage", None, None)]
    {
        let (authorize_url, token_url) = (live.text(provider, "/authorizeUrl"), live.text(provider, "/tokenUrl"));
        let login = Login { authorize_url: &authorize_url, token_url: &token_url, client, secret, user: "fireuser", password };
        let tokens = login.tokens().await;
        let instance = Instance::start(live, &["--identity", provider]).await;
        let api = live.api_at_with(&instance.url(), &text(&tokens, "access_token"));
        let answer = api.file("slurm", "ls", "/home/fireuser").await.expect(200);
        assert_eq!(answer.header("f7t-authusername"), "fireuser", "{provider}");
        let (status, message) = answer_to(live, &instance, &text(&tokens, "id_token")).await;
        assert!(status == 401, "{provider}: {status} {message}");
    }
}

pub async fn what_keycloak_did_not_issue_for_us_is_refused(live: &Live) {
    let (keycloak, instance) = (Keycloak::new(live), instance(live, &[]).await);
    let realm = keycloak.realm();
    let grant = keycloak.grant(&realm, CLIENT, &password("fireuser")).await;
    for (kind, reason) in [("id_token", "another kind of token"), ("refresh_token", "is not valid")] {
        let (status, message) = answer_to(live, &instance, &text(&grant, kind)).await;
        assert!(status == 401 && message.contains(reason), "{kind}: {status} {message}");
    }
    assert_eq!(answer_to(live, &instance, &text(&grant, "access_token")).await.0, 200);

    let without_audience = |client: &mut Value| {
        client["protocolMappers"].as_array_mut().unwrap().retain(|mapper| mapper["name"] != "audience");
    };
    keycloak.add_client("live-elsewhere", without_audience).await;
    let (status, message) = answer_to(live, &instance, &keycloak.person("live-elsewhere", "fireuser").await).await;
    assert!(status == 401 && message.contains("another audience"), "{status} {message}");

    // The same keys sign, and the realm calls itself something else.
    let frontend = |url: &str| Some(json!({"attributes": {"frontendUrl": url}}));
    keycloak.admin(Method::PUT, &format!("/{realm}"), frontend("http://elsewhere.example.org")).await;
    let token = keycloak.person(CLIENT, "fireuser").await;
    keycloak.admin(Method::PUT, &format!("/{realm}"), frontend("")).await;
    let (status, message) = answer_to(live, &instance, &token).await;
    assert!(status == 401 && message.contains("another issuer"), "{status} {message}");

    let master = text(&keycloak.admin_token().await, "access_token");
    let (status, message) = answer_to(live, &instance, &master).await;
    assert!(status == 401 && message.contains("another issuer"), "{status} {message}");
}

pub async fn a_token_of_keycloak_ends_when_it_says(live: &Live) {
    let keycloak = Keycloak::new(live);
    keycloak.add_client("live-brief", |client| client["attributes"]["access.token.lifespan"] = json!("4")).await;
    // Thirty seconds must be left of a token by default, so that it is not passed on to end under way.
    let usual = instance(live, &[]).await;
    let (status, message) = answer_to(live, &usual, &keycloak.person("live-brief", "fireuser").await).await;
    assert!(status == 401 && message.contains("at least 30 s are required"), "{status} {message}");

    let without_rest = |config: String| config.replacen("    username_claim:", "    min_token_ttl: 0\n    username_claim:", 1);
    let lenient = Instance::start_edited(live, &["--identity", "keycloak"], without_rest).await;
    let token = keycloak.person("live-brief", "fireuser").await;
    assert_eq!(answer_to(live, &lenient, &token).await.0, 200);
    wait_for("the token has expired", Duration::from_secs(20), || async {
        answer_to(live, &lenient, &token).await.1.contains("it has expired").then_some(())
    })
    .await;
}

pub async fn a_key_that_keycloak_rotates_is_taken_up_and_given_up_while_running(live: &Live) {
    let keycloak = Keycloak::new(live);
    let instance = instance(live, &["--keys-refresh", "5"]).await;
    let before = keycloak.person(CLIENT, "fireuser").await;
    assert_eq!(answer_to(live, &instance, &before).await.0, 200);
    let provider = keycloak.add_key().await;
    let after = keycloak.person(CLIENT, "fireuser").await;
    let header = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(header(&before), header(&after), "Keycloak signs with the new key");
    wait_for("a token of the new key is accepted", Duration::from_secs(30), || async {
        (answer_to(live, &instance, &after).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(answer_to(live, &instance, &before).await.0, 200, "the older key is still published");
    keycloak.remove_keys_but(&provider).await;
    wait_for("a token of the removed key is refused", Duration::from_secs(30), || async {
        (answer_to(live, &instance, &before).await.0 == 401).then_some(())
    })
    .await;
    assert_eq!(answer_to(live, &instance, &after).await.0, 200);
}

pub async fn known_keys_serve_on_while_the_provider_cannot_be_reached(live: &Live) {
    let keycloak = Keycloak::new(live);
    let keys = reqwest::Url::parse(&live.text("keycloak", "/jwksUrl")).unwrap();
    let mut relay = Relay::to(keys.port().unwrap()).await;
    let url = format!("http://127.0.0.1:{}{}", relay.port, keys.path());
    let instance = instance(live, &["--keys-url", &url, "--keys-refresh", "1"]).await;
    let first = keycloak.person(CLIENT, "fireuser").await;
    wait_for("the keys are read", Duration::from_secs(20), || async { (answer_to(live, &instance, &first).await.0 == 200).then_some(()) })
        .await;

    relay.cut().await;
    wait_for("the keys could not be read", Duration::from_secs(20), || async {
        instance.log().contains("the last keys are kept").then_some(())
    })
    .await;
    let second = keycloak.person(CLIENT, "fireuser").await;
    assert_ne!(first, second, "it was never seen before");
    assert_eq!(answer_to(live, &instance, &second).await.0, 200);

    // A key that came meanwhile: neither accepted nor called wrong, until the provider can be asked.
    keycloak.add_key().await;
    let third = keycloak.person(CLIENT, "fireuser").await;
    assert_eq!(answer_to(live, &instance, &third).await.0, 503);
    relay.open().await;
    wait_for("the new key is read", Duration::from_secs(30), || async {
        (answer_to(live, &instance, &third).await.0 == 200).then_some(())
    })
    .await;
}

pub async fn the_groups_of_a_keycloak_token_open_what_the_store_grants_to_them(live: &Live) {
    let keycloak = Keycloak::new(live);
    let store = Store::new(
        live,
        &[["group:/hpc/users#member", "access", "system:slurm"], ["group:/hpc/services#member", "admin", "system:slurm-tight"]],
    )
    .await;
    let instance = instance(live, &["--authorization-store", &store.name]).await;
    for (token, home, open, closed) in [
        (keycloak.person(CLIENT, "fireuser").await, "/home/fireuser", "slurm", "slurm-tight"),
        (keycloak.service(CHECKER).await, "/home/firesrv", "slurm-tight", "slurm"),
    ] {
        let api = live.api_at_with(&instance.url(), &token);
        api.file(open, "ls", home).await.expect(200);
        api.file(closed, "ls", home).await.expect(403);
        assert_eq!(api.systems().await, [open]);
    }
}
