//! End to end: HTTP requests of a client to a Goldcrest whose cluster runs PBS.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use goldcrest::app::App;
use goldcrest::config;
use goldcrest::credentials;
use goldcrest::demo::{DemoArgs, Output, issuer, run_until};
use goldcrest::domain::Secret;
use goldcrest::lifecycle::Lifecycle;
use goldcrest::scheduler::{self, CommandsOnly};
use goldcrest::ssh::HostKeys;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::Node;
use crate::support::{PATIENCE, wait_for, wait_until};

/// A demonstration whose one cluster is a login node with PBS.
struct Site {
    client: Client,
    url: String,
    token: String,
    home: PathBuf,
    lifecycle: Lifecycle,
}

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Site {
    async fn start() -> Self {
        let home = Arc::new(Mutex::new(PathBuf::new()));
        let told = Arc::clone(&home);
        let proxy = move |text: String, issuer, listener, stop| async move {
            let mut config = config::from_yaml(&text, std::iter::empty())?.config;
            let credentials::Config::StaticKeys(keys) = &mut config.ssh_credentials else { panic!("the demonstration has keys") };
            let (user, key) = keys.keys.iter_mut().next().expect("the demonstration's user");
            let node = Node::of(user.as_str()).await;
            key.private_key = Secret::from(node.server.client_private_key.expose().to_owned());
            let cluster = &mut config.clusters[0];
            let common = cluster.scheduler.as_ref().expect("a scheduler").common().clone();
            cluster.scheduler =
                Some(scheduler::Config::Pbs { common, connection_mode: CommandsOnly::Ssh, pbs: scheduler::pbs::Config::default() });
            let ssh = cluster.ssh.as_mut().expect("SSH");
            ssh.port = node.server.addr.port();
            ssh.host_keys = Some(HostKeys::Pinned(vec![node.server.host_public_key.clone()]));
            node.home.clone_into(&mut told.lock().unwrap());
            App::build(config)?.with_routes_beside(move |api| issuer::beside(api, Arc::clone(&issuer))).serve(listener, stop).await;
            Ok(())
        };
        let (lifecycle, printed) = (Lifecycle::new(), Printed::default());
        let (life, mut sink) = (lifecycle.clone(), printed.clone());
        tokio::spawn(async move {
            let args = DemoArgs { address: Ipv4Addr::LOCALHOST.into(), port: 0, output: Output::Json, home: None, print_config: false };
            run_until(&args, proxy, &life, &mut sink).await
        });
        wait_for(PATIENCE, || printed.0.lock().unwrap().ends_with(b"\n")).await;
        let line: Value = serde_json::from_slice(&printed.0.lock().unwrap()).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let client = Client::new();
        let form =
            [("grant_type", "client_credentials".to_owned()), ("client_id", text("clientId")), ("client_secret", text("clientSecret"))];
        let answer = client.post(format!("{}/token", text("issuer"))).form(&form).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let system = line["systems"][0].as_str().unwrap();
        let home = home.lock().unwrap().clone();
        let site = Self { client, url: format!("{}/compute/{system}/jobs", text("url")), token, home, lifecycle };
        // Until the cluster was looked at for the first time.
        wait_until(PATIENCE, async || site.call(Method::GET, "", Value::Null).await.0 == 200).await;
        site
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn submit(&self, name: &str, script: &str) -> (u16, Value) {
        let job = json!({"name": name, "workingDirectory": self.home, "script": script, "env": {"GIVEN": "a,b 'c'"}});
        self.call(Method::POST, "", json!({"job": job})).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.lifecycle.token().cancel();
    }
}

#[tokio::test]
async fn a_client_of_firecrest_runs_a_job_and_an_array() {
    let site = Site::start().await;
    assert_eq!(site.submit("waits", "sleep 600\n").await, (201, json!({"jobId": "0"})));
    assert_eq!(site.submit("array", "#PBS -J 1-2\nsleep 600\n").await, (201, json!({"jobId": "1[]"})));
    let (status, listed) = site.call(Method::GET, "", Value::Null).await;
    let ids: Vec<&Value> = listed["jobs"].as_array().unwrap().iter().map(|job| &job["jobId"]).collect();
    assert_eq!((status, ids), (200, vec![&json!("0"), &json!("1[]")]));

    // An id stands in a path with its brackets and its server, encoded or not.
    for id in ["/1%5B2%5D", "/1[2]", "/1%5B2%5D.srv"] {
        let (status, answer) = site.call(Method::GET, id, Value::Null).await;
        assert_eq!((status, &answer["jobs"][0]["jobId"]), (200, &json!("1[2]")), "{id}");
    }
    let (status, files) = site.call(Method::GET, "/0/metadata", Value::Null).await;
    assert_eq!((status, files["jobs"][0]["standardOutput"].as_str()), (200, site.home.join("waits.o0").to_str()));

    assert_eq!(site.call(Method::DELETE, "/0", Value::Null).await.0, 204);
    let (_, answer) = site.call(Method::GET, "/0", Value::Null).await;
    assert_eq!(answer["jobs"][0]["status"]["state"], "CANCELLED");
    assert_eq!(answer["jobs"][0]["status"]["interruptSignal"], 15);
}

#[tokio::test]
async fn the_output_that_pbs_moves_to_its_place_at_the_end_is_read_and_followed() {
    let site = Site::start().await;
    let logs = async |query: &str| {
        let answer = site.client.get(format!("{}{query}", site.url)).bearer_auth(&site.token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(site.submit("talks", "echo said; echo wrong >&2\n").await.0, 201);
    assert_eq!(logs("/0/logs").await, (200, "said\n".to_owned()));
    assert_eq!(logs("/0/logs?follow=true&stream=stderr").await, (200, "wrong\n".to_owned()));
    // It runs, and its output is in the spool.
    assert_eq!(site.submit("waits", "sleep 600\n").await.0, 201);
    assert_eq!(logs("/1/logs").await, (200, String::new()));
    let following = logs("/1/logs?follow=true");
    let ends = async {
        std::fs::write(site.home.join("waits.o1"), "at last\n").unwrap();
        site.call(Method::DELETE, "/1", Value::Null).await.0
    };
    assert_eq!(tokio::join!(following, ends), ((200, "at last\n".to_owned()), 204));
}

#[tokio::test]
async fn what_goes_wrong_has_its_status() {
    let site = Site::start().await;
    let (status, answer) = site.call(Method::GET, "/99", Value::Null).await;
    assert_eq!((status, answer["message"].as_str()), (404, Some("Job not found")));
    assert_eq!(site.call(Method::DELETE, "/99", Value::Null).await.0, 404);
    let (status, answer) = site.call(Method::PUT, "/99/attach", json!({"command": "hostname"})).await;
    assert_eq!(status, 501, "{answer}");
    let body = json!({"job": {"workingDirectory": "/", "script": "true\n", "partition": "nope"}});
    let (status, answer) = site.call(Method::POST, "", body).await;
    assert_eq!((status, answer["message"].as_str()), (400, Some("Unknown queue")));
    std::fs::create_dir_all(site.home.join("pbs")).unwrap();
    std::fs::write(site.home.join("pbs/mode"), "down").unwrap();
    assert_eq!(site.call(Method::GET, "/99", Value::Null).await.0, 503);
}
