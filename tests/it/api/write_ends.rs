//! Writes that fail, for each kind of write: the target is unchanged, the answer is true, and nothing is left behind.
//!
//! Writes that the cluster does not take are in `files/full.rs`, the rights of what is written over in `files/rights.rs`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use futures::{StreamExt, stream};
use goldcrest::cluster::{Cluster, SizeLimit};
use goldcrest::domain::{ClusterHealth, RemotePath};
use goldcrest::filesystem::{self, FileAccess, Settings};
use goldcrest::service::{Gate, State};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

use super::callers::{Relations, Tokens};
use super::doubles::{Script, ScriptedScheduler};
use super::{Answer, Api};
use crate::files::transport::{Local, Subsystem};
use crate::support::{PATIENCE, wait_for};

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The content has another digest than was said.
    DigestMismatch,
    /// The client breaks off in the middle of the content.
    BrokenOff,
    /// The client goes away without a word.
    ClientGone,
    /// The connection to the cluster breaks in the middle of the content.
    ConnectionCut,
}

/// The ways in which content comes to a file or directory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum WayIn {
    Put,
    Form,
    Tus,
    Archive,
    Copy,
    Batch,
    Compress,
    Extract,
}

/// What is tested by this file: each kind by each way in, with the status of the answer. A copy within the cluster, an archive of it and
/// one that is unpacked there have no content that could have a digest or break off; the command that makes them goes on by itself.
const TABLE: &[(Kind, &[(WayIn, u16)])] = &[
    (Kind::DigestMismatch, &[(WayIn::Put, 400), (WayIn::Tus, 460), (WayIn::Archive, 400)]),
    (Kind::BrokenOff, &[(WayIn::Put, 400), (WayIn::Form, 400), (WayIn::Tus, 400), (WayIn::Archive, 400)]),
    (
        Kind::ClientGone,
        &[
            (WayIn::Put, 0),
            (WayIn::Form, 0),
            (WayIn::Tus, 0),
            (WayIn::Archive, 0),
            (WayIn::Copy, 0),
            (WayIn::Batch, 0),
            (WayIn::Compress, 0),
            (WayIn::Extract, 0),
        ],
    ),
    (Kind::ConnectionCut, &[(WayIn::Put, 424), (WayIn::Form, 424), (WayIn::Tus, 424), (WayIn::Archive, 424)]),
];

/// Enough for a transfer to have a session of its own, and for a copy to take a moment.
const LENGTH: usize = 3_000_000;

struct Site {
    api: Arc<Api>,
    transport: Arc<Local>,
    directory: TempDir,
}

impl Site {
    fn new(access: FileAccess) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let transport = Arc::new(Local::new(Subsystem::Own));
        let api = Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| {
            let mut config = super::cluster_config();
            config.file_systems[0].path = RemotePath::from_text(directory.path().to_str().unwrap()).unwrap();
            config.data_operation.max_ops_file_size = SizeLimit::Bytes(10_000_000);
            config.data_operation.max_stream_size = SizeLimit::Bytes(10_000_000);
            let files = filesystem::ClusterFiles::open(transport.clone(), access, Settings::default());
            let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", [])));
            let cluster =
                Cluster::new(config, super::whole(transport.clone(), scheduler, files), watch::channel(ClusterHealth::default()).1);
            state.gate = Gate::new(Arc::new(Tokens), Arc::new(Relations), [Arc::new(cluster)], State::default());
        });
        let site = Self { api: Arc::new(api), transport, directory };
        fs::write(site.path("f"), "old").unwrap();
        fs::create_dir(site.path("tree")).unwrap();
        fs::write(site.path("tree/big"), content()).unwrap();
        let tar = std::process::Command::new("tar").current_dir(site.directory.path()).args(["-cf", "big.tar", "tree"]).status();
        assert!(tar.unwrap().success());
        site
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A request that writes over `f`, or makes the directory `new`, with this body.
    fn request(&self, way_in: WayIn, upload: &str, body: Body, digest: Option<&str>) -> Request<Body> {
        let (root, ops) = (self.directory.path().display(), "/filesystem/daint/ops");
        let document = |document: serde_json::Value| (Body::from(document.to_string()), vec![("content-type", "application/json")]);
        let source = |name: &str| format!("{root}/{name}");
        let copy = json!({"op": "cp", "sourcePath": source("tree/big"), "targetPath": source("f"), "overwrite": true});
        let (method, uri, (body, mut fields)) = match way_in {
            WayIn::Put => (Method::PUT, format!("{ops}/upload?path={root}/f"), (body, vec![])),
            WayIn::Form => {
                let fields = vec![("content-type", "multipart/form-data; boundary=b")];
                (Method::POST, format!("{ops}/upload?path={root}"), (body, fields))
            }
            WayIn::Tus => {
                let fields = vec![("tus-resumable", "1.0.0"), ("upload-offset", "0"), ("content-type", "application/offset+octet-stream")];
                (Method::PATCH, upload.to_owned(), (body, fields))
            }
            WayIn::Archive => (Method::PUT, format!("{ops}/archive?path={root}/new&format=tar"), (body, vec![])),
            WayIn::Copy => (Method::POST, format!("{ops}/cp"), document(copy)),
            WayIn::Batch => (Method::POST, format!("{ops}/batch"), document(json!({"operations": [copy]}))),
            WayIn::Compress => {
                (Method::POST, format!("{ops}/compress"), document(json!({"sourcePath": source("tree"), "targetPath": source("f")})))
            }
            WayIn::Extract => {
                let request = json!({"sourcePath": source("big.tar"), "targetPath": source("tree"), "compression": "none"});
                (Method::POST, format!("{ops}/extract"), document(request))
            }
        };
        if let Some(digest) = digest {
            fields.push(if way_in == WayIn::Tus {
                ("upload-checksum", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")
            } else {
                ("repr-digest", digest)
            });
        }
        let mut request = Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, "Bearer token-of-alice");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        request.body(body).unwrap()
    }

    async fn begin_upload(&self) -> String {
        let uri = format!("/filesystem/daint/uploads?path={}/f", self.directory.path().display());
        let request = Request::post(uri).header("tus-resumable", "1.0.0").header("upload-length", LENGTH);
        let answer = self.api.send(request.header(header::AUTHORIZATION, "Bearer token-of-alice").body(Body::empty()).unwrap()).await;
        answer.header("location").unwrap().to_owned()
    }

    async fn tus(&self, method: Method, upload: &str) -> Answer {
        let request = Request::builder().method(method).uri(upload).header("tus-resumable", "1.0.0");
        self.api.send(request.header(header::AUTHORIZATION, "Bearer token-of-alice").body(Body::empty()).unwrap()).await
    }
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| (at * 7 / 5).to_le_bytes()[0]).collect()
}

/// What is sent before the end that it does not come to; for an archive, its beginning.
fn first_part(site: &Site, way_in: WayIn) -> Vec<u8> {
    let content = if way_in == WayIn::Archive { fs::read(site.path("big.tar")).unwrap() } else { content() };
    let head: &[u8] = match way_in {
        WayIn::Form => b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n",
        _ => b"",
    };
    [head, &content[..LENGTH / 2]].concat()
}

fn whole(site: &Site, way_in: WayIn) -> Vec<u8> {
    if way_in == WayIn::Archive { fs::read(site.path("big.tar")).unwrap() } else { content() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_does_not_end_well_leaves_the_target_as_it_was_by_each_way_in() {
    for access in [FileAccess::Sftp, FileAccess::Exec] {
        for (kind, way_in, status) in TABLE.iter().flat_map(|(kind, ways)| ways.iter().map(|(way, status)| (*kind, *way, *status))) {
            let context = format!("{access:?}, {kind:?}, {way_in:?}");
            let site = Site::new(access);
            let before = site.names();
            let upload = if way_in == WayIn::Tus { site.begin_upload().await } else { String::new() };
            let start = stream::iter([Ok(Bytes::from(first_part(&site, way_in)))]);
            // That the connection is cut shows when more is to be written.
            let (go_on, gone_on) = tokio::sync::oneshot::channel::<()>();
            let rest = stream::once(async move {
                let _ = gone_on.await;
                Ok(Bytes::from(vec![0; 100_000]))
            });
            let body = match kind {
                Kind::DigestMismatch => Body::from(whole(&site, way_in)),
                Kind::BrokenOff => Body::from_stream(start.chain(stream::iter([Err(std::io::Error::other("reset"))]))),
                Kind::ClientGone | Kind::ConnectionCut => Body::from_stream(start.chain(rest).chain(stream::pending())),
            };
            let digest = (kind == Kind::DigestMismatch).then_some("sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
            let request = site.request(way_in, &upload, body, digest);
            let answering = tokio::spawn({
                let api = Arc::clone(&site.api);
                async move { api.send(request).await }
            });
            let is_written = || {
                let hidden = |name: &String| name.contains(".goldcrest-");
                site.names().iter().filter(|name| hidden(name)).any(|name| {
                    let path = site.path(name);
                    path.join("tree/big").metadata().or_else(|_| path.metadata()).is_ok_and(|found| found.is_file() && found.len() > 0)
                })
            };
            match kind {
                Kind::DigestMismatch | Kind::BrokenOff => {}
                Kind::ClientGone => {
                    wait_for(PATIENCE, || is_written() || answering.is_finished()).await;
                    answering.abort();
                }
                Kind::ConnectionCut => {
                    wait_for(PATIENCE, is_written).await;
                    site.transport.cut_sessions();
                    let _ = go_on.send(());
                }
            }
            match answering.await {
                Ok(answer) if kind != Kind::ClientGone => {
                    assert_eq!(answer.status, status, "{context}: {}", answer.everything());
                    if kind == Kind::ConnectionCut && way_in == WayIn::Tus {
                        assert_eq!(answer.json()["maybeEffected"], true, "{context}: bytes were added: {}", answer.everything());
                    }
                }
                _ => assert_eq!(kind, Kind::ClientGone, "{context}"),
            }
            if way_in == WayIn::Tus {
                let kept: usize = site.tus(Method::HEAD, &upload).await.header("upload-offset").unwrap().parse().unwrap();
                assert!(kept <= LENGTH / 2 && (kind != Kind::DigestMismatch || kept == 0), "{context}: {kept}");
                assert_eq!(kind == Kind::DigestMismatch, kept == 0, "{context}: what came is kept, but for what was to be checked");
                assert_eq!(site.tus(Method::DELETE, &upload).await.status, 204, "{context}");
            }
            // What the cluster does by itself goes on to its end.
            wait_for(Duration::from_secs(30), || site.names() == before).await;
            let left = fs::read(site.path("f")).unwrap();
            let by_itself = matches!(way_in, WayIn::Copy | WayIn::Batch | WayIn::Compress);
            assert!(left == b"old" || by_itself && left.len() > 1_000, "{context}: {} bytes", left.len());
            if matches!(way_in, WayIn::Copy | WayIn::Batch) {
                assert!(left == b"old" || left == content(), "{context}: neither the old content nor the new one");
            }
        }
    }
}
