//! Changes that are refused before anything is done, over a real directory by SFTP and by commands.

use std::fs;
use std::os::unix::fs::symlink;

use axum::http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::tus::{WAYS, api, send};
use super::{Answer, Api};
use crate::support::{PATIENCE, wait_for};

/// A request to change something, with its answer.
async fn change(api: &Api, method: Method, operation: &str, body: &Value) -> Answer {
    let fields = [("content-type", "application/json")];
    send(api, method, &format!("/api/filesystem/daint/{operation}"), &fields, body.to_string()).await
}

/// The paths of these names in the directory.
fn paths(directory: &TempDir, source: &str, target: &str) -> Value {
    let path = |name: &str| format!("{}/{name}", directory.path().to_str().unwrap());
    json!({"sourcePath": path(source), "targetPath": path(target)})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_over_what_its_link_leads_to_or_in_what_it_holds_is_400_in_the_request_and_as_a_job() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        fs::write(directory.path().join("data"), "content").unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        symlink("data", directory.path().join("current")).unwrap();
        symlink("d", directory.path().join("to-d")).unwrap();
        for (source, target, words) in [
            ("current", "data", "the source is a symbolic link to the target"),
            ("d", "d/new.tgz", "the target is inside the directory to pack"),
            ("d", "to-d/new.tgz", "the target is inside the directory to pack"),
        ] {
            for operation in ["ops/compress", "transfer/compress"] {
                let answer = change(&api, Method::POST, operation, &paths(&directory, source, target)).await;
                assert_eq!(answer.status, 400, "{access:?}, {operation}, {target}: {}", answer.everything());
                assert!(answer.everything().contains(words), "{access:?}, {operation}, {target}: {}", answer.everything());
            }
        }
        assert_eq!(fs::read(directory.path().join("data")).unwrap(), b"content", "{access:?}");
        assert_eq!(fs::read_dir(directory.path().join("d")).unwrap().count(), 0, "{access:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_name_with_a_slash_at_its_end_is_400_for_what_is_no_directory() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        fs::write(directory.path().join("data"), "content").unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        symlink("data", directory.path().join("link")).unwrap();
        for (source, target) in [("data", "new/"), ("data", "new/."), ("link", "new/")] {
            for (method, operation) in
                [(Method::PUT, "ops/mv"), (Method::POST, "ops/cp"), (Method::POST, "transfer/mv"), (Method::POST, "transfer/cp")]
            {
                let answer = change(&api, method, operation, &paths(&directory, source, target)).await;
                assert_eq!(answer.status, 400, "{access:?}, {operation}, {source}: {}", answer.everything());
                assert_eq!(answer.json()["data"]["fields"][0]["name"], "targetPath", "{}", answer.everything());
                assert!(!directory.path().join("new").exists(), "{access:?}, {operation}, {source}");
            }
        }
        let answer = change(&api, Method::PUT, "ops/mv", &paths(&directory, "d", "new/")).await;
        assert!(answer.status == 200 && directory.path().join("new").is_dir(), "{access:?}: {}", answer.everything());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_if_nothing_is_there_a_link_that_leads_nowhere_is_something() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        symlink("nowhere", directory.path().join("f")).unwrap();
        for (method, operation) in [(Method::PUT, "ops/upload"), (Method::POST, "uploads")] {
            let uri = format!("/api/filesystem/daint/{operation}?path={}/f", directory.path().display());
            let fields = [("if-none-match", "*"), ("upload-length", "7")];
            let fields = if method == Method::PUT { &fields[..1] } else { &fields };
            let answer = send(&api, method, &uri, fields, if operation == "uploads" { "" } else { "content" }).await;
            assert_eq!(answer.status, 412, "{access:?}, {operation}: {}", answer.everything());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{access:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_or_a_coding_that_would_not_be_checked_is_refused_by_each_way_in_and_nothing_is_written() {
    let digest = ("repr-digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    let form = [("content-type", "multipart/form-data; boundary=b")];
    let part = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nabc\r\n--b--\r\n";
    let tus = [("tus-resumable", "1.0.0"), ("upload-length", "3"), ("content-type", "application/offset+octet-stream")];
    for access in WAYS {
        for (field, status) in [
            (digest, 400),
            (("content-digest", digest.1), 400),
            (("digest", "sha-256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), 400),
            (("content-encoding", "gzip"), 415),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let api = api(&directory, access);
            let path = directory.path().to_str().unwrap();
            for (method, uri, fields, content) in [
                (Method::PUT, format!("ops/upload?path={path}/f"), &[][..], "abc"),
                (Method::POST, format!("ops/upload?path={path}"), &form, part),
                (Method::POST, format!("uploads?path={path}/f"), &tus, "abc"),
            ] {
                let fields = [fields, &[field]].concat();
                let answer = send(&api, method, &format!("/api/filesystem/daint/{uri}"), &fields, content.to_owned()).await;
                assert_eq!(answer.status, status, "{uri}, {field:?}: {}", answer.everything());
                wait_for(PATIENCE, || fs::read_dir(directory.path()).unwrap().next().is_none()).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_or_move_onto_a_directory_is_told_the_name_to_write() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("job.sh"), "content").unwrap();
        fs::write(directory.path().join("other"), "old").unwrap();
        symlink("d", directory.path().join("to-d")).unwrap();
        for (target, overwrite) in [("d", false), ("d", true), ("d/", true), ("to-d", false)] {
            for (method, operation) in [(Method::POST, "ops/cp"), (Method::PUT, "ops/mv")] {
                let mut body = paths(&directory, "job.sh", target);
                body["overwrite"] = json!(overwrite);
                let answer = change(&api, method, operation, &body).await;
                let words =
                    format!("`targetPath` is the new name: write {}/", directory.path().join(target.trim_end_matches('/')).display());
                assert_eq!(answer.status, 400, "{operation} {target}: {}", answer.everything());
                assert!(answer.everything().contains(&format!("{words}job.sh")), "{operation} {target}: {}", answer.everything());
            }
        }
        let answer = change(&api, Method::POST, "ops/cp", &paths(&directory, "job.sh", "other")).await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && message.ends_with("/other: File exists"), "{message}");
        assert_eq!(fs::read_dir(directory.path().join("d")).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_or_move_into_itself_by_a_link_is_400_and_a_directory_in_the_place_of_a_file_is_named() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        fs::create_dir_all(directory.path().join("p/q")).unwrap();
        fs::write(directory.path().join("f"), "content").unwrap();
        symlink("p", directory.path().join("to-p")).unwrap();
        symlink(".", directory.path().join("self")).unwrap();
        for target in ["to-p/sub", "self/p/q/r", "self/p/x"] {
            let answer = change(&api, Method::POST, "ops/cp", &paths(&directory, "p", target)).await;
            assert_eq!(answer.status, 400, "{target}: {}", answer.everything());
        }
        let mut body = paths(&directory, "p", "f");
        body["overwrite"] = json!(true);
        let answer = change(&api, Method::PUT, "ops/mv", &body).await;
        assert!(answer.status == 400 && answer.everything().contains("/f: Not a directory"), "{}", answer.everything());
        assert!(directory.path().join("p/q").is_dir() && directory.path().join("f").is_file());
    }
}
