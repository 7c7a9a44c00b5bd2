//! Copies between two OpenSSH servers with their stock limits. As in `ssh::openssh`, a test passes without doing anything where there is no
//! sshd, or no root.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use axum::http::Method;
use goldcrest::ssh::{Config, Timeouts};
use serde_json::json;

use super::{COPY_TO, Process, Site, Way, noise};
use crate::api::request;
use crate::ssh::certificates::{Key, by};
use crate::ssh::openssh::Sshd;
use crate::ssh::proxy::Proxy;
use crate::support::{PATIENCE, wait_for};

/// The pause of a line on which about 12 MB pass in a second.
const PAUSE: Duration = Duration::from_millis(5);

const LARGE: usize = 48 << 20;

/// Two servers, each with a line of its own to it, and a file on the first.
struct Servers {
    source: Sshd,
    target: Sshd,
    to_source: Proxy,
    to_target: Proxy,
    site: Site,
}

impl Servers {
    async fn start(settings: &str, pause: Duration) -> Option<Self> {
        let (source, target) = (Sshd::start(settings)?, Sshd::start(settings)?);
        let (to_source, to_target) = (Proxy::slow(source.port, pause).await, Proxy::slow(target.port, pause).await);
        let site = Site::new();
        for folder in [&site.source, &site.target] {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        std::fs::write(site.from("large"), noise(LARGE)).unwrap();
        Some(Self { source, target, to_source, to_target, site })
    }

    /// A process of which everything but the store is new.
    fn process(&self) -> Process {
        let lanes = |sshd: &Sshd, proxy: &Proxy| {
            let port = proxy.port;
            let timeout = Timeouts { connection: 2, login: 5, command_execution: 20, idle_timeout: 60, keep_alive: 1 };
            sshd.lanes_with(move |config: &mut Config| (config.port, config.timeout) = (port, timeout))
        };
        let ways = (Way::over(lanes(&self.source, &self.to_source)), Way::over(lanes(&self.target, &self.to_target)));
        self.of_user(self.site.process(ways.0, ways.1))
    }

    fn of_user(&self, process: Process) -> Process {
        process.of(&self.source.user)
    }

    fn assert_whole(&self) {
        assert!(std::fs::read(self.site.to("copy")).unwrap() == noise(LARGE));
        assert_eq!(self.site.names(""), ["copy"]);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_many_files_arrives_whole_from_one_server_at_the_other() {
    let Some(servers) = Servers::start("", Duration::ZERO).await else { return };
    let site = &servers.site;
    std::fs::create_dir_all(site.from("tree/a/b")).unwrap();
    for number in 0..300 {
        std::fs::write(site.from("tree/a").join(number.to_string()), noise(number * 7)).unwrap();
    }
    std::fs::rename(site.from("large"), site.from("tree/a/b/large")).unwrap();
    std::fs::set_permissions(site.from("tree/a/b/large"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let process = servers.process();
    let address = process.begin(site.request("tree", "copy")).await;
    let task = process.ends(&address, "completed").await;
    let bytes = LARGE + (0..300).map(|number| number * 7).sum::<usize>();
    let progress = &task["progress"];
    assert_eq!((&progress["files"], &progress["bytes"], &progress["totalBytes"]), (&json!(301), &json!(bytes), &json!(bytes)), "{task}");
    for number in 0..300 {
        assert!(std::fs::read(site.to("copy/a").join(number.to_string())).unwrap() == noise(number * 7), "{number}");
    }
    assert!(std::fs::read(site.to("copy/a/b/large")).unwrap() == noise(LARGE));
    assert_eq!(mode(&site.to("copy/a/b/large")), 0o755);
    assert_eq!((site.names("copy/a/b"), site.names("copy/a").len()), (vec!["large".to_owned()], 301));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_while_a_line_is_dead_and_goes_on_where_it_was() {
    let Some(servers) = Servers::start("", PAUSE).await else { return };
    let process = servers.process();
    let address = process.begin(servers.site.request("large", "copy")).await;
    for line in [&servers.to_source, &servers.to_target] {
        let bytes = process.task(&address).await["progress"]["bytes"].as_u64().unwrap();
        process.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > bytes + (2 << 20)).await;
        line.freeze_for_good();
        let waits = process.ends(&address, "waiting").await;
        assert_eq!(waits["reason"]["status"], 424, "{waits}");
        line.thaw();
        process.ends(&address, "running").await;
    }
    let task = process.ends(&address, "completed").await;
    assert_eq!(task["progress"]["bytes"], json!(LARGE), "{task}");
    servers.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_when_a_server_that_was_killed_is_started_again() {
    let Some(mut servers) = Servers::start("", PAUSE).await else { return };
    let process = servers.process();
    let address = process.begin(servers.site.request("large", "copy")).await;
    process.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 2 << 20).await;
    servers.target.kill();
    let waits = process.ends(&address, "waiting").await;
    assert_eq!(waits["reason"]["status"], 424, "{waits}");
    assert!(waits["reason"]["message"].as_str().unwrap().starts_with("eiger: "), "{waits}");
    let arrived: u64 = std::fs::read_dir(servers.site.target.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(arrived > 1 << 20, "{arrived} bytes are kept for the next attempt");
    servers.target.start_again();
    process.ends(&address, "completed").await;
    servers.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_cancelled_while_its_target_is_away() {
    let Some(mut servers) = Servers::start("", PAUSE).await else { return };
    let process = servers.process();
    let address = process.begin(servers.site.request("large", "copy")).await;
    process.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 2 << 20).await;
    servers.target.kill();
    process.ends(&address, "waiting").await;
    assert_eq!(process.call(Method::DELETE, &address, None).await.status, 204);
    process.ends(&address, "cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_goes_on_with_certificates_that_it_has_made_itself_after_the_token_has_ended() {
    let key = Key::ed25519();
    let Some(servers) = Servers::start(&key.trusted(), PAUSE).await else { return };
    let process = || {
        let way = |sshd: &Sshd, line: &Proxy| Way::over(by(line.port, sshd, &key.config()));
        servers.of_user(servers.site.process(way(&servers.source, &servers.to_source), way(&servers.target, &servers.to_target)))
    };
    let first = process();
    let token = format!("two-seconds-of-{}", servers.source.user);
    let body = Some(servers.site.request("large", "copy"));
    let answer = first.api.send(request(Method::POST, COPY_TO, Some(&token), body)).await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    let address = answer.header("location").unwrap().to_owned();
    first.until(&address, |task| task["progress"]["bytes"].as_u64().unwrap() > 2 << 20).await;
    let began = std::time::Instant::now();
    first.drain().await;
    wait_for(PATIENCE, || began.elapsed() > Duration::from_secs(2)).await;
    let second = process();
    second.ends(&address, "completed").await;
    servers.assert_whole();
}
