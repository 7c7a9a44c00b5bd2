//! Uploads and downloads of large files through a real object store, and requests that the store refuses.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::environment::{Live, wait_for};
use crate::transfers::end;

/// Two whole parts of 5 MiB, and some of a third.
const SIZE: usize = 12 * 1024 * 1024 + 17;

pub async fn a_file_goes_up_and_comes_down_by_way_of_the_store(live: &Live) {
    there_and_back(live, "slurm").await;
}

pub async fn the_second_release_moves_files_too(live: &Live) {
    there_and_back(live, "slurm24").await;
}

/// Bytes that differ in every part.
fn content() -> Vec<u8> {
    let random = std::iter::repeat_with(|| uuid::Uuid::new_v4().into_bytes()).flatten();
    random.take(SIZE).collect()
}

async fn ask(api: &Api, system: &str, operation: &str, path: &str, size: Option<usize>) -> Answer {
    let document = json!({"sourcePath": path, "transferDirectives": {"transferMethod": "s3", "fileSize": size}});
    api.post(&format!("/filesystem/{system}/transfer/{operation}"), &document).await
}

async fn put(live: &Live, url: &Value, part: &[u8]) -> reqwest::Response {
    live.http().put(url.as_str().unwrap()).body(part.to_vec()).send().await.unwrap()
}

/// Does what a client does with the answer to an upload.
async fn send(live: &Live, answer: &Answer, content: &[u8]) {
    let directives = answer.json()["transferDirectives"].clone();
    let part_size = usize::try_from(directives["maxPartSize"].as_u64().unwrap()).unwrap();
    let urls = directives["partsUploadUrls"].as_array().unwrap();
    assert_eq!(urls.len(), content.len().div_ceil(part_size));
    let mut list = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (index, (part, url)) in content.chunks(part_size).zip(urls).enumerate() {
        let sent = put(live, url, part).await;
        assert_eq!(sent.status(), 200);
        let tag = sent.headers()["etag"].to_str().unwrap();
        list += &format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", index + 1);
    }
    list += "</CompleteMultipartUpload>";
    let complete = directives["completeUploadUrl"].as_str().unwrap();
    let completed = live.http().post(complete).body(list).send().await.unwrap();
    assert_eq!(completed.status(), 200, "{}", completed.text().await.unwrap());
}

async fn there_and_back(live: &Live, system: &str) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder(system, "fireuser").await;
    let (path, content) = (format!("{folder}/it's \"odd\" #1 $(id)"), content());

    let answer = ask(&api, system, "upload", &path, Some(SIZE)).await.expect(201);
    send(live, &answer, &content).await;
    let (state, output, error) = end(&api, system, &answer).await;
    assert!(state == "COMPLETED" && output.contains("File was successfully downloaded"), "{system}: {state}: {output}{error}");
    assert!(std::fs::read(&path).unwrap() == content, "{system}: another content went up");

    let answer = ask(&api, system, "download", &path, None).await.expect(201);
    let (state, output, error) = end(&api, system, &answer).await;
    let done = output.contains("Multipart file upload successfully completed");
    assert!(state == "COMPLETED" && done, "{system}: {state}: {output}{error}");
    let url = answer.json()["transferDirectives"]["downloadUrl"].as_str().unwrap().to_owned();
    let back = live.http().get(&url).send().await.unwrap();
    assert_eq!(back.status(), 200);
    assert!(back.bytes().await.unwrap() == content, "{system}: another content came down");
    api.remove(system, &folder).await;
}

pub async fn a_url_that_was_changed_or_has_ended_is_refused_by_the_store(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    api.upload("slurm", &folder, "file", b"content").await.expect(204);
    let answer = ask(&api, "slurm", "download", &format!("{folder}/file"), None).await.expect(201);
    assert_eq!(end(&api, "slurm", &answer).await.0, "COMPLETED");
    let url = answer.json()["transferDirectives"]["downloadUrl"].as_str().unwrap().to_owned();
    let status = async |url: &str| live.http().get(url).send().await.unwrap().status().as_u16();
    assert_eq!(status(&url).await, 200);
    // Another signature, another user's bucket, a later end, and none at all.
    let last = url.chars().last().unwrap();
    let forged = format!("{}{}", &url[..url.len() - 1], if last == '0' { '1' } else { '0' });
    let plain = url.split('?').next().unwrap();
    for url in [&forged, &url.replace("/fireuser/", "/otheruser/"), &url.replace("X-Amz-Expires=600", "X-Amz-Expires=6000"), plain] {
        assert_eq!(status(url).await, 403, "{plain}");
    }
    // One that Goldcrest could have signed ten minutes ago is as good as none by now.
    let sign = |seconds: i64| {
        let (id, secret) = (live.file("s3", "access_key"), live.file("s3", "secret_key"));
        let begins = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
        let (method, region) = (rusty_s3::Method::Get, live.text("s3", "/region"));
        let (query, headers) = (std::iter::empty(), std::iter::empty());
        rusty_s3::signing::sign(&begins, method, plain.parse().unwrap(), &id, &secret, None, &region, 600, query, headers).to_string()
    };
    assert_eq!((status(&sign(590)).await, status(&sign(610)).await), (200, 403));
    api.remove("slurm", &folder).await;
}

pub async fn a_cancelled_job_leaves_no_half_file_and_no_upload(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let answer = ask(&api, "slurm", "upload", &format!("{folder}/file"), Some(SIZE)).await.expect(201);
    let url = answer.json()["transferDirectives"]["partsUploadUrls"][0].clone();
    assert_eq!(put(live, &url, b"part").await.status(), 200);
    let entries = || std::fs::read_dir(&folder).unwrap().count();
    wait_for("the job waits", Duration::from_secs(60), || async { (entries() == 1).then_some(()) }).await;
    let id = answer.json()["transferJob"]["jobId"].as_str().unwrap().to_owned();
    // What others may see of the job's processes tells nothing of its URLs.
    let commands = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap().stdout;
    assert!(!String::from_utf8_lossy(&commands).contains("X-Amz-Signature"), "a URL stands in an argument list");
    api.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await.expect(204);
    assert_eq!(end(&api, "slurm", &answer).await.0, "CANCELLED");
    wait_for("the half file is gone", Duration::from_secs(60), || async { (entries() == 0).then_some(()) }).await;
    wait_for("the store forgets the upload", Duration::from_secs(60), || async {
        (put(live, &url, b"part").await.status() == 404).then_some(())
    })
    .await;
    api.remove("slurm", &folder).await;
}

pub async fn the_store_is_checked_and_what_cannot_go_by_it_is_refused(live: &Live) {
    let api = live.api("fireuser").await;
    let healthy = async || {
        let systems = api.get("/status/systems", &[]).await.expect(200).json();
        let slurm = systems["systems"].as_array().unwrap().iter().find(|system| system["name"] == "slurm").unwrap().clone();
        slurm["servicesHealth"].as_array().unwrap().iter().find(|entry| entry["serviceType"] == "s3").map(|entry| entry["healthy"] == true)
    };
    assert_eq!(healthy().await, Some(true));
    let missing = ask(&api, "slurm", "download", "/home/fireuser/is not there", None).await.expect(404);
    assert!(missing.message().contains("No such file or directory"), "{}", missing.message());
    // Of another service than the system's, and more than its parts can hold.
    let wormhole = json!({"sourcePath": "/home/fireuser/a", "transferDirectives": {"transferMethod": "wormhole"}});
    let refused = api.post("/filesystem/slurm/transfer/upload", &wormhole).await.expect(400);
    assert!(refused.message().contains("This system has s3"), "{}", refused.message());
    ask(&api, "slurm", "upload", "/home/fireuser/a", Some(10_001 * 5 * 1024 * 1024)).await.expect(400);
    let without = ask(&api, "slurm-nosftp", "upload", "/home/fireuser/a", Some(1)).await.expect(400);
    assert!(without.message().contains("This system has streamer"), "{}", without.message());
}
