//! The answer of every operation on every kind of system, with programs or a server in place of each scheduler, and with scripted
//! files. `docs/operation-table.md` is written from these answers.

mod systems;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::body::Body;
use axum::http::{Request, Response, header};
use goldcrest::cluster::NO_FILES;
use goldcrest::domain::{Checksum, Content, ContentUnit, DirectoryEntry, FileStat, FileType, Identity, PosixId, Space};
use goldcrest::filesystem::Placed;
use serde_json::{Value, json};

use super::Answer;
use super::doubles::{Reply, Step, version};
use systems::{KINDS, System};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operation-table.md");

const HEAD: &str = "\
# Operations by system

These tables show which operations are available on each kind of system. *works* stands for an answer of 200, 201 or 204; 501 has the number of its reason
below. A test sends each request to Goldcrest, with programs that play the schedulers, and generates this page from the answers:
`UPDATE_OPERATIONS=1 cargo test --test it api::operations`. `GET /status/systems` lists the operations without support for each system, as `unsupported`.

`slurm-ssh` is Slurm with its commands, `slurm-rest` with slurmrestd, `slurm-hybrid` with both (`scheduler.connection_mode`); `pbs` is
OpenPBS and PBS Professional; `local` is Goldcrest's own scheduler for one host; `kubernetes` is Kubernetes on a system without an `ssh` section. `no-ssh` is `slurm-rest` on a
system without an `ssh` section, `no-scheduler` a system without a `scheduler` section. Each of them has an object store. Without one, `transfer/upload` and
`transfer/download` work by [streamer](transfer.md#files-by-streamer) on systems with a scheduler, an `ssh` section and a directory for transfer jobs, and answer 501 on others.
";

/// What the paths hold of those of our own that are not asked: each request of a resumable upload needs the one before it, and webhooks,
/// share links and tasks need a store, whatever the system. They are named on the page: none is left out in silence.
const NOT_ASKED: [&str; 5] = ["/uploads", "/webhooks", "/copy-to", "/tasks", "/shares"];

/// What a request needs beside the method and the path of its operation.
#[derive(Default)]
struct Call {
    query: String,
    body: Option<Value>,
    files: Vec<Step>,
}

impl Call {
    fn path(files: Vec<Step>) -> Self {
        Self { query: "path=HOME/file".to_owned(), files, ..Self::default() }
    }

    fn body(body: Value, files: Vec<Step>) -> Self {
        Self { body: Some(body), files, ..Self::default() }
    }
}

/// A request that can be answered, for each operation; `HOME` in it is a directory of the caller's.
fn call(operation: &str) -> Call {
    let (_, path) = operation.split_once(' ').unwrap();
    let entry = || {
        let names = || ("alice".to_owned(), "users".to_owned());
        let ((user, group), name) = (names(), b"file".to_vec());
        let file_type = FileType::Regular;
        Reply::Entry(DirectoryEntry { name, file_type, link_target: None, user, group, permissions: 0o640, modified: 1, size: 1 })
    };
    let done = || vec![("...", Reply::Done)];
    let changed = || vec![("...", Reply::Done), ("...", entry())];
    let both = || json!({"sourcePath": "HOME/file", "targetPath": "HOME/other"});
    let part = || vec![("...", Reply::Content(Content { data: b"text".to_vec(), unit: ContentUnit::Lines, start: 0, end: 10 }))];
    let posix = |name: &str| PosixId { id: "1".to_owned(), name: name.to_owned() };
    let tail = path.rsplit_once('/').map_or(path, |(_, tail)| tail);
    match tail {
        _ if operation == "POST /compute/{system_name}/jobs" => Call::body(job(json!({"script": "#!/bin/sh\nsleep 60\n"})), vec![]),
        _ if operation.starts_with("HEAD") => {
            let stat = Reply::Stat(FileStat { mode: 0o100_644, ..FileStat::default() });
            Call::path(vec![("...", stat), ("...", Reply::Bytes(Vec::new()))])
        }
        "signal" => Call::body(json!({"signal": "CONT"}), vec![]),
        "time-limit" => Call::body(json!({"timeLimit": 60}), vec![]),
        "validate" => Call::body(job(json!({"script": "#!/bin/sh\nsleep 60\n"})), vec![]),
        "bulk" => Call::body(json!({"jobs": [job(json!({"script": "#!/bin/sh\nsleep 60\n"}))["job"]]}), vec![]),
        "jobs" if operation.starts_with("DELETE") => Call { query: "name=none".to_owned(), ..Call::default() },
        "jobs" if path.contains("{template_name}") => Call::body(json!({"workingDirectory": "HOME", "name": "waits"}), vec![]),
        "schedules" if operation.starts_with("POST") => {
            let job = job(json!({"script": "#!/bin/sh\ndate\n"}))["job"].clone();
            Call::body(json!({"cron": "0 3 * * *", "job": job}), vec![])
        }
        "attach" => Call::body(json!({"command": "true"}), vec![]),
        "checksum" => Call::path(vec![("...", Reply::Checksum(Checksum { algorithm: "SHA-256", hex: "ab".repeat(32) }))]),
        "commands" => Call::body(json!({"command": ["hostname"]}), vec![]),
        "chmod" => Call::body(json!({"path": "HOME/file", "mode": "640"}), changed()),
        "chown" => Call::body(json!({"path": "HOME/file", "group": "users"}), changed()),
        "compress" | "extract" if path.contains("/ops/") => Call::body(both(), done()),
        "download" if path.contains("/ops/") => {
            let content = Box::pin(futures::stream::iter([Ok(bytes::Bytes::from_static(b"text"))]));
            Call::path(vec![("...", Reply::Stream(content, version(4)))])
        }
        "archive" if operation.starts_with("GET") => {
            let content = Box::pin(futures::stream::iter([Ok(bytes::Bytes::from_static(b"text"))]));
            Call::path(vec![("...", Reply::Stream(content, version(4)))])
        }
        "upload" | "archive" if path.contains("/ops/") => Call::path(vec![("...", Reply::Placed(Placed::Created))]),
        "acl" => Call::path(vec![("...", Reply::Acl(Vec::new()))]),
        "batch" => Call::body(json!({"operations": [{"op": "touch", "path": "HOME/file"}]}), changed()),
        "cp" | "mv" if path.contains("/ops/") => Call::body(both(), changed()),
        "df" => Call::path(vec![("...", Reply::Space(Space { total: 3, free: 2, available: 1, files: 2, files_free: 1 }))]),
        "find" => Call::path(vec![("...", Reply::Walk(Box::pin(futures::stream::empty())))]),
        "follow" => Call::path(vec![("...", Reply::Follow(Box::pin(futures::stream::empty())))]),
        "logs" => Call { files: vec![("...", Reply::Stat(FileStat { mode: 0o100_644, ..FileStat::default() }))], ..Call::default() },
        "quota" => Call::path(vec![("...", Reply::Quotas(Vec::new()))]),
        "file" => Call::path(vec![("...", Reply::Text("text"))]),
        "head" | "tail" => Call::path(part()),
        "ls" => Call::path(vec![("...", Reply::Entries(Vec::new()))]),
        "mkdir" => Call::body(json!({"path": "HOME/new"}), changed()),
        "rm" if path.contains("/ops/") => Call::path(done()),
        "rm" => Call::path(vec![]),
        "stat" => Call::path(vec![("...", Reply::Stat(FileStat::default()))]),
        "symlink" => Call::body(json!({"path": "HOME/file", "linkPath": "HOME/link"}), changed()),
        "view" => Call::path(vec![("...", Reply::Bytes(b"text".to_vec()))]),
        "mv" | "cp" | "compress" | "extract" => Call::body(both(), vec![]),
        "upload" | "download" => {
            let stat = FileStat { mode: 0o100_644, size: 1, ..FileStat::default() };
            let mut directives = json!({"transferMethod": "s3"});
            if tail == "upload" {
                directives["fileSize"] = json!(1);
            }
            Call::body(json!({"sourcePath": "HOME/file", "transferDirectives": directives}), vec![("...", Reply::Stat(stat))])
        }
        "userinfo" => {
            let identity = Identity { user: posix("alice"), group: posix("users"), groups: vec![posix("users")] };
            Call { files: vec![("...", Reply::Identity(identity))], ..Call::default() }
        }
        _ => Call::default(),
    }
}

fn job(mut description: Value) -> Value {
    description["name"] = json!("waits");
    description["workingDirectory"] = json!("HOME");
    json!({"job": description})
}

/// Sends what `call` says to one operation of a system.
async fn ask(system: &System, operation: &str, call: Call) -> Answer {
    let (method, path) = operation.split_once(' ').unwrap();
    let mut path = path.replace("{system_name}", "system");
    path = path.replace("{template_name}", "prepared");
    if path.contains("{job_id}") {
        path = path.replace("{job_id}", &system.job_for(operation).await);
    }
    if path.contains("{schedule_id}") {
        path = path.replace("{schedule_id}", &system.schedule().await);
    }
    let uri = if call.query.is_empty() { path } else { format!("{path}?{}", call.query) };
    let uri = uri.replace("HOME", system.home());
    let request = Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, "Bearer token-of-alice");
    let request = match call.body {
        _ if operation.starts_with("PUT ") && operation.ends_with("/ops/upload") => request.body(Body::from("text")),
        _ if operation.ends_with("/ops/upload") => {
            let form = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\r\ntext\r\n--X--\r\n";
            request.header(header::CONTENT_TYPE, "multipart/form-data; boundary=X").body(Body::from(form))
        }
        Some(body) => {
            let body = body.to_string().replace("HOME", system.home());
            request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body))
        }
        None => request.body(Body::empty()),
    };
    let files = if system.asks_files(operation) { call.files } else { Vec::new() };
    let api = system.api(files);
    if operation.ends_with("/events") {
        let response = api.answer(request.unwrap()).await;
        // They go on for as long as the job does, or the token.
        let (parts, body) = response.into_parts();
        let body = if parts.status.is_success() { Body::empty() } else { body };
        return Answer::read(Response::from_parts(parts, body)).await;
    }
    api.send(request.unwrap()).await
}

/// Why the operation is not supported; `None` where it works. An answer of any other kind ends the test.
fn reason(kind: &str, operation: &str, answer: &Answer) -> Option<String> {
    match answer.status {
        200 | 201 | 204 => None,
        // An answer to HEAD has no body; those that have no files are the ones that refuse it.
        501 if answer.body.is_empty() => Some(NO_FILES.to_owned()),
        501 => Some(answer.json()["message"].as_str().unwrap().to_owned()),
        _ => panic!("{operation} on {kind}: {}", answer.everything()),
    }
}

/// Whether `GET /status/systems` of the system says so of the operation too, with its reason.
fn is_told(unsupported: &Value, operation: &str, reason: Option<&str>) -> bool {
    let (_, path) = operation.split_once(' ').unwrap();
    let told = unsupported.as_array().unwrap().iter().find(|entry| path.starts_with(entry["operations"].as_str().unwrap()));
    match (told, reason) {
        (None, None) => true,
        (Some(entry), Some(reason)) => reason.contains(entry["reason"].as_str().unwrap()),
        _ => false,
    }
}

/// `METHOD path` of every operation of a document, in the order of paths.
fn operations(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_path = |(path, item): (&String, &Value)| {
        let methods: Vec<String> = item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())).collect();
        methods
    };
    paths.flat_map(of_path).collect()
}

/// The table, as its rows come in.
#[derive(Default)]
struct Table {
    rows: String,
    reasons: Vec<String>,
}

impl Table {
    fn row(&mut self, name: &str, cells: Vec<Option<String>>) {
        let _ = write!(self.rows, "| {name} |");
        for cell in cells {
            let text = match cell {
                None => "works".to_owned(),
                Some(reason) => format!("501 ({})", self.number(reason)),
            };
            let _ = write!(self.rows, " {text} |");
        }
        self.rows.push('\n');
    }

    fn number(&mut self, reason: String) -> usize {
        let known = self.reasons.iter().position(|known| *known == reason);
        known.map_or_else(
            || {
                self.reasons.push(reason);
                self.reasons.len()
            },
            |index| index + 1,
        )
    }

    fn section(&mut self, title: &str) {
        let _ = write!(self.rows, "\n## {title}\n\n| operation | {} |\n|---|{}\n", KINDS.join(" | "), "---|".repeat(KINDS.len()));
    }
}

#[tokio::test]
async fn the_page_of_operations_says_what_the_program_answers() {
    let document: Value = serde_json::from_str(&goldcrest::http::document()).unwrap();
    let contract: Value = serde_json::from_str(include_str!("../../contract/firecrest-v2.json")).unwrap();
    let contract: BTreeSet<&str> = contract["operations"].as_object().unwrap().keys().map(String::as_str).collect();
    let (of_contract, own): (Vec<String>, Vec<String>) =
        operations(&document).into_iter().partition(|operation| contract.contains(operation.as_str()));
    let (not_asked, own): (Vec<String>, Vec<String>) =
        own.into_iter().partition(|operation| NOT_ASKED.iter().any(|part| operation.contains(part)));
    assert_eq!((of_contract.len(), not_asked.len()), (contract.len(), 19));

    let mut systems = Vec::new();
    for kind in KINDS {
        let system = System::start(kind).await;
        let status = system.api(Vec::new()).get("/status/systems").await.json();
        systems.push((system, status["systems"][0]["unsupported"].clone()));
    }
    let mut table = Table::default();
    for (title, operations) in [("Operations of FirecREST v2", of_contract), ("Additional operations", own)] {
        table.section(title);
        for operation in operations {
            let mut cells = Vec::new();
            for (system, unsupported) in &systems {
                let answer = ask(system, &operation, call(&operation)).await;
                let reason = reason(system.kind(), &operation, &answer);
                assert!(is_told(unsupported, &operation, reason.as_deref()), "{operation}: {reason:?}, and the status: {unsupported}");
                cells.push(reason);
            }
            table.row(&format!("`{operation}`"), cells);
            if operation == "POST /compute/{system_name}/jobs" {
                let mut cells = Vec::new();
                for (system, unsupported) in &systems {
                    let by_path = Call::body(job(json!({"scriptPath": "HOME/script.sh"})), vec![]);
                    let reason = reason(system.kind(), &operation, &ask(system, &operation, by_path).await);
                    assert!(is_told(unsupported, &format!("{operation} with scriptPath"), reason.as_deref()), "{reason:?}: {unsupported}");
                    cells.push(reason);
                }
                table.row("the same with `scriptPath`", cells);
            }
        }
    }
    let mut page =
        format!("{HEAD}{}\nThe test does not send these requests, because each needs the one before it, or a store:\n\n", table.rows);
    for operation in not_asked {
        let _ = writeln!(page, "- `{operation}`");
    }
    page.push_str("\n## Reasons\n\n");
    for (index, reason) in table.reasons.iter().enumerate() {
        let _ = writeln!(page, "{}. {reason}", index + 1);
    }
    if std::env::var_os("UPDATE_OPERATIONS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        committed == page,
        "docs/operation-table.md is not what the program answers; with UPDATE_OPERATIONS=1 it is written anew:\n{page}"
    );
}
