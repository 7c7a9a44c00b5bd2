//! Copies from one system of the environment to another.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::client::Api;
use crate::environment::{Live, wait_for};
use crate::instance::Instance;
use crate::relay::Relay;
use crate::streams::{output, random_file};

const MIB: u64 = 1024 * 1024;

/// The most that a copy of any size may add to the memory of a process that copies already.
const MAX_ADDED: u64 = 64 * MIB;

/// A file of 200 MiB and a tree of `GOLDCREST_COPY_FILES` (2,000) files, from an ordinary system to one with its own certificate
/// authority. The line to that one is away for 20 s, and the process is killed: both times the copy goes on where it was.
pub async fn a_tree_arrives_whole_over_a_cut_line_and_a_kill_of_the_process(live: &Live) {
    let (state, hosts) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let port = u16::try_from(live.number("openssh", "/instances/ca/port")).unwrap();
    let known = live.text("openssh", "/knownHosts");
    let mut relay = Relay::to(port).await;
    let through = relay.port;
    let lines = std::fs::read_to_string(&known).unwrap();
    std::fs::write(hosts.path(), lines.replace(&format!(":{port} "), &format!(":{through} "))).unwrap();
    let edit = |config: String| {
        let (before, ca) = config.split_once("  - name: ca\n").unwrap();
        let ca = ca.replacen(&format!("port: {port}"), &format!("port: {through}"), 1);
        let ca = ca.replacen(&known, hosts.path().to_str().unwrap(), 1);
        format!("{before}  - name: ca\n{ca}\nstore:\n  type: sqlite\n  state_dir: {}\n", state.path().display())
    };
    let mut instance = Instance::start_edited(live, &[], edit).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let tree = format!("{folder}/tree");
    let number_of_files: usize = std::env::var("GOLDCREST_COPY_FILES").map_or(2_000, |number| number.parse().unwrap());
    for number in 0..number_of_files {
        let directory = Path::new(&tree).join((number % 50).to_string());
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(number.to_string()), format!("{number}\n").repeat(number % 100)).unwrap();
    }
    random_file(&Path::new(&tree).join("7/large"), 200 * MIB).await;
    output(Command::new("chown").args(["-R", "fireuser:", &tree])).await;

    let request = json!({"sourcePath": tree, "targetSystem": "ca", "targetPath": format!("{folder}/copy")});
    let answer = api.post("/filesystem/slurm/transfer/copy-to", &request).await.expect(201);
    let address = answer.header("location").to_owned();
    until(&api, &address, "the copy is under way", |task| task["progress"]["files"].as_u64() > Some(100)).await;
    let before = instance.peak_memory();
    until(&api, &address, "500 files are copied", |task| task["progress"]["files"].as_u64() > Some(500)).await;
    relay.cut().await;
    let waits = until(&api, &address, "the task waits for the line", |task| task["state"] == "waiting").await;
    assert_eq!(waits["reason"]["status"], 424, "{waits}");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let files = task(&api, &address).await["progress"]["files"].clone();
    relay.open().await;
    let goes_on = until(&api, &address, "the copy goes on", |task| task["progress"]["files"].as_u64() > files.as_u64()).await;
    let reached = &goes_on["progress"]["files"];
    let added = instance.peak_memory().saturating_sub(before);
    instance.signal(Signal::KILL);
    instance.gone().await;
    drop(instance);

    let began = Instant::now();
    let instance = Instance::start_edited(live, &[], edit).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    until(&api, &address, "the new process goes on", |task| task["progress"]["files"].as_u64() > reached.as_u64()).await;
    let before = instance.peak_memory();
    let task = until(&api, &address, "the copy has ended", |task| task["isFinal"] == true).await;
    println!("copies: {task}, {} s after the kill", began.elapsed().as_secs());
    assert_eq!(task["state"], "completed", "{task}");
    assert_eq!(task["progress"]["files"], number_of_files + 1, "{task}");
    assert_eq!(task["progress"]["bytes"], task["progress"]["totalBytes"], "{task}");
    output(Command::new("diff").args(["-r", &tree, &format!("{folder}/copy")])).await;
    let hidden = output(Command::new("find").args([&folder, "-name", ".*"])).await;
    assert_eq!(hidden, "", "something stayed behind");
    let added = added.max(instance.peak_memory().saturating_sub(before));
    assert!(added < MAX_ADDED, "{} MiB", added / MIB);
    // Too many files for a request.
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn task(api: &Api, address: &str) -> Value {
    api.get(address, &[]).await.expect(200).json()
}

async fn until(api: &Api, address: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, Duration::from_secs(240), || async {
        let found = task(api, address).await;
        assert!(found["isFinal"] == false || is_so(&found), "{what}: {found}");
        is_so(&found).then_some(found)
    })
    .await
}
