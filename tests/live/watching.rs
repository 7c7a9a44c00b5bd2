//! Waiting for jobs of a real Slurm, and their events.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use reqwest::{Method, Response};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Api;
use crate::environment::Live;
use crate::instance::Instance;

/// The default of `scheduler.job_mirror.interval`.
const INTERVAL: Duration = Duration::from_secs(5);

/// The longest from the end of a job to its event, and a second for the times of Slurm, which are whole seconds.
const MAX_DELAY: Duration = Duration::from_secs(5 + 1 + 1);

pub async fn the_end_of_a_job_is_told_within_the_interval(live: &Live) {
    let instance = Instance::start(live, &[]).await;
    for system in ["slurm", "slurm-tight"] {
        let api = live.api_at(&instance.url(), "fireuser").await;
        let folder = api.new_folder(system, "fireuser").await;
        let mut all = Events::open(&api, &format!("/compute/{system}/jobs/events"), None).await;
        let id = api.submit(system, &folder, "#!/bin/bash\nsleep 3\n").await;
        let mut single = Events::open(&api, &format!("/compute/{system}/jobs/{id}/events"), None).await;
        all.until(&id, |event| event["isFinal"] == true).await;
        let told = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(single.until(&id, |event| event["isFinal"] == true).await["state"], "COMPLETED", "{system}");
        assert!(single.rest().await.contains("event: end"), "{system}");
        let job = api.wait_for_state(system, &id, &["COMPLETED"]).await;
        let ended = Duration::from_secs(job["time"]["end"].as_u64().expect("a job that ended has its end"));
        let delay = told.saturating_sub(ended);
        println!("{system}: the end was told after {:.1} s", delay.as_secs_f64());
        assert!(delay <= MAX_DELAY, "{system}: told after {delay:?}");
        api.remove(system, &folder).await;
    }
}

pub async fn a_wait_for_a_job_ends_with_it(live: &Live) {
    let instance = Instance::start(live, &[]).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let id = api.submit("slurm", &folder, "#!/bin/bash\nsleep 8\n").await;
    let path = format!("/compute/slurm/jobs/{id}");
    let (mut state, begun, mut requests) = ("PENDING".to_owned(), Instant::now(), 0);
    while !["COMPLETED", "FAILED"].contains(&state.as_str()) {
        let request = api.request(Method::GET, &path).query(&[("since", &state)]).header("prefer", "wait=40");
        let answer = api.send(request).await.expect(200);
        assert_eq!(answer.header("preference-applied"), "wait=40");
        state = answer.json()["jobs"][0]["status"]["state"].as_str().unwrap().to_owned();
        requests += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "the job is {state}");
    }
    assert!(begun.elapsed() < Duration::from_secs(8) + 3 * INTERVAL, "{:?}", begun.elapsed());
    assert!(requests <= 4, "PENDING, RUNNING, COMPLETING and the end are {requests} answers");
    api.remove("slurm", &folder).await;
}

pub async fn no_end_is_missed_over_a_kill_of_the_process(live: &Live) {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("\nstore:\n  type: sqlite\n  state_dir: {}\n", folder.path().display());
    let mut instance = Instance::start_edited(live, &[], |config| config + &store).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let directory = api.new_folder("slurm", "fireuser").await;
    let mut watched = Vec::new();
    for seconds in [5, 6, 30] {
        let id = api.submit("slurm", &directory, &format!("#!/bin/bash\nsleep {seconds}\n")).await;
        let events = Events::open(&api, &format!("/compute/slurm/jobs/{id}/events"), None).await;
        watched.push((id, events));
    }
    for (id, events) in &mut watched {
        events.until(id, |event| event["state"] == "RUNNING").await;
    }
    instance.signal(Signal::KILL);
    instance.gone().await;
    drop(instance);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let instance = Instance::start_edited(live, &[], |config| config + &store).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    for (id, before) in &watched {
        let mut events = Events::open(&api, &format!("/compute/slurm/jobs/{id}/events"), before.last_id()).await;
        let end = events.until(id, |event| event["isFinal"] == true).await;
        assert_eq!(end["state"], "COMPLETED", "{end}");
        assert!(events.rest().await.contains("event: end"));
    }
    api.remove("slurm", &directory).await;
}

pub async fn ten_thousand_watchers_take_little_memory(live: &Live) {
    /// The server takes 10,000 connections at once, and the submission needs one.
    const WATCHERS: usize = 9_990;
    // Of a program that is not optimised, with its connections.
    const MAX_MEMORY: u64 = 512 << 20;
    goldcrest::lifecycle::allow_many_files();
    let allow_many = |config: String| config.replacen("server:\n", "server:\n  max_requests_per_user: 20000\n", 1);
    let instance = Instance::start_edited(live, &[], allow_many).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let token = live.token("fireuser", None).await;
    let request = format!("GET /compute/slurm/jobs/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let before = instance.peak_memory();
    let watch = async || {
        let mut stream = TcpStream::connect(("127.0.0.1", instance.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to(&mut stream, "retry: ").await;
        stream
    };
    let mut watchers = Vec::new();
    while watchers.len() < WATCHERS {
        watchers.extend(join_all((0..200.min(WATCHERS - watchers.len())).map(|_| watch())).await);
    }
    let id = api.submit("slurm", &folder, "#!/bin/bash\ntrue\n").await;
    let end = format!("\"jobId\":\"{id}\"");
    join_all(watchers.iter_mut().map(|stream| read_to(stream, &end))).await;
    let peak = instance.peak_memory();
    println!("{WATCHERS} watchers: {} MiB, {} MiB before", peak >> 20, before >> 20);
    assert!(peak < MAX_MEMORY, "{} MiB", peak >> 20);
    drop(watchers);
    api.remove("slurm", &folder).await;
}

/// Reads until the text has come.
async fn read_to(stream: &mut TcpStream, text: &str) {
    let (mut read, mut piece) = (Vec::new(), [0; 2048]);
    while !String::from_utf8_lossy(&read).contains(text) {
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "it ended without {text}: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
    }
}

/// A stream of events, as far as it was read.
struct Events {
    response: Response,
    text: String,
    read: usize,
}

impl Events {
    async fn open(api: &Api, path: &str, after: Option<String>) -> Self {
        let request = api.request(Method::GET, path).timeout(Duration::from_secs(120));
        let request = after.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        Self { response, text: String::new(), read: 0 }
    }

    /// Reads to the next event of a job that is the one.
    async fn until(&mut self, id: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            while let Some(length) = self.text[self.read..].find("\n\n") {
                let event = &self.text[self.read..self.read + length];
                let data =
                    event.lines().find_map(|line| line.strip_prefix("data: ")).and_then(|data| serde_json::from_str::<Value>(data).ok());
                self.read += length + 2;
                if let Some(event) = data.filter(|event| event["jobId"] == id && is_it(event)) {
                    return event;
                }
            }
            let piece = self.response.chunk().await.unwrap();
            let piece = piece.unwrap_or_else(|| panic!("the events of {id} ended: {}", self.text));
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// Reads to the end.
    async fn rest(mut self) -> String {
        while let Some(piece) = self.response.chunk().await.unwrap() {
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        self.text
    }

    /// The id of the last event.
    fn last_id(&self) -> Option<String> {
        self.text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().map(str::to_owned)
    }
}
