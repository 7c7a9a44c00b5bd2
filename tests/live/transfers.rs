//! File operations that run as jobs of a real Slurm.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::environment::{Live, wait_for};

/// What a job is in when nothing more happens to it.
const ENDED: [&str; 4] = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"];

pub async fn files_are_worked_on_by_jobs(live: &Live) {
    work_on_files(live, "slurm").await;
}

pub async fn the_second_release_works_on_files_too(live: &Live) {
    work_on_files(live, "slurm24").await;
}

async fn start(api: &Api, system: &str, operation: &str, document: &Value) -> Answer {
    api.post(&format!("/filesystem/{system}/transfer/{operation}"), document).await
}

/// Waits for the job to end and gives its state and its logs, read where the answer says.
pub async fn end(api: &Api, system: &str, answer: &Answer) -> (String, String, String) {
    let job = answer.json()["transferJob"].clone();
    assert_eq!(job["workingDirectory"], "/home/fireuser", "{job}");
    let ended = api.wait_for_state(system, job["jobId"].as_str().unwrap(), &ENDED).await;
    let mut logs = Vec::new();
    for log in ["outputLog", "errorLog"] {
        let path = job["logs"][log].as_str().unwrap();
        logs.push(api.file(system, "view", path).await.expect(200).json()["output"].as_str().unwrap().to_owned());
        api.remove(system, path).await;
    }
    let error = logs.pop().unwrap();
    (ended["status"]["state"].as_str().unwrap().to_owned(), logs.pop().unwrap(), error)
}

async fn done(api: &Api, system: &str, operation: &str, document: &Value) {
    let answer = start(api, system, operation, document).await.expect(201);
    let (state, output, error) = end(api, system, &answer).await;
    assert!(state == "COMPLETED" && output.contains("Files were successfully"), "{system} {operation}: {state}: {output}{error}");
}

async fn work_on_files(live: &Live, system: &str) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder(system, "fireuser").await;
    let at = |name: &str| format!("{folder}/{name}");
    api.upload(system, &folder, "file", b"content").await.expect(204);
    // A line break, quotes, what a shell would run, and a byte that is not UTF-8.
    let odd = "it's \"odd\"\r\n#SBATCH --uid=0\n$(id) %j \u{efff}";
    done(&api, system, "cp", &json!({"sourcePath": at("file"), "targetPath": at(odd)})).await;
    done(&api, system, "mv", &json!({"sourcePath": at(odd), "targetPath": at("moved")})).await;
    assert_eq!(api.file(system, "view", &at("moved")).await.expect(200).json()["output"], "content", "{system}");
    for compression in ["none", "gzip", "bzip2", "xz"] {
        let (archive, out) = (at(&format!("{compression}.archive")), at(compression));
        done(&api, system, "compress", &json!({"sourcePath": at("moved"), "targetPath": archive, "compression": compression})).await;
        api.post(&format!("/filesystem/{system}/ops/mkdir"), &json!({"sourcePath": out})).await.expect(201);
        done(&api, system, "extract", &json!({"sourcePath": archive, "targetPath": out, "compression": compression})).await;
        assert_eq!(api.file(system, "view", &format!("{out}/moved")).await.expect(200).json()["output"], "content", "{system}");
    }
    let removed = api.delete(&format!("/filesystem/{system}/transfer/rm"), &[("path", &at("gzip"))]).await.expect(200);
    assert_eq!(end(&api, system, &removed).await.0, "COMPLETED", "{system}");
    assert_eq!(api.file(system, "stat", &at("gzip")).await.status, 404, "{system}");
    api.remove(system, &folder).await;
}

pub async fn a_job_that_fails_ends_as_failed_and_says_why(live: &Live) {
    let api = live.api("fireuser").await;
    let document = json!({"sourcePath": "/home/fireuser/is not there", "targetPath": "/home/fireuser/b"});
    let answer = start(&api, "slurm", "cp", &document).await.expect(201);
    let (state, output, error) = end(&api, "slurm", &answer).await;
    assert_eq!(state, "FAILED", "{output}{error}");
    assert!(error.contains("No such file or directory") && error.contains("exit status:1"), "{error}");
    // What is the site's alone is refused before anything is submitted.
    let document = json!({"sourcePath": "/home/fireuser/a", "targetPath": "/etc/b"});
    start(&api, "slurm", "cp", &document).await.expect(400);
}

pub async fn a_job_is_charged_to_the_account_that_the_site_wants(live: &Live) {
    let system = "slurm-nosftp";
    let api = live.api("fireuser").await;
    let folder = api.new_folder(system, "fireuser").await;
    api.upload(system, &folder, "file", b"content").await.expect(204);
    let document =
        |account: Value| json!({"sourcePath": format!("{folder}/file"), "targetPath": format!("{folder}/copy"), "account": account});
    let missing = start(&api, system, "cp", &document(Value::Null)).await.expect(400);
    assert!(missing.message().contains("Account parameter is required on this system."), "{}", missing.message());
    start(&api, system, "cp", &document(json!("fireuser\n#SBATCH --qos=x"))).await.expect(400);
    let answer = start(&api, system, "cp", &document(json!("fireuser"))).await.expect(201);
    let id = answer.json()["transferJob"]["jobId"].as_str().unwrap().to_owned();
    let job = api.wait_for_state(system, &id, &ENDED).await;
    assert_eq!((&job["account"], &job["name"]), (&json!("fireuser"), &json!("CopyFiles")), "{job}");
    assert_eq!(end(&api, system, &answer).await.0, "COMPLETED");
    // An account that others have is the scheduler's to refuse.
    let refused = start(&api, system, "cp", &document(json!("otheruser"))).await;
    assert_eq!(refused.status, 400, "{}", refused.message());
    api.remove(system, &folder).await;
}

pub async fn a_cancelled_job_leaves_no_half_archive(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    // Random bytes, so that packing takes long enough to be seen.
    let content: Vec<u8> = std::iter::repeat_with(|| uuid::Uuid::new_v4().into_bytes()).take(250_000).flatten().collect();
    for part in ["a", "b", "c", "d", "e", "f"] {
        api.upload("slurm", &folder, part, &content).await.expect(204);
    }
    let beside = api.new_folder("slurm", "fireuser").await;
    let archive = format!("{beside}/archive");
    let document = json!({"sourcePath": folder, "targetPath": archive, "compression": "xz"});
    let answer = start(&api, "slurm", "compress", &document).await.expect(201);
    let halves = || {
        let entries = std::fs::read_dir(&beside).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().is_some_and(|found| found.starts_with(".goldcrest-"))).count()
    };
    wait_for("the archive is begun", Duration::from_secs(60), || async { (halves() == 1).then_some(()) }).await;
    let id = answer.json()["transferJob"]["jobId"].as_str().unwrap().to_owned();
    api.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await.expect(204);
    assert_eq!(end(&api, "slurm", &answer).await.0, "CANCELLED");
    wait_for("the half archive is gone", Duration::from_secs(60), || async { (halves() == 0).then_some(()) }).await;
    assert_eq!(api.file("slurm", "stat", &archive).await.status, 404);
    api.remove("slurm", &folder).await;
    api.remove("slurm", &beside).await;
}
