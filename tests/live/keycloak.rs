//! Keycloak, as its users and as its administrator.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::environment::Live;

/// A client that people and scripts log in with, by password or as itself.
pub const CLIENT: &str = "firecrest-test-client";

/// The realm of the environment's Keycloak.
pub struct Keycloak<'a> {
    live: &'a Live,
    http: Client,
}

impl<'a> Keycloak<'a> {
    pub fn new(live: &'a Live) -> Self {
        Self { live, http: live.http().clone() }
    }

    /// The token endpoint's answer to a client of the realm that has the secret of the demonstration.
    pub async fn grant(&self, realm: &str, client: &str, fields: &[(&str, &str)]) -> Value {
        let url = format!("{}/realms/{realm}/protocol/openid-connect/token", self.live.text("keycloak", "/url"));
        let secret = format!("demo-only-{client}");
        let mut form = vec![("client_id", client), ("client_secret", secret.as_str())];
        form.extend(fields);
        let answer: Value = self.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        assert!(answer["access_token"].is_string(), "Keycloak gave no token to {client}: {answer}");
        answer
    }

    /// The access token of a person, by password (RFC 6749, 4.3).
    pub async fn person(&self, client: &str, user: &str) -> String {
        text(&self.grant(&self.realm(), client, &password(user)).await, "access_token")
    }

    /// The access token of a client for itself (RFC 6749, 4.4).
    pub async fn service(&self, client: &str) -> String {
        text(&self.grant(&self.realm(), client, &[("grant_type", "client_credentials")]).await, "access_token")
    }

    /// The realm's name.
    pub fn realm(&self) -> String {
        self.live.text("keycloak", "/realm")
    }

    /// The token endpoint's answer to the administrator of all realms.
    pub async fn admin_token(&self) -> Value {
        let secret = std::fs::read_to_string(self.live.text("keycloak", "/adminSecretFile")).unwrap();
        let url = format!("{}/realms/master/protocol/openid-connect/token", self.live.text("keycloak", "/url"));
        let form = [("grant_type", "password"), ("client_id", "admin-cli"), ("username", "admin"), ("password", secret.trim())];
        self.http.post(url).form(&form).send().await.unwrap().json().await.unwrap()
    }

    /// A call of the admin API below `/admin/realms`, which must succeed; answers with the body, or null where there is none.
    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = self.live.text("keycloak", "/url");
        let token = text(&self.admin_token().await, "access_token");
        let mut request = self.http.request(method, format!("{url}/admin/realms{path}")).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        succeed(request, path).await
    }

    /// A client like [`CLIENT`] with some members changed, made anew.
    pub async fn add_client(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let realm: Value = serde_json::from_slice(&std::fs::read(self.live.text("keycloak", "/realmFile")).unwrap()).unwrap();
        let mut client = realm["clients"].as_array().unwrap().iter().find(|client| client["clientId"] == CLIENT).unwrap().clone();
        client["clientId"] = json!(name);
        client["secret"] = json!(format!("demo-only-{name}"));
        change(&mut client);
        let realm = self.realm();
        let existing = self.admin(Method::GET, &format!("/{realm}/clients?clientId={name}"), None).await;
        for old in existing.as_array().unwrap() {
            self.admin(Method::DELETE, &format!("/{realm}/clients/{}", text(old, "id")), None).await;
        }
        self.admin(Method::POST, &format!("/{realm}/clients"), Some(client)).await;
    }

    /// Adds a signing key above all others, and answers with the id of its provider.
    pub async fn add_key(&self) -> String {
        let realm = self.admin(Method::GET, &format!("/{}", self.realm()), None).await;
        let providers = self.key_providers().await;
        let priority = |provider: &Value| provider["config"]["priority"][0].as_str().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
        let highest = providers.iter().map(priority).max().unwrap_or(0);
        let name = format!("live-{}", uuid::Uuid::new_v4().simple());
        let provider = json!({
            "name": name, "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider", "parentId": realm["id"],
            "config": {"priority": [(highest + 1).to_string()], "algorithm": ["RS256"], "keySize": ["2048"], "active": ["true"], "enabled": ["true"]},
        });
        self.admin(Method::POST, &format!("/{}/components", self.realm()), Some(provider)).await;
        let added = self.key_providers().await.into_iter().find(|provider| provider["name"] == name.as_str());
        text(&added.expect("the key that was added"), "id")
    }

    /// Removes every signing key for RS256 but that of one provider.
    pub async fn remove_keys_but(&self, provider: &str) {
        for other in self.key_providers().await {
            if other["id"] != provider {
                self.admin(Method::DELETE, &format!("/{}/components/{}", self.realm(), text(&other, "id")), None).await;
            }
        }
    }

    async fn key_providers(&self) -> Vec<Value> {
        let path = format!("/{}/components?type=org.keycloak.keys.KeyProvider", self.realm());
        let all = self.admin(Method::GET, &path, None).await;
        let signs = |provider: &Value| provider["providerId"] == "rsa-generated";
        all.as_array().unwrap().iter().filter(|provider| signs(provider)).cloned().collect()
    }
}

/// The fields of the password grant for a user of the demonstration, with an ID token asked for too.
pub fn password(user: &str) -> [(&'static str, &'static str); 4] {
    let (user, password) = match user {
        "fireuser" => ("fireuser", "demo-only-fireuser"),
        "firesrv" => ("firesrv", "demo-only-firesrv"),
        other => panic!("the realm has no user {other}"),
    };
    [("grant_type", "password"), ("username", user), ("password", password), ("scope", "openid")]
}

/// Sends a request for `path`, which must succeed; answers with the body, or null where there is none.
pub async fn succeed(request: reqwest::RequestBuilder, path: &str) -> Value {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {body}");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

/// A member that is text.
pub fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}
