//! Resumable uploads by tus, over a real directory.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use goldcrest::cluster::Cluster;
use goldcrest::domain::{ClusterHealth, Principal};
use goldcrest::filesystem::{self, Settings};
use goldcrest::service::{Gate, State};
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};
use tempfile::TempDir;
use tokio::sync::watch;

use super::callers::{Relations, Tokens};
use super::doubles::{Script, ScriptedScheduler};
use super::{Answer, Api};
use crate::files::transport::{Local, OPENSSH, Subsystem, User};
use crate::support::{PATIENCE, skip, wait_until, was_run_as_nobody};

/// The API over a directory. Another one over the same directory is another replica.
pub(super) fn api(directory: &TempDir, access: filesystem::FileAccess) -> Api {
    api_over(directory, access, Arc::new(Local::new(Subsystem::Own)))
}

fn api_over(directory: &TempDir, access: filesystem::FileAccess, transport: Arc<dyn Transport>) -> Api {
    Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| {
        let mut config = super::cluster_config();
        config.file_systems[0].path = goldcrest::domain::RemotePath::from_text(directory.path().to_str().unwrap()).unwrap();
        let files = filesystem::ClusterFiles::open(transport.clone(), access, Settings::default());
        let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", [])));
        let cluster = Arc::new(Cluster::new(config, super::whole(transport, scheduler, files), watch::channel(ClusterHealth::default()).1));
        state.gate = Gate::new(Arc::new(Tokens), Arc::new(Relations), [cluster], State::default());
        state.root_path = "/api".to_owned();
    })
}

pub(super) async fn send(api: &Api, method: Method, uri: &str, fields: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    send_as("alice", api, method, uri, fields, body).await
}

async fn send_as(user: &str, api: &Api, method: Method, uri: &str, fields: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = Request::builder().method(method).uri(uri).header("tus-resumable", "1.0.0");
    request = request.header(header::AUTHORIZATION, format!("Bearer token-of-{user}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    api.send(request.body(body.into()).unwrap()).await
}

async fn create(api: &Api, directory: &TempDir, fields: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let uri = format!("/api/filesystem/daint/uploads?path={}/f", directory.path().display());
    send(api, Method::POST, &uri, fields, body).await
}

async fn begin(api: &Api, directory: &TempDir, length: usize) -> String {
    let answer = create(api, directory, &[("upload-length", &length.to_string())], "").await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    answer.header("location").unwrap().to_owned()
}

async fn patch(api: &Api, upload: &str, offset: usize, fields: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let offset = offset.to_string();
    let fields = [&[("upload-offset", offset.as_str()), ("content-type", "application/offset+octet-stream")], fields].concat();
    send(api, Method::PATCH, upload, &fields, body).await
}

async fn offset(api: &Api, upload: &str) -> String {
    let answer = send(api, Method::HEAD, upload, &[], "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.everything());
    answer.header("upload-offset").unwrap().to_owned()
}

#[tokio::test]
async fn no_answer_about_an_upload_names_its_hidden_file() {
    if was_run_as_nobody() {
        return;
    }
    for access in [filesystem::FileAccess::Sftp, filesystem::FileAccess::Exec] {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        let upload = begin(&api, &directory, 3).await;
        for mode in [0o555, 0o000] {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let answers = [
                create(&api, &directory, &[("upload-length", "3")], "").await,
                create(&api, &directory, &[("upload-length", "3"), ("content-type", "application/offset+octet-stream")], "abc").await,
                patch(&api, &upload, 0, &[], "abc").await,
                send(&api, Method::DELETE, &upload, &[], "").await,
            ];
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            for (number, answer) in answers.iter().enumerate() {
                let text = answer.everything();
                assert!(answer.status == 403 && !text.contains(".goldcrest-"), "{access:?} {mode:o} {number}: {text}");
            }
        }
        // Something else has the hidden name.
        let part = directory.path().join(names(&directory).pop().unwrap());
        std::fs::remove_file(&part).unwrap();
        std::fs::create_dir(&part).unwrap();
        for answer in [patch(&api, &upload, 0, &[], "abc").await, send(&api, Method::DELETE, &upload, &[], "").await] {
            assert!(!answer.everything().contains(".goldcrest-"), "{access:?}: {}", answer.everything());
        }
    }
}

fn names(directory: &TempDir) -> Vec<String> {
    std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub(super) const WAYS: [filesystem::FileAccess; 2] = [filesystem::FileAccess::Sftp, filesystem::FileAccess::Exec];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_after_a_restart_and_on_another_replica() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let first = api(&directory, access);
        let upload = begin(&first, &directory, 10).await;
        assert!(upload.starts_with("/api/filesystem/daint/uploads/"), "{upload}");
        let answer = patch(&first, &upload, 0, &[], "0123").await;
        assert_eq!((answer.status, answer.header("upload-offset")), (204, Some("4")), "{}", answer.everything());
        assert!(answer.header("upload-expires").is_some());
        assert!(!names(&directory).contains(&"f".to_owned()), "half a file is under the name of the whole");
        drop(first);
        let second = api(&directory, access);
        assert_eq!(offset(&second, &upload).await, "4");
        assert_eq!(patch(&second, &upload, 4, &[], "456789").await.status, 204);
        assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"0123456789");
        assert_eq!(names(&directory), ["f"]);
        // The answer to the last request may be lost.
        assert_eq!(offset(&second, &upload).await, "10");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_breaks_off_is_kept_as_far_as_it_came() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        let upload = begin(&api, &directory, 10).await;
        let broken = stream::iter([Ok(Bytes::from_static(b"01234")), Err(std::io::ErrorKind::ConnectionReset)]);
        let answer = patch(&api, &upload, 0, &[], Body::from_stream(broken.map(|piece| piece.map_err(std::io::Error::from)))).await;
        assert_eq!(answer.status, 400);
        assert_eq!(offset(&api, &upload).await, "5");
        assert_eq!(patch(&api, &upload, 0, &[], "x").await.status, 409);
        assert_eq!(patch(&api, &upload, 5, &[], "567890").await.status, 413);
        assert_eq!(patch(&api, &upload, 5, &[], "56789").await.status, 204);
        assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"0123456789");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checksum_that_does_not_hold_is_460_and_adds_nothing() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        let upload = begin(&api, &directory, 3).await;
        let sums = [("sha1", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="), ("sha256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")];
        for (name, sum) in sums {
            let answer = patch(&api, &upload, 0, &[("upload-checksum", &format!("{name} {sum}"))], "abd").await;
            let digest = if name == "sha1" { "the sha1 digest" } else { "the sha-256 digest" };
            assert!(answer.status == 460 && answer.everything().contains(digest), "{}", answer.everything());
            assert_eq!(offset(&api, &upload).await, "0");
        }
        assert_eq!(patch(&api, &upload, 0, &[("upload-checksum", "md5 AAAA")], "abc").await.status, 400);
        let (name, sum) = sums[0];
        assert_eq!(patch(&api, &upload, 0, &[("upload-checksum", &format!("{name} {sum}"))], "abc").await.status, 204);
        assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"abc");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_hangs_makes_way_for_the_one_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let api = Arc::new(api(&directory, filesystem::FileAccess::Sftp));
    let upload = begin(&api, &directory, 10).await;
    let hanging = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"0123"))]).chain(stream::pending());
    let hung = tokio::spawn({
        let (api, upload) = (api.clone(), upload.clone());
        async move { patch(&api, &upload, 0, &[], Body::from_stream(hanging)).await.status }
    });
    // Each question ends the request that hangs, be it before its content was taken in or after.
    wait_until(PATIENCE, async || offset(&api, &upload).await == "4" || hung.is_finished()).await;
    let arrived: usize = offset(&api, &upload).await.parse().unwrap();
    assert!([0, 4].contains(&arrived), "{arrived}");
    assert_eq!(patch(&api, &upload, arrived, &[], &b"0123456789"[arrived..]).await.status, 204);
    assert_eq!(hung.await.unwrap(), 400);
    assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"0123456789");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_upload_that_cannot_take_its_place_leaves_nothing() {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new(OPENSSH).exists() {
        return skip("only root can act as several users, on a machine with sftp-server of OpenSSH");
    }
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        // In a sticky directory the file of somebody else cannot be replaced.
        let target = directory.path().join("f");
        std::fs::write(&target, "old").unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        for path in [directory.path(), &target] {
            std::os::unix::fs::chown(path, Some(1), Some(1)).unwrap();
        }
        let mut transport = Local::new(if access == filesystem::FileAccess::Sftp { Subsystem::OpenSsh } else { Subsystem::Refused });
        transport.user = Some(User { user: 2, group: 2, groups: 2 });
        let api = api_over(&directory, access, Arc::new(transport));
        for fields in [&[("upload-length", "0")][..], &[("upload-length", "0"), ("content-type", "application/offset+octet-stream")]] {
            let answer = create(&api, &directory, fields, "").await;
            assert_eq!(answer.status, 403, "{access:?}: {}", answer.everything());
            assert_eq!(names(&directory), ["f"], "{access:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_can_begin_with_content_and_be_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(&directory, filesystem::FileAccess::Sftp);
    let fields = [("upload-length", "5"), ("content-type", "application/offset+octet-stream")];
    let answer = create(&api, &directory, &fields, "01").await;
    assert_eq!((answer.status, answer.header("upload-offset")), (201, Some("2")));
    let upload = answer.header("location").unwrap().to_owned();
    assert_eq!(send(&api, Method::DELETE, &upload, &[], "").await.status, 204);
    assert!(names(&directory).is_empty());
    for method in [Method::HEAD, Method::DELETE] {
        assert_eq!(send(&api, method, &upload, &[], "").await.status, 404);
    }
    assert_eq!(patch(&api, &upload, 2, &[], "234").await.status, 404);
    assert_eq!(create(&api, &directory, &fields, "01234").await.header("upload-offset"), Some("5"));
    assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"01234");
    let answer = create(&api, &directory, &[("upload-length", "5"), ("if-none-match", "*")], "").await;
    assert_eq!(answer.status, 412, "{}", answer.everything());
    assert_eq!(names(&directory), ["f"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_in_the_words_of_the_protocol() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(&directory, filesystem::FileAccess::Sftp);
    let begun = begin(&api, &directory, 5).await;
    for uri in ["/api/filesystem/daint/uploads", &begun] {
        let answer = send(&api, Method::OPTIONS, uri, &[], "").await;
        assert_eq!(
            (answer.status, answer.header("tus-version"), answer.header("tus-max-size")),
            (204, Some("1.0.0"), Some("100000")),
            "{uri}"
        );
        assert_eq!(answer.header("tus-resumable"), Some("1.0.0"), "{uri}");
        assert_eq!(answer.header("tus-extension"), Some("creation,creation-with-upload,checksum,termination,expiration"), "{uri}");
        assert!(answer.header("tus-checksum-algorithm").is_some_and(|names| names.contains("sha1")), "{uri}");
    }
    let answer = create(&api, &directory, &[("upload-length", "100001")], "").await;
    assert_eq!((answer.status, answer.header("tus-resumable")), (413, Some("1.0.0")));
    for length in ["-1", "x", "", "9223372036854775808"] {
        assert_eq!(create(&api, &directory, &[("upload-length", length)], "").await.status, 400, "{length}");
    }
    let missing = create(&api, &directory, &[], "").await;
    assert!(missing.status == 400 && missing.everything().contains("it is missing"), "{}", missing.everything());
    let answer = create(&api, &directory, &[("upload-length", "5"), ("upload-length", "6")], "").await;
    assert_eq!(answer.status, 400, "which of the lengths is meant is not known");
    let upload = begin(&api, &directory, 5).await;
    let content = ("content-type", "application/offset+octet-stream");
    let answer = send(&api, Method::PATCH, &upload, &[("upload-offset", "0"), ("upload-offset", "1"), content], "x").await;
    assert_eq!(answer.status, 400);
    let answer = send(&api, Method::PATCH, &upload, &[("upload-offset", "0")], "x").await;
    assert_eq!(answer.status, 415);
    let old = Request::head(&upload).header(header::AUTHORIZATION, "Bearer token-of-alice").body(Body::empty()).unwrap();
    let answer = api.send(old).await;
    assert_eq!((answer.status, answer.header("tus-version")), (412, Some("1.0.0")));
    let name = STANDARD.encode("gr\u{fc}n.txt");
    let uri = format!("/api/filesystem/daint/uploads?path={}/", directory.path().display());
    let answer = send(&api, Method::POST, &uri, &[("upload-length", "0"), ("upload-metadata", &format!("filename {name}"))], "").await;
    assert_eq!(answer.status, 201, "{}", answer.everything());
    assert!(directory.path().join("gr\u{fc}n.txt").exists());
    for name in ["../x", "", "a/b", ".."] {
        let metadata = format!("filename {}", STANDARD.encode(name));
        let answer = send(&api, Method::POST, &uri, &[("upload-length", "0"), ("upload-metadata", &metadata)], "").await;
        assert_eq!(answer.status, 400, "{name}");
    }
    let outside = send(&api, Method::POST, "/api/filesystem/daint/uploads?path=/etc/x", &[("upload-length", "1")], "").await;
    assert_eq!(outside.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extensions_that_are_not_offered_are_refused_at_the_creation_and_the_target_stays() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        std::fs::write(directory.path().join("f"), "old").unwrap();
        for field in [("upload-concat", "partial"), ("upload-concat", "final;/a /b"), ("upload-defer-length", "1")] {
            let fields = [("upload-length", "3"), field, ("content-type", "application/offset+octet-stream")];
            let answer = create(&api, &directory, &fields, "new").await;
            assert_eq!(answer.status, 501, "{access:?}, {field:?}: {}", answer.everything());
            assert!(answer.everything().contains(field.0), "{}", answer.everything());
        }
        assert_eq!(names(&directory), ["f"]);
        assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"old");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_can_stand_for_the_methods_that_a_client_cannot_send() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        let upload = begin(&api, &directory, 5).await;
        let stands_for = |method| ("x-http-method-override", method);
        let fields = [stands_for("PATCH"), ("upload-offset", "0"), ("content-type", "application/offset+octet-stream")];
        let answer = send(&api, Method::POST, &upload, &fields, "0123").await;
        assert_eq!((answer.status, answer.header("upload-offset")), (204, Some("4")), "{access:?}: {}", answer.everything());
        let answer = send(&api, Method::POST, &upload, &[stands_for("HEAD")], "").await;
        assert_eq!((answer.status, answer.header("upload-offset")), (200, Some("4")));
        assert_eq!(send(&api, Method::POST, &upload, &[], "").await.status, 405);
        assert_eq!(send(&api, Method::POST, &upload, &[stands_for("DELETE")], "").await.status, 204);
        assert!(names(&directory).is_empty(), "{access:?}");
    }
}

#[tokio::test]
async fn an_upload_to_a_file_system_itself_is_refused_in_words_about_it() {
    let directory = tempfile::tempdir().unwrap();
    let uri = format!("/api/filesystem/daint/uploads?path={}", directory.path().display());
    let answer = send(&api(&directory, WAYS[0]), Method::POST, &uri, &[("upload-length", "3")], "").await;
    assert_eq!(answer.status, 400, "{}", answer.everything());
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(message, format!("{}: Is a directory: the path must name the file to write", directory.path().display()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_add_to_a_finished_upload_learns_that_it_is_finished() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        let upload = begin(&api, &directory, 3).await;
        assert_eq!(patch(&api, &upload, 0, &[], "ab").await.status, 204);
        assert_eq!(patch(&api, &upload, 2, &[], "c").await.status, 204);
        let again = patch(&api, &upload, 2, &[], "c").await;
        assert_eq!(again.status, 409, "{}", again.everything());
        let nothing = patch(&api, &upload, 3, &[], "").await;
        assert_eq!((nothing.status, nothing.header("upload-offset")), (204, Some("3")), "{}", nothing.everything());
        assert_eq!(patch(&api, &upload, 3, &[], "d").await.status, 413);
        assert_eq!((offset(&api, &upload).await.as_str(), std::fs::read(directory.path().join("f")).unwrap()), ("3", b"abc".to_vec()));
        std::fs::remove_file(directory.path().join("f")).unwrap();
        assert_eq!(patch(&api, &upload, 3, &[], "").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_upload_can_be_given_up_and_its_file_stays() {
    for access in WAYS {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, access);
        let upload = begin(&api, &directory, 3).await;
        assert_eq!(patch(&api, &upload, 0, &[], "abc").await.status, 204);
        assert_eq!(send(&api, Method::DELETE, &upload, &[], "").await.status, 204);
        assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"abc");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_overtaken_on_another_replica_writes_nothing_more() {
    for access in WAYS {
        for checked in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let (first, second) = (Arc::new(api(&directory, access)), api(&directory, access));
            let upload = begin(&second, &directory, 10).await;
            // Its client goes silent after three bytes, and sends the rest when all is over.
            let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
            let rest = stream::once(async move {
                let _ = wait.await;
                Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            });
            let silent = stream::iter([Ok(Bytes::from_static(b"012"))]).chain(rest);
            let overtaken = tokio::spawn({
                let (first, upload) = (first.clone(), upload.clone());
                async move {
                    let sum: &[_] = if checked { &[("upload-checksum", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")] } else { &[] };
                    patch(&first, &upload, 0, sum, Body::from_stream(silent)).await.status
                }
            });
            let on_disk = || {
                // A name may be another's by now.
                let sizes = std::fs::read_dir(directory.path()).unwrap().filter_map(|entry| entry.unwrap().metadata().ok());
                sizes.map(|found| found.len()).max().unwrap_or_default()
            };
            wait_until(PATIENCE, async || on_disk() == 3).await;
            let arrived: usize = offset(&second, &upload).await.parse().unwrap();
            let answer = patch(&second, &upload, arrived, &[], &b"0123456789"[arrived..]).await;
            assert_eq!(answer.status, 204, "{access:?}: {}", answer.everything());
            drop(go_on);
            let told = overtaken.await.unwrap();
            assert!([400, 423].contains(&told), "{access:?}: {told}");
            assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"0123456789", "{access:?}, {checked}");
        }
    }
}

/// A machine on which alice and everybody else have accounts of their own. It takes root.
struct TwoAccounts {
    alice: Local,
    others: Local,
}

impl TwoAccounts {
    /// `bin` and `daemon`, who have an entry on each machine: OpenSSH's server does not start for others.
    const ALICE: u32 = 2;

    fn new() -> Option<Arc<Self>> {
        if !rustix::process::geteuid().is_root() || !std::path::Path::new(OPENSSH).exists() {
            skip(&format!("only root can act as several users, on a machine with {OPENSSH}"));
            return None;
        }
        let account = |id| {
            let mut account = Local::new(Subsystem::OpenSsh);
            account.user = Some(User { user: id, group: id, groups: id });
            account
        };
        Some(Arc::new(Self { alice: account(Self::ALICE), others: account(1) }))
    }

    fn of(&self, principal: &Principal) -> &Local {
        if principal.username.as_str() == "alice" { &self.alice } else { &self.others }
    }
}

#[async_trait]
impl Transport for TwoAccounts {
    async fn exec(&self, by: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        self.of(by).exec(by, exec).await
    }

    async fn subsystem(&self, by: &Principal, lane: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        self.of(by).subsystem(by, lane, name).await
    }

    async fn stream(&self, by: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        self.of(by).stream(by, line).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_the_name_of_anothers_upload_gets_403_and_the_owner_goes_on() {
    for access in WAYS {
        let Some(transport) = TwoAccounts::new() else { return };
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(TwoAccounts::ALICE), Some(TwoAccounts::ALICE)).unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let api = Arc::new(api_over(&directory, access, transport));
        let upload = begin(&api, &directory, 10).await;
        let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
        let rest = stream::once(async move {
            let _ = wait.await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"3456789"))
        });
        let content = stream::iter([Ok(Bytes::from_static(b"012"))]).chain(rest);
        let owner = tokio::spawn({
            let (api, upload) = (api.clone(), upload.clone());
            async move { patch(&api, &upload, 0, &[], Body::from_stream(content)).await }
        });
        let arrived = || {
            let sizes = std::fs::read_dir(directory.path()).unwrap().filter_map(|entry| entry.unwrap().metadata().ok());
            sizes.map(|found| found.len()).max().unwrap_or_default()
        };
        wait_until(PATIENCE, async || arrived() == 3).await;
        // Eve may use the system, and has no rights in the directory; mallory may not even use the system.
        for user in ["eve", "mallory"] {
            let fields = [("upload-offset", "3"), ("content-type", "application/offset+octet-stream")];
            for (method, fields, body) in [(Method::HEAD, &[][..], ""), (Method::PATCH, &fields, "666"), (Method::DELETE, &[], "")] {
                let answer = send_as(user, &api, method.clone(), &upload, fields, body).await;
                assert_eq!(answer.status, 403, "{access:?}, {user}, {method}: {}", answer.everything());
            }
        }
        assert!(!owner.is_finished(), "{access:?}: the owner's request was ended");
        go_on.send(()).unwrap();
        let answer = owner.await.unwrap();
        assert_eq!((answer.status, answer.header("upload-offset")), (204, Some("10")), "{access:?}: {}", answer.everything());
        assert_eq!(std::fs::read(directory.path().join("f")).unwrap(), b"0123456789");
    }
}
