//! Resumable uploads by tus, with a common client.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::environment::Live;
use crate::instance::Instance;
use crate::streams::{random_file, sha256, shared_memory};

const MIB: u64 = 1024 * 1024;

pub async fn a_tus_client_uploads_a_file_in_pieces(live: &Live) {
    let api = live.api("fireuser").await;
    let here = shared_memory();
    let source = here.path().join("source");
    random_file(&source, 50 * MIB + 1).await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        // The name in the metadata is the one that counts.
        let url = format!("{}/filesystem/{system}/uploads?path={folder}/", live.url());
        let options = ["--chunk", "5242880", "--checksum", "--name", "gr\u{fc}n.bin"];
        let mut client = Client::start(live, &url, &source, &options).await;
        let mut offsets = Vec::new();
        while let Some(line) = client.next().await {
            offsets.extend(offset(&line));
        }
        assert!(client.child.wait().await.unwrap().success(), "{system}: the client failed");
        assert_eq!(offsets, (0..=10).map(|chunk| chunk * 5 * MIB).chain([50 * MIB + 1]).collect::<Vec<_>>(), "{system}");
        let names: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [Path::new(&folder).join("gr\u{fc}n.bin")], "{system}");
        assert_eq!(sha256(&names[0]).await, sha256(&source).await, "{system}");
        api.remove(system, &folder).await;
    }
}

pub async fn an_upload_outlives_the_goldcrest_that_began_it(live: &Live) {
    let here = shared_memory();
    let source = here.path().join("source");
    random_file(&source, 50 * MIB).await;
    for system in Live::FILE_SYSTEMS {
        let (mut first, second) = (Instance::start(live, &[]).await, Instance::start(live, &[]).await);
        let api = live.api_at(&second.url(), "fireuser").await;
        let folder = api.new_folder(system, "fireuser").await;
        let target = format!("{folder}/large");
        let url = format!("{}/filesystem/{system}/uploads?path={target}", first.url());
        let mut client = Client::start(live, &url, &source, &["--chunk", "1000000"]).await;
        let mut upload = String::new();
        let mut reached = 0;
        while reached < 20 * MIB {
            let line = client.next().await.expect("the client ended early");
            if let Some(url) = line.strip_prefix("url ") {
                url.clone_into(&mut upload);
            }
            reached = offset(&line).unwrap_or(reached);
        }
        first.signal(Signal::KILL);
        first.gone().await;
        while let Some(line) = client.next().await {
            reached = offset(&line).unwrap_or(reached);
        }
        assert!(!client.child.wait().await.unwrap().success(), "{system}: it ended before it was interrupted");
        assert!(!Path::new(&target).exists(), "{system}: half a file is under the name of the whole");

        let upload = upload.replacen(&first.url(), &second.url(), 1);
        let mut client = Client::start(live, &upload, &source, &["--chunk", "10000000", "--resume"]).await;
        let mut offsets = Vec::new();
        while let Some(line) = client.next().await {
            offsets.extend(offset(&line));
        }
        assert!(client.child.wait().await.unwrap().success(), "{system}: the client failed");
        assert!(offsets[0] >= reached, "{system}: what was confirmed up to {reached} is there up to {}", offsets[0]);
        assert_eq!(sha256(Path::new(&target)).await, sha256(&source).await, "{system}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "{system}: something stayed behind");
        api.remove(system, &folder).await;
    }
}

/// A run of `tus/upload.py`, and what it says.
struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    async fn start(live: &Live, url: &str, source: &Path, options: &[&str]) -> Self {
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/tus/run.sh"))
            .arg(url)
            .arg(source)
            .args(options)
            .env("TOKEN", live.token("fireuser", None).await)
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn next(&mut self) -> Option<String> {
        self.lines.next_line().await.unwrap()
    }
}

fn offset(line: &str) -> Option<u64> {
    line.strip_prefix("offset ")?.parse().ok()
}
