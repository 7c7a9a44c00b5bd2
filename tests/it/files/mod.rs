//! Every file operation on a real directory: over SFTP with our own server and with OpenSSH's, by commands, and by commands in a pod. The bodies are
//! the same for all; what differs by design is named in them.

mod archives;
mod copies;
mod faults;
mod follows;
pub mod full;
mod links;
mod operations;
mod parts;
mod ranges;
mod refusals;
mod rights;
pub mod swap;
mod swaps;
mod sweep;
mod throughput;
pub mod transport;
mod uploads;
mod waiting;
mod walks;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use goldcrest::domain::{Principal, RemotePath};
use goldcrest::filesystem::{CommandFiles, ContentStream, FileAccess, FileSystem, FilesystemError, Settings, Sftp, UploadOptions};

use crate::kubernetes::double::ApiServer;
use crate::support::{principal, skip};
use transport::{Local, OPENSSH, Subsystem};

/// The files of this machine, reached in one way.
/// Settings under which a busy machine is in nobody's way.
fn patient() -> Settings {
    Settings { command_timeout: Duration::from_secs(60), ..Settings::default() }
}

fn open(transport: Arc<Local>, access: FileAccess, settings: Settings) -> Arc<dyn FileSystem> {
    let exec = CommandFiles::new(transport.clone(), settings);
    match access {
        FileAccess::Exec => Arc::new(exec),
        _ => Arc::new(Sftp::new(transport, exec, settings)),
    }
}

/// A directory, and a way to reach it.
struct Site {
    directory: tempfile::TempDir,
    transport: Arc<Local>,
    files: Arc<dyn FileSystem>,
    user: Principal,
    access: FileAccess,
    /// What commands in a pod need.
    _pod: Option<(ApiServer, tempfile::TempDir)>,
}

impl Site {
    fn new(subsystem: Subsystem, access: FileAccess, settings: Settings) -> Self {
        let transport = Arc::new(Local::new(subsystem));
        let files = open(transport.clone(), access, settings);
        Self { directory: tempfile::tempdir().unwrap(), transport, files, user: principal("ada"), access, _pod: None }
    }

    fn sftp() -> Option<Self> {
        Some(Self::new(Subsystem::Own, FileAccess::Sftp, patient()))
    }

    fn real(subsystem: Subsystem) -> Option<Self> {
        if !Path::new(OPENSSH).exists() {
            skip(&format!("there is no {OPENSSH}"));
            return None;
        }
        Some(Self::new(subsystem, FileAccess::Sftp, patient()))
    }

    fn openssh() -> Option<Self> {
        Self::real(Subsystem::OpenSsh)
    }

    fn plain() -> Option<Self> {
        Self::real(Subsystem::Plain)
    }

    fn exec() -> Option<Self> {
        Some(Self::new(Subsystem::Refused, FileAccess::Exec, patient()))
    }

    /// By commands in a pod of Kubernetes, which this machine runs.
    #[expect(clippy::disallowed_methods, reason = "nothing else runs in the test yet")]
    fn pod() -> Option<Self> {
        let mut site = Self::exec()?;
        let (start, own) = (ApiServer::start(|_| None), tempfile::tempdir().unwrap());
        let server = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(start));
        server.run_commands(own.path());
        let scheduler = server.scheduler(serde_json::json!({"files": {"image": "registry.test/files:1"}}));
        site.files = Arc::new(CommandFiles::new(scheduler.files().unwrap(), patient()));
        site._pod = Some((server, own));
        Some(site)
    }

    fn is_sftp(&self) -> bool {
        self.access == FileAccess::Sftp
    }

    fn local(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.directory.path().join(OsString::from_vec(name.as_ref().to_vec()))
    }

    fn path(&self, name: impl AsRef<[u8]>) -> RemotePath {
        RemotePath::from_bytes(self.local(name).as_os_str().as_bytes()).unwrap()
    }

    fn write(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> RemotePath {
        std::fs::write(self.local(&name), content).unwrap();
        self.path(name)
    }

    async fn upload(&self, path: &RemotePath, content: &[u8], cap: Option<u64>) -> Result<(), FilesystemError> {
        self.files.upload(&self.user, path, pieces(content), UploadOptions { cap, ..UploadOptions::default() }).await.map(drop)
    }

    async fn download(&self, path: &RemotePath) -> Result<Vec<u8>, FilesystemError> {
        let download = self.files.download(&self.user, path, None, None).await?;
        let data = download.content.try_collect::<Vec<Bytes>>().await?.concat();
        assert_eq!(data.len() as u64, download.version.size);
        Ok(data)
    }

    /// What is in the directory now, hidden files too.
    fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<_> =
            std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect();
        names.sort();
        names
    }
}

/// Names that a shell, a parser or a text encoding could trip over.
fn hostile_names() -> Vec<Vec<u8>> {
    vec![
        b"plain".to_vec(),
        b"with space".to_vec(),
        b"-rf".to_vec(),
        b"it's \"quoted\"".to_vec(),
        b"new\nline".to_vec(),
        b"$(touch pwned); `id` && *".to_vec(),
        b"not\xFFutf8\x80".to_vec(),
        b"back\\slash\\n".to_vec(),
        b"host:file".to_vec(),
        b" lead and trail ".to_vec(),
        vec![b'x'; 255],
    ]
}

fn pieces(content: &[u8]) -> ContentStream {
    let pieces: Vec<_> = content.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

/// Content in which every block of it is unlike the others.
fn noise(length: usize) -> Vec<u8> {
    (0..length.div_ceil(8)).flat_map(|at| (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).take(length).collect()
}

/// Runs each body on each kind of site.
macro_rules! on_each_site {
    ($($body:ident),* $(,)?) => {
        on_each_site!(@site own_sftp_server, sftp, $($body),*);
        on_each_site!(@site openssh_sftp_server, openssh, $($body),*);
        on_each_site!(@site sftp_without_extensions, plain, $($body),*);
        on_each_site!(@site commands, exec, $($body),*);
        on_each_site!(@site commands_in_a_pod, pod, $($body),*);
    };
    (@site $module:ident, $site:ident, $($body:ident),*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $body() {
                if let Some(site) = super::super::Site::$site() {
                    super::$body(site).await;
                }
            })*
        }
    };
}
use on_each_site;
