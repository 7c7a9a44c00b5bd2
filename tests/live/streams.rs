//! Uploads and downloads that are larger than the permitted memory, with common clients.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use reqwest::Method;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::environment::{Live, wait_for};
use crate::instance::Instance;
use crate::processes;

const MIB: u64 = 1024 * 1024;

/// The most memory that carrying a file of any size may add. How much a debug build needs before the first byte says nothing.
const MAX_ADDED: u64 = 40 * MIB;

pub async fn a_gibibyte_comes_down_in_constant_memory(live: &Live) {
    let instance = Instance::start(live, &[]).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let file = PathBuf::from(format!("{folder}/large"));
    random_file(&file, 1024 * MIB).await;
    let url = format!("{}/filesystem/slurm/ops/download?path={}", instance.url(), file.display());
    let before = instance.peak_memory();
    let begun = Instant::now();
    let command = r#"set -o pipefail; curl -sS --noproxy "*" --fail -r 0- -H "Authorization: Bearer $TOKEN" "$1" | sha256sum"#;
    let sum = output(Command::new("bash").args(["-c", command, "sh", &url]).env("TOKEN", live.token("fireuser", None).await)).await;
    let peak = report("down", &instance, before, begun);
    assert_eq!(sum.split_whitespace().next().unwrap(), sha256(&file).await);
    api.remove("slurm", &folder).await;
    assert!(peak - before < MAX_ADDED, "{} MiB, {} MiB before", peak / MIB, before / MIB);
}

pub async fn a_gibibyte_goes_up_in_constant_memory(live: &Live) {
    let instance = Instance::start(live, &[]).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let here = shared_memory();
    let source = here.path().join("large");
    random_file(&source, 1024 * MIB).await;
    let url = format!("{}/filesystem/slurm/ops/upload?path={folder}/large", instance.url());
    let before = instance.peak_memory();
    let begun = Instant::now();
    let authorization = format!("Authorization: Bearer {}", live.token("fireuser", None).await);
    let status = curl(&["-T", source.to_str().unwrap(), "-H", &authorization, "-w", "%{http_code}", &url]).await;
    let peak = report("up", &instance, before, begun);
    assert_eq!(status, "201");
    assert_eq!(sha256(Path::new(&format!("{folder}/large"))).await, sha256(&source).await);
    api.remove("slurm", &folder).await;
    assert!(peak - before < MAX_ADDED, "{} MiB, {} MiB before", peak / MIB, before / MIB);
}

pub async fn ranges_asked_for_at_once_make_up_the_file(live: &Live) {
    const PARTS: u64 = 8;
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let file = format!("{folder}/parts");
        // No part is as long as the others.
        let size = 24 * MIB + 5;
        random_file(Path::new(&file), size).await;
        let ranges = (0..PARTS).map(|part| (part * (size / PARTS), if part + 1 == PARTS { size } else { (part + 1) * (size / PARTS) }));
        let answers = join_all(ranges.map(|(from, to)| {
            let request = api.request(Method::GET, &format!("/filesystem/{system}/ops/download")).query(&[("path", &file)]);
            let (api, request) = (&api, request.header("range", format!("bytes={from}-{}", to - 1)));
            async move {
                let answer = api.send(request).await.expect(206);
                assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{size}", to - 1), "{system}");
                answer
            }
        }));
        let whole: Vec<u8> = answers.await.iter().flat_map(|answer| answer.body.to_vec()).collect();
        assert!(whole == std::fs::read(&file).unwrap(), "{system}: the parts are not the file");
        api.remove(system, &folder).await;
    }
}

pub async fn a_download_that_broke_off_is_gone_on_with_by_curl(live: &Live) {
    let api = live.api("fireuser").await;
    let authorization = format!("Authorization: Bearer {}", live.token("fireuser", None).await);
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let file = PathBuf::from(format!("{folder}/long"));
        let size = 32 * MIB + 1;
        random_file(&file, size).await;
        let here = shared_memory();
        let copy = here.path().join("copy");
        let url = format!("{}/filesystem/{system}/ops/download?path={}", live.url(), file.display());
        let common = ["-sS", "--noproxy", "*", "--fail", "-H", &authorization, "-o", copy.to_str().unwrap()];
        let mut first =
            Command::new("curl").args(common).args(["-r", "0-", "--limit-rate", "8M", &url]).kill_on_drop(true).spawn().unwrap();
        wait_for("a part has come", Duration::from_secs(20), || async {
            std::fs::metadata(&copy).is_ok_and(|found| found.len() > 4 * MIB).then_some(())
        })
        .await;
        first.kill().await.unwrap();
        let had = std::fs::metadata(&copy).unwrap().len();
        assert!(had < size, "{system}: it did not break off");
        let told = output(Command::new("curl").args(common).args(["-C", "-", "-w", "%{http_code} %{size_download}", &url])).await;
        assert_eq!(told, format!("206 {}", size - had), "{system}");
        assert_eq!(sha256(&copy).await, sha256(&file).await, "{system}");
        api.remove(system, &folder).await;
    }
}

pub async fn uploads_are_taken_whole_and_as_announced_or_not_at_all(live: &Live) {
    let api = live.api("fireuser").await;
    let content: Vec<u8> = (0..3_000_001_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let here = shared_memory();
    let source = here.path().join("source");
    std::fs::write(&source, &content).unwrap();
    let digest = |hex: &str| {
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        format!("sha-256=:{}:", STANDARD.encode(bytes))
    };
    let (right, wrong) = (digest(&sha256(&source).await), digest(&"00".repeat(32)));
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let file = format!("{folder}/announced");
        let put = |name: &str, value: &str| {
            let request = api.request(Method::PUT, &format!("/filesystem/{system}/ops/upload")).query(&[("path", &file)]);
            api.send(request.header(name, value).body(content.clone()))
        };
        put("repr-digest", &wrong).await.expect(400);
        nothing_in(&folder).await;
        put("repr-digest", &right).await.expect(201);
        assert!(std::fs::read(&file).unwrap() == content, "{system}: the upload changed the content");
        let inode = std::fs::metadata(&file).unwrap().ino();
        put("repr-digest", &wrong).await.expect(400);
        put("if-none-match", "*").await.expect(412);
        assert_eq!(std::fs::metadata(&file).unwrap().ino(), inode, "{system}: a refused upload has replaced the file");
        put("want-repr-digest", "sha-256=1").await.expect(204);
        std::fs::remove_file(&file).unwrap();
        put("if-none-match", "*").await.expect(201);
        std::fs::remove_file(&file).unwrap();

        // Half of it arrives; then the client is gone.
        let token = live.token("fireuser", None).await;
        let mut upload = TcpStream::connect(live.address()).await.unwrap();
        let head = format!(
            "PUT /filesystem/{system}/ops/upload?path={file} HTTP/1.1\r\nHost: goldcrest\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n\r\n",
            content.len()
        );
        upload.write_all(head.as_bytes()).await.unwrap();
        upload.write_all(&content[..content.len() / 2]).await.unwrap();
        wait_for("the upload is under way", Duration::from_secs(10), || async {
            (std::fs::read_dir(&folder).unwrap().count() == 1).then_some(())
        })
        .await;
        assert!(!Path::new(&file).exists(), "{system}: half a file is under the name of the whole");
        drop(upload);
        nothing_in(&folder).await;
        api.remove(system, &folder).await;
    }
}

pub async fn an_upload_whose_connection_to_the_cluster_is_killed_leaves_the_old_file(live: &Live) {
    let api = live.api("otheruser").await;
    let listener = live.pid("openssh", "/instances/stock/pidFile");
    let folder = api.new_folder("slurm", "otheruser").await;
    let file = format!("{folder}/kept");
    api.upload("slurm", &folder, "kept", b"old").await.expect(204);
    let token = live.token("otheruser", None).await;
    let mut upload = TcpStream::connect(live.address()).await.unwrap();
    let head = format!(
        "PUT /filesystem/slurm/ops/upload?path={file} HTTP/1.1\r\nHost: goldcrest\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 2000000\r\n\r\n"
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    upload.write_all(&[b'n'; 1_000_000]).await.unwrap();
    wait_for("the upload is under way", Duration::from_secs(10), || async {
        (std::fs::read_dir(&folder).unwrap().count() == 2).then_some(())
    })
    .await;
    processes::signal(&processes::sessions(listener, "otheruser"), Signal::KILL);
    upload.write_all(&[b'n'; 1_000_000]).await.unwrap();
    let mut answer = vec![0; 12];
    upload.read_exact(&mut answer).await.expect("it is answered");
    assert!(answer.starts_with(b"HTTP/1.1 5") || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    wait_for("the temporary file is gone", Duration::from_secs(20), || async {
        (std::fs::read_dir(&folder).unwrap().count() == 1).then_some(())
    })
    .await;
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    drop(upload);
    api.remove("slurm", &folder).await;
}

/// Waits until nothing, hidden or not, is in a folder.
async fn nothing_in(folder: &str) {
    wait_for("nothing is left of an upload that failed", Duration::from_secs(10), || async {
        (std::fs::read_dir(folder).unwrap().count() == 0).then_some(())
    })
    .await;
}

/// A file that cannot be packed or guessed, which its folder's owner may read.
pub async fn random_file(path: &Path, size: u64) {
    let status = Command::new("head").args(["-c", &size.to_string(), "/dev/urandom"]).stdout(File::create(path).unwrap()).status().await;
    assert!(status.unwrap().success());
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
}

/// The digest of a file, in hexadecimal digits.
pub async fn sha256(file: &Path) -> String {
    output(Command::new("sha256sum").arg("--").arg(file)).await.split_whitespace().next().unwrap().to_owned()
}

/// A folder that costs no disk.
pub fn shared_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// What a command that succeeds prints; what is no UTF-8 is replaced.
pub async fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn curl(arguments: &[&str]) -> String {
    output(Command::new("curl").args(["-sS", "--noproxy", "*"]).args(arguments)).await
}

fn report(way: &str, instance: &Instance, before: u64, begun: Instant) -> u64 {
    let seconds = begun.elapsed().as_secs_f64();
    let peak = instance.peak_memory();
    println!("1 GiB {way}: {:.0} MiB/s, at most {} MiB of memory ({} MiB before)", 1024.0 / seconds, peak / MIB, before / MIB);
    peak
}
