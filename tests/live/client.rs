//! A client that keeps the whole answer, and shows it when it is not the one expected.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::environment::wait_for;

/// The API at one address, with one token.
#[derive(Clone)]
pub struct Api {
    http: Client,
    url: String,
    token: Option<String>,
}

/// An answer, whole.
pub struct Answer {
    request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{} is no JSON: {error}", self.show()))
    }

    /// The answer, when it has this status; a failure that shows it otherwise.
    pub fn expect(self, status: u16) -> Self {
        assert!(self.status == status, "expected {status}, got {}", self.show());
        self
    }

    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `message` of an error body.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_else(|| panic!("no message: {}", self.show())).to_owned()
    }

    fn show(&self) -> String {
        format!("{} -> {}: {}", self.request, self.status, String::from_utf8_lossy(&self.body[..self.body.len().min(600)]))
    }
}

impl Api {
    /// An API at this address.
    pub fn new(http: Client, url: &str, token: Option<String>) -> Self {
        Self { http, url: url.to_owned(), token }
    }

    /// GET with query parameters.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// DELETE with query parameters.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.send(self.request(Method::DELETE, path).query(query)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// A request that the caller goes on with.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let shown = format!("{} {}", request.method(), request.url());
        let response = self.http.execute(request).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|error| panic!("the body of {shown}: {error}"));
        Answer { request: shown, status, headers, body }
    }

    /// The names of the systems that the caller is shown, in order.
    pub async fn systems(&self) -> Vec<String> {
        let systems = self.get("/status/systems", &[]).await.expect(200).json();
        let name = |system: &Value| system["name"].as_str().expect("a name").to_owned();
        systems["systems"].as_array().expect("a list").iter().map(name).collect()
    }

    /// `GET /filesystem/{system}/ops/{operation}?path=`.
    pub async fn file(&self, system: &str, operation: &str, path: &str) -> Answer {
        self.get(&format!("/filesystem/{system}/ops/{operation}"), &[("path", path)]).await
    }

    /// Uploads a file into a directory.
    pub async fn upload(&self, system: &str, directory: &str, name: &str, content: &[u8]) -> Answer {
        let (content_type, body) = multipart(name, content);
        let request = self
            .request(Method::POST, &format!("/filesystem/{system}/ops/upload"))
            .query(&[("path", directory)])
            .header("content-type", content_type)
            .body(body);
        self.send(request).await
    }

    /// Makes a folder in the caller's home that no other run has used, and answers with its path.
    pub async fn new_folder(&self, system: &str, user: &str) -> String {
        let path = format!("/home/{user}/live-{}", uuid::Uuid::new_v4().simple());
        self.post(&format!("/filesystem/{system}/ops/mkdir"), &json!({"sourcePath": path, "parent": true})).await.expect(201);
        path
    }

    /// Removes a file or folder.
    pub async fn remove(&self, system: &str, path: &str) {
        self.delete(&format!("/filesystem/{system}/ops/rm"), &[("path", path)]).await.expect(204);
    }

    /// Submits a script and answers with the job's id.
    pub async fn submit(&self, system: &str, folder: &str, script: &str) -> String {
        let job = json!({"job": {"name": "goldcrest-live", "workingDirectory": folder, "script": script}});
        let answer = self.post(&format!("/compute/{system}/jobs"), &job).await.expect(201);
        answer.json()["jobId"].as_str().expect("a job id that is text").to_owned()
    }

    /// Waits until a job's state is one of these; a job that the scheduler does not show yet counts as not there.
    pub async fn wait_for_state(&self, system: &str, id: &str, states: &[&str]) -> Value {
        wait_for(&format!("job {id} is {states:?}"), Duration::from_secs(90), || async {
            let answer = self.get(&format!("/compute/{system}/jobs/{id}"), &[]).await;
            if answer.status == 404 {
                return None;
            }
            let job = answer.expect(200).json()["jobs"][0].clone();
            let state = job["status"]["state"].as_str().expect("a state").to_owned();
            states.iter().any(|wanted| state.contains(wanted)).then_some(job)
        })
        .await
    }
}

/// A `multipart/form-data` body (RFC 7578) with one part named `file`, and its content type.
pub fn multipart(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    let boundary = format!("goldcrest{}", uuid::Uuid::new_v4().simple());
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
