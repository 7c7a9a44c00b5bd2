//! Tokens of a real JupyterHub, Goldcrest as a service of it, and the introspection endpoint of a real Keycloak.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::connections;
use crate::environment::{Live, wait_for};
use crate::instance::Instance;
use crate::keycloak::{CLIENT, Keycloak, succeed, text};

/// A call of the Hub's API as the service `tests`, which must succeed; answers with the body, or null where there is none.
async fn hub(live: &Live, method: Method, path: &str, body: Option<Value>) -> Value {
    let url = format!("{}{path}", live.text("jupyterhub", "/apiUrl"));
    let mut request = live.http().request(method, url).header("authorization", format!("token {}", live.file("jupyterhub", "tests.token")));
    if let Some(body) = body {
        request = request.json(&body);
    }
    succeed(request, path).await
}

/// A new token of a user, with all of the user's scopes or with these, and its id.
async fn token(live: &Live, user: &str, scopes: Option<&[&str]>) -> (String, String) {
    let mut body = json!({"note": "live test"});
    if let Some(scopes) = scopes {
        body["scopes"] = json!(scopes);
    }
    let made = hub(live, Method::POST, &format!("/users/{user}/tokens"), Some(body)).await;
    (text(&made, "token"), text(&made, "id"))
}

/// The section for the Hub of the environment.
fn section(live: &Live) -> String {
    let (url, scope) = (live.text("jupyterhub", "/apiUrl"), live.text("jupyterhub", "/serviceScope"));
    format!("{{type: jupyterhub, api_url: \"{url}\", scopes: [\"{scope}\"], cache_seconds: 1}}")
}

/// A configuration with these validators.
fn with_validators(config: &str, validators: &str) -> String {
    config.replacen("  authentication:\n", &format!("  authentication:\n    validators: [{validators}]\n"), 1)
}

async fn with_hub(live: &Live) -> Instance {
    let section = section(live);
    Instance::start_edited(live, &[], |config| with_validators(&config, &format!("{{type: jwt}}, {section}"))).await
}

/// `GET` as the clients of JupyterHub send it.
async fn get(api: &Api, path: &str, token: &str) -> Answer {
    api.send(api.request(Method::GET, path).header("authorization", format!("token {token}"))).await
}

/// The API at an address, with no token of its own.
fn nobody(live: &Live, url: &str) -> Api {
    Api::new(live.http().clone(), url, None)
}

pub async fn a_user_of_the_hub_uses_the_api_as_far_as_the_policy_gives_it(live: &Live) {
    let instance = with_hub(live).await;
    let api = nobody(live, &instance.url());
    let (fireuser, _) = token(live, "fireuser", None).await;
    let whoami = get(&api, "/status/whoami", &fireuser).await.expect(200).json();
    assert_eq!((&whoami["username"], &whoami["serviceAccount"]), (&json!("fireuser"), &json!(false)), "{whoami}");
    assert_eq!(whoami["groups"], json!(["goldcrest-fireuser"]), "{whoami}");
    get(&api, "/filesystem/slurm/ops/ls?path=/home/fireuser", &fireuser).await.expect(200);
    let bearer = live.api_at_with(&instance.url(), &fireuser);
    let directory = format!("/home/fireuser/hub-{}", uuid::Uuid::new_v4().simple());
    bearer.post("/filesystem/slurm/ops/mkdir", &json!({"path": directory})).await.expect(201);
    bearer.delete("/filesystem/slurm/ops/rm", &[("path", directory.as_str())]).await.expect(204);
    get(&api, "/filesystem/slurm/ops/ls?path=/home/fireuser", &live.token("fireuser", None).await).await.expect(200);

    // Another user has another home, and what the cluster or the policy refuses is refused.
    let (otheruser, _) = token(live, "otheruser", None).await;
    let ls = get(&api, "/filesystem/slurm/ops/ls?path=/home/otheruser", &otheruser).await.expect(200);
    assert_eq!(ls.header("f7t-authusername"), "otheruser");
    get(&api, "/status/none/nodes", &otheruser).await.expect(404);

    let log = instance.log();
    for line in ["\"validator\":\"jupyterhub\"", "\"validator\":\"jwt\""] {
        assert!(log.contains(line), "{line} is not in the log");
    }
    let audited = log.lines().any(|line| line.contains("\"target\":\"audit\"") && line.contains("\"validator\":\"jupyterhub\""));
    assert!(audited, "the audit trail names the validator");
    for secret in [&fireuser, &otheruser] {
        assert!(!log.contains(secret.as_str()), "the log holds a token");
    }
}

pub async fn tokens_that_the_hub_does_not_know_has_revoked_or_limited_are_refused(live: &Live) {
    let instance = with_hub(live).await;
    let api = nobody(live, &instance.url());
    let unknown = get(&api, "/status/systems", "0123456789abcdef").await.expect(401);
    assert!(unknown.message().contains("the JupyterHub does not know it"), "{}", unknown.message());

    let (limited, _) = token(live, "fireuser", Some(&["read:users:name!user=fireuser"])).await;
    let refused = get(&api, "/status/systems", &limited).await.expect(403);
    assert!(refused.message().contains("access:services!service=goldcrest"), "{}", refused.message());

    let (token, id) = token(live, "fireuser", None).await;
    get(&api, "/status/systems", &token).await.expect(200);
    hub(live, Method::DELETE, &format!("/users/fireuser/tokens/{id}"), None).await;
    wait_for("the revoked token is refused", Duration::from_secs(10), || async {
        (get(&api, "/status/systems", &token).await.status == 401).then_some(())
    })
    .await;
}

pub async fn the_hub_runs_it_as_a_service_behind_its_proxy(live: &Live) {
    let text = live.file("jupyterhub", "service.env");
    let variables: Vec<(String, String)> =
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let port = u16::try_from(live.number("jupyterhub", "/servicePort")).unwrap();
    let as_service = |config: String| {
        let listen = config.lines().find(|line| line.trim_start().starts_with("listen:")).unwrap().to_owned();
        with_validators(&config.replacen(&format!("{listen}\n"), "", 1), "{type: jwt}, {type: jupyterhub, as_service: true}")
    };
    let _instance = Instance::start_at(live, port, &[], as_service, &variables).await;
    let (fireuser, _) = token(live, "fireuser", None).await;
    let api = nobody(live, &format!("{}/services/goldcrest", live.text("jupyterhub", "/url")));
    let whoami = get(&api, "/status/whoami", &fireuser).await.expect(200).json();
    assert_eq!(whoami["username"], "fireuser", "{whoami}");
    let document = api.get("/openapi.json", &[]).await.expect(200).json();
    assert_eq!(document["servers"][0]["url"], "/jupyter/services/goldcrest", "the pages know the prefix");
    let (limited, _) = token(live, "fireuser", Some(&["read:users:name!user=fireuser"])).await;
    get(&api, "/status/systems", &limited).await.expect(403);
}

pub async fn the_hub_is_tried_with_the_connections(live: &Live) {
    let section = section(live);
    let token = live.path("jupyterhub", "tests.token").display().to_string();
    let with_token = format!("{}, api_token: \"secret_file:{token}\"}}", section.trim_end_matches('}'));
    let (status, printed) = connections::connect(live, |config| with_validators(&config, &format!("{{type: jwt}}, {with_token}"))).await;
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("site: JupyterHub (version 6.1.1, Goldcrest is the service tests)"), "{printed}");

    let wrong = with_token.replace(&format!("secret_file:{token}"), "no-such-token");
    let (status, printed) = connections::connect(live, |config| with_validators(&config, &format!("{{type: jwt}}, {wrong}"))).await;
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains("refuses Goldcrest's own credentials (api_token)") && !printed.contains("no-such-token"), "{printed}");
}

pub async fn keycloak_vouches_for_tokens_and_takes_them_back(live: &Live) {
    let keycloak = Keycloak::new(live);
    let issuer = live.text("keycloak", "/issuer");
    let section = format!(
        "{{type: introspection, url: \"{issuer}/protocol/openid-connect/token/introspect\", client_id: {CLIENT}, \
         client_secret: demo-only-{CLIENT}, username_claim: username, audience: [goldcrest], cache_seconds: 1}}"
    );
    let instance = Instance::start_edited(live, &[], |config| with_validators(&config, &format!("{{type: jwt}}, {section}"))).await;
    let grant = keycloak.grant(&keycloak.realm(), CLIENT, &crate::keycloak::password("fireuser")).await;
    let token = text(&grant, "access_token");
    let api = live.api_at_with(&instance.url(), &token);
    api.get("/status/whoami", &[]).await.expect(200);
    assert!(instance.log().contains("\"validator\":\"introspection\""), "{}", instance.log());
    let form = [("client_id", CLIENT), ("client_secret", "demo-only-firecrest-test-client"), ("token", token.as_str())];
    let revoked = live.http().post(format!("{issuer}/protocol/openid-connect/revoke")).form(&form).send().await.unwrap();
    assert!(revoked.status().is_success(), "{}", revoked.status());
    wait_for("the revoked token is refused", Duration::from_secs(10), || async {
        (api.get("/status/whoami", &[]).await.status == 401).then_some(())
    })
    .await;
    // A refresh token is active too, and is no access token.
    let refresh = live.api_at_with(&instance.url(), &text(&grant, "refresh_token"));
    assert_eq!(refresh.get("/status/whoami", &[]).await.status, 401);
}
