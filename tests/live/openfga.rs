//! Stores of the environment's OpenFGA server, one for each scenario that needs its own tuples.

use reqwest::Client;
use serde_json::{Value, json};

use crate::environment::Live;

/// A store with the committed model.
pub struct Store {
    http: Client,
    url: String,
    token: String,
    pub name: String,
    id: String,
    /// The id of its newest model.
    pub model: String,
}

impl Store {
    /// Makes a store with these tuples: user, relation, object.
    pub async fn new(live: &Live, tuples: &[[&str; 3]]) -> Self {
        Self::at(live, &live.file("openfga", "url"), &live.file("openfga", "token"), tuples).await
    }

    /// As [`Self::new`], at another server.
    pub async fn at(live: &Live, url: &str, token: &str, tuples: &[[&str; 3]]) -> Self {
        let mut store = Self {
            http: live.http().clone(),
            url: url.to_owned(),
            token: token.to_owned(),
            name: format!("goldcrest-live-{}", uuid::Uuid::new_v4().simple()),
            id: String::new(),
            model: String::new(),
        };
        store.id = text(&store.post("/stores", &json!({"name": store.name})).await, "id");
        store.load_model(|_| {}).await;
        store.change("writes", tuples).await;
        store
    }

    /// Loads the committed model, changed, as the newest one.
    pub async fn load_model(&mut self, change: impl FnOnce(&mut Value)) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/build/environment/openfga/model.json");
        let mut model: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        change(&mut model);
        let answer = self.post(&format!("/stores/{}/authorization-models", self.id), &model).await;
        self.model = text(&answer, "authorization_model_id");
    }

    /// Adds tuples.
    pub async fn write(&self, tuples: &[[&str; 3]]) {
        self.change("writes", tuples).await;
    }

    /// Removes tuples.
    pub async fn delete(&self, tuples: &[[&str; 3]]) {
        self.change("deletes", tuples).await;
    }

    async fn change(&self, kind: &str, tuples: &[[&str; 3]]) {
        let tuples: Vec<Value> =
            tuples.iter().map(|[user, relation, object]| json!({"user": user, "relation": relation, "object": object})).collect();
        if !tuples.is_empty() {
            self.post(&format!("/stores/{}/write", self.id), &json!({kind: {"tuple_keys": tuples}})).await;
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}
