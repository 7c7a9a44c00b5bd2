//! The configuration replaced while requests go on.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::support::{PATIENCE, wait_until};

/// Clients that ask all the time.
const CLIENTS: usize = 8;

/// A program whose log is read.
struct Reloaded {
    program: Program,
    token: String,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Reloaded {
    async fn start(sites: &[Site]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let file = File::create(&log).unwrap();
        let change = |command: &mut Command| {
            command.env("GOLDCREST_LOG", "info").stderr(file);
        };
        let program = Program::spawn(sites, &["ada".to_owned()], "", "", change).await;
        program.is_up().await;
        let token = program.token("ada");
        Self { program, token, log, _folder: folder }
    }

    fn configuration(&self) -> PathBuf {
        self.program.files.path().join("goldcrest.yaml")
    }

    fn change(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.configuration()).unwrap();
        std::fs::write(self.configuration(), change(text)).unwrap();
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.program.child), Signal::HUP).unwrap();
    }

    async fn logged(&self, text: &str, times: usize) {
        wait_until(PATIENCE, async || std::fs::read_to_string(&self.log).unwrap().matches(text).count() >= times).await;
    }

    async fn systems(&self) -> Vec<String> {
        let url = format!("{}/status/systems", self.program.url);
        let answer: Value = self.program.http.get(url).bearer_auth(&self.token).send().await.unwrap().json().await.unwrap();
        answer["systems"].as_array().unwrap().iter().map(|system| system["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// Another name for the second cluster of the file, which then is another cluster.
fn renamed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(&format!("- name: {from}\n")), "{text}");
    text.replace(&format!("- name: {from}\n"), &format!("- name: {to}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_fails_no_request_and_drops_no_lane_that_it_does_not_touch() {
    let (good, other) = (Double::start(Behaviour::default()).await, Double::start(Behaviour::default()).await);
    let reloaded = Reloaded::start(&[Site::of("good", &good), Site::of("first", &other)]).await;
    for system in ["good", "first"] {
        assert_eq!(reloaded.program.stat(system, &reloaded.token).await.0, 200, "{system}");
    }
    let (over, done, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let load = join_all((0..CLIENTS).map(async |_| {
        while !over.load(Ordering::Relaxed) {
            let (status, _) = reloaded.program.stat("good", &reloaded.token).await;
            done.fetch_add(1, Ordering::Relaxed);
            failed.fetch_add(usize::from(status != 200), Ordering::Relaxed);
        }
    }));
    let reloads = async {
        let mut name = "first".to_owned();
        for number in 0..10 {
            let next = format!("other{number}");
            reloaded.change(|text| renamed(&text, &name, &next));
            reloaded.hang_up();
            wait_until(PATIENCE, async || reloaded.systems().await.contains(&next)).await;
            assert_eq!(reloaded.program.stat(&next, &reloaded.token).await.0, 200);
            assert_eq!(reloaded.program.stat(&name, &reloaded.token).await.0, 404, "the former cluster is gone");
            name = next;
        }
        over.store(true, Ordering::Relaxed);
    };
    let logins = good.record.users.lock().unwrap().len();
    tokio::join!(load, reloads);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} requests", done.load(Ordering::Relaxed));
    assert!(done.load(Ordering::Relaxed) > CLIENTS * 10, "there was load: {}", done.load(Ordering::Relaxed));
    // The load may have opened further connections of its lane, but none was opened anew: never more than a user may have.
    let after = good.record.users.lock().unwrap().len();
    assert!(after <= logins + 4, "{after} logins, {logins} before");
    reloaded.logged("the configuration was reloaded", 10).await;
    // What was for the clusters that are gone is closed: the last one has what its one request needs.
    wait_until(PATIENCE, async || other.record.channels.load(Ordering::SeqCst) <= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_mistake_is_refused_whole_with_its_reason_and_the_old_one_goes_on() {
    let double = Double::start(Behaviour::default()).await;
    let reloaded = Reloaded::start(&[Site::of("good", &double)]).await;
    let right = std::fs::read_to_string(reloaded.configuration()).unwrap();
    // One change that is right, and one that is not.
    reloaded.change(|text| renamed(&text, "good", "better").replace("type: slurm", "type: slrum"));
    reloaded.hang_up();
    reloaded.logged("refused whole", 1).await;
    let log = std::fs::read_to_string(&reloaded.log).unwrap();
    assert!(log.contains("clusters[0].scheduler.type: is none of the values allowed: `slrum`"), "{log}");
    assert_eq!(reloaded.systems().await, ["good"]);
    assert_eq!(reloaded.program.stat("good", &reloaded.token).await.0, 200);
    // What is right for itself and cannot be built is refused as well.
    reloaded.change(|_| right.replace("pinned: [\"ssh-", "pinned: [\"not-"));
    reloaded.hang_up();
    reloaded.logged("refused whole", 2).await;
    // And it is not stuck after that.
    reloaded.change(|_| renamed(&right, "good", "better"));
    reloaded.hang_up();
    wait_until(PATIENCE, async || reloaded.systems().await == ["better"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_logs_in_anew_and_only_whose_key_has_not_changed_keeps_the_connection() {
    let double = Double::start(Behaviour::default()).await;
    let reloaded = Reloaded::start(&[Site::of("good", &double)]).await;
    assert_eq!(reloaded.program.stat("good", &reloaded.token).await.0, 200);
    let logins = || double.record.users.lock().unwrap().clone();
    let before = logins();
    // Another user comes in: nothing of ada's changes.
    let key = reloaded.program.files.path().join("key");
    reloaded.change(|text| text.replace("  keys:\n", &format!("  keys:\n    bob: {{ private_key: \"secret_file:{}\" }}\n", key.display())));
    reloaded.hang_up();
    reloaded.logged("the configuration was reloaded", 1).await;
    assert_eq!(reloaded.program.stat("good", &reloaded.token).await.0, 200);
    assert_eq!(logins(), before, "ada's connection is used on");
    assert_eq!(reloaded.program.stat("good", &reloaded.program.token("bob")).await.0, 200);
    // Another key in the same file.
    let other = crate::ssh::new_key().to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap();
    std::fs::write(&key, other.as_str()).unwrap();
    reloaded.hang_up();
    reloaded.logged("the configuration was reloaded", 2).await;
    assert_eq!(reloaded.program.stat("good", &reloaded.token).await.0, 200);
    let last = logins().pop().unwrap();
    assert!(last.0 == "ada" && last.1 != before[0].1, "the new key is used: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_watched_is_read_anew_by_itself_and_what_takes_a_start_is_named() {
    let double = Double::start(Behaviour::default()).await;
    let watch = |text: String| text.replace("server: { ", "server: { reload: watch, ");
    let program = Program::spawn_with(&[Site::of("good", &double)], &["ada".to_owned()], watch).await;
    program.is_up().await;
    let (token, file) = (program.token("ada"), program.files.path().join("goldcrest.yaml"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, renamed(&text, "good", "better").replace("reload: watch", "reload: watch, drain_timeout: 5")).unwrap();
    wait_until(PATIENCE, async || program.stat("better", &token).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_that_is_corrected_to_what_is_in_use_is_accepted_in_the_log() {
    let double = Double::start(Behaviour::default()).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = log.reopen().unwrap();
    let watch = |text: String| text.replace("server: { ", "server: { reload: watch, ");
    let logging = |command: &mut Command| {
        command.env("GOLDCREST_LOG", "info").stderr(writer);
    };
    let program = Program::spawn_changed(&[Site::of("good", &double)], &["ada".to_owned()], "", watch, logging).await;
    program.is_up().await;
    let file = program.files.path().join("goldcrest.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let logged = async |words: &str| wait_until(PATIENCE, async || std::fs::read_to_string(log.path()).unwrap().contains(words)).await;
    std::fs::write(&file, text.replace("reload: watch", "relaod: watch")).unwrap();
    logged("the configuration was refused whole").await;
    std::fs::write(&file, text).unwrap();
    logged("the configuration is accepted again: it is the one in use").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_start_is_compared_with_what_the_process_was_started_with() {
    let double = Double::start(Behaviour::default()).await;
    let reloaded = Reloaded::start(&[Site::of("good", &double)]).await;
    let waits = "server.drain_timeout differs from what this process was started with";
    let before = std::fs::read_to_string(reloaded.configuration()).unwrap();
    reloaded.change(|text| text.replace("server: { ", "server: { drain_timeout: 5, "));
    for times in 1..=2 {
        reloaded.hang_up();
        reloaded.logged("the configuration was reloaded", times).await;
        reloaded.logged(waits, times).await;
    }
    reloaded.change(|_| before);
    reloaded.hang_up();
    reloaded.logged("the configuration was reloaded", 3).await;
    assert_eq!(std::fs::read_to_string(&reloaded.log).unwrap().matches(waits).count(), 2, "nothing waits any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_begins_and_ends_with_a_reload_and_the_connections_stay() {
    let double = Double::start(Behaviour::default()).await;
    let reloaded = Reloaded::start(&[Site::of("good", &double)]).await;
    let status = async || reloaded.program.stat("good", &reloaded.token).await.0;
    assert_eq!(status().await, 200);
    let logins = double.record.users.lock().unwrap().len();
    let right = std::fs::read_to_string(reloaded.configuration()).unwrap();
    for (from, to) in
        [("  - name: good\n", "  - name: good\n    maintenance: back soon\n"), ("server: { ", "server: { maintenance: back soon, ")]
    {
        reloaded.change(|text| text.replace(from, to));
        reloaded.hang_up();
        wait_until(PATIENCE, async || status().await == 503).await;
        reloaded.change(|_| right.clone());
        reloaded.hang_up();
        wait_until(PATIENCE, async || status().await == 200).await;
    }
    assert_eq!(double.record.users.lock().unwrap().len(), logins, "no connection was opened anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_file_and_a_changed_known_hosts_file_apply_with_a_reload() {
    use base64::Engine;
    let double = Double::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let (secret, known_hosts) = (folder.path().join("secret"), folder.path().join("known_hosts"));
    std::fs::write(&secret, "one").unwrap();
    std::fs::write(&known_hosts, "").unwrap();
    let change = |text: String| {
        let pinned = text.lines().find(|line| line.contains("host_keys:")).unwrap().to_owned();
        text.replace(&pinned, &format!("      host_keys: {{ known_hosts: \"{}\" }}", known_hosts.display()))
            .replace("secret: none", &format!("secret: \"secret_file:{}\"", secret.display()))
            .replace("interval: 3600", "interval: 1, services: { ssh: { timeout: 5 } }")
    };
    let program = Program::spawn_with(&[Site::of("good", &double)], &["ada".to_owned()], change).await;
    program.is_up().await;
    let (token, hang_up) = (program.token("ada"), || kill_process(Pid::from_child(&program.child), Signal::HUP).unwrap());
    let shown = |secret: &str| {
        let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("checker:{secret}")));
        program._keys.seen().iter().any(|seen| seen.header("authorization") == Some(&*expected))
    };
    wait_until(PATIENCE, async || shown("one")).await;
    assert_eq!(program.stat("good", &token).await.0, 424, "the host is a stranger");

    std::fs::write(&secret, "two").unwrap();
    let key = double.host_key.public_key().to_openssh().unwrap();
    std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {key}\n", double.port)).unwrap();
    hang_up();
    wait_until(PATIENCE, async || shown("two")).await;
    wait_until(PATIENCE, async || program.stat("good", &token).await.0 == 200).await;
}
