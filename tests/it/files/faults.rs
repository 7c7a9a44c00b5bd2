//! Sessions: shared, kept apart, cut, and served by servers that misbehave.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use goldcrest::domain::ContentUnit;
use goldcrest::filesystem::sftp::protocol::{
    Attributes, Request, Response, Status, VERSION, decode_request, encode_response, split_packet,
};
use goldcrest::filesystem::{ClusterFiles, FileAccess, FilesystemError, ListOptions, Part, Settings, UploadOptions};
use goldcrest::ssh::{LaneKind, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::transport::Subsystem;
use super::{Site, noise};
use crate::support::{principal, wait_for};

/// Short enough for a test, long enough for a busy machine.
const BRIEF: Duration = Duration::from_millis(500);

type Server = fn(DuplexStream);

fn impatient() -> Settings {
    Settings { command_timeout: BRIEF, stall: BRIEF, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_once_share_one_session() {
    let site = Site::sftp().unwrap();
    let path = site.write("f", "12345");
    let stats = join_all((0..200).map(|_| site.files.stat(&site.user, &path, false))).await;
    assert!(stats.into_iter().all(|stat| stat.unwrap().size == 5));
    assert_eq!(*site.transport.opened.lock().unwrap(), [("ada".to_owned(), LaneKind::Control)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_listings_and_reads_at_once_stay_within_the_files_that_the_server_opens() {
    // Our server opens 128 at a time and says so; OpenSSH's opens as many as its process may.
    let site = Site::sftp().unwrap();
    let file = site.write("f", "12345");
    let directory = site.path("");
    let (files, user) = (&site.files, &site.user);
    let listings = join_all((0..150).map(|_| files.list(user, &directory, ListOptions::default())));
    let reads = join_all((0..150).map(|_| files.view(user, &file, 0, 5)));
    let (listings, reads) = tokio::join!(listings, reads);
    assert!(listings.into_iter().all(|entries| entries.unwrap().len() == 1));
    assert!(reads.into_iter().all(|data| data.unwrap() == b"12345"));
}

#[tokio::test]
async fn each_user_has_a_session_of_their_own() {
    let site = Site::sftp().unwrap();
    let path = site.write("f", "");
    for user in ["ada", "bob", "ada", "bob"] {
        site.files.stat(&principal(user), &path, false).await.unwrap();
    }
    let opened: Vec<_> = site.transport.opened.lock().unwrap().iter().map(|(user, _)| user.clone()).collect();
    assert_eq!(opened, ["ada", "bob"]);
}

#[tokio::test]
async fn the_least_recently_used_session_goes_when_there_are_too_many() {
    let site = Site::new(Subsystem::Own, FileAccess::Sftp, Settings { max_sessions: 2, ..Settings::default() });
    let path = site.write("f", "");
    for user in ["ada", "bob", "ada", "eve"] {
        site.files.stat(&principal(user), &path, false).await.unwrap();
    }
    wait_for(Duration::from_secs(5), || site.transport.sessions() == 2).await;
    site.files.stat(&principal("ada"), &path, false).await.unwrap();
    assert_eq!(site.transport.opened.lock().unwrap().len(), 3, "bob's session went, not ada's");
}

#[tokio::test]
async fn an_idle_session_closes_and_the_next_request_opens_another() {
    let site = Site::new(Subsystem::Own, FileAccess::Sftp, Settings { session_idle: Duration::from_millis(100), ..Settings::default() });
    let path = site.write("f", "");
    site.files.stat(&site.user, &path, false).await.unwrap();
    assert_eq!(site.transport.sessions(), 1);
    wait_for(Duration::from_secs(5), || site.transport.sessions() == 0).await;
    site.files.stat(&site.user, &path, false).await.unwrap();
    assert_eq!(site.transport.opened.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_cut_is_not_noticed_by_reads() {
    let site = Site::sftp().unwrap();
    let (path, root) = (site.write("f", noise(100_000)), site.path(""));
    for number in 0..20 {
        site.write(format!("more-{number}"), "");
    }
    let part = Part { unit: ContentUnit::Bytes, count: 10, skip: false };
    for _ in 0..20 {
        site.transport.cut_sessions();
        site.files.stat(&site.user, &path, false).await.unwrap();
        site.transport.cut_sessions();
        site.files.head(&site.user, &path, part).await.unwrap();
        let list = site.files.list(&site.user, &root, ListOptions::default());
        let cut = async {
            tokio::task::yield_now().await;
            site.transport.cut_sessions();
        };
        assert_eq!(tokio::join!(list, cut).0.unwrap().len(), 21);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_end_when_their_connection_is_retired_and_what_is_under_way_does_not() {
    let site = Site::sftp().unwrap();
    let (path, root) = (site.write("f", noise(3_000_000)), site.path(""));
    for _ in 0..20 {
        site.files.stat(&site.user, &path, false).await.unwrap();
        let mut download = site.files.download(&site.user, &path, None, None).await.unwrap().content;
        let first = download.next().await.unwrap().unwrap().len();
        let list = site.files.list(&site.user, &root, ListOptions::default());
        let retire = async {
            tokio::task::yield_now().await;
            site.transport.retire_connections();
        };
        assert_eq!(tokio::join!(list, retire).0.unwrap().len(), 1);
        let rest: usize = download.map(|piece| piece.unwrap().len()).fold(0, async |sum, length| sum + length).await;
        assert_eq!(first + rest, 3_000_000);
        wait_for(Duration::from_secs(10), || site.transport.sessions() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_given_up_leave_no_open_files_behind() {
    let site = Site::sftp().unwrap();
    let path = site.write("f", noise(100_000));
    let part = Part { unit: ContentUnit::Bytes, count: 100_000, skip: false };
    for round in 0..400_u32 {
        let head = site.files.head(&site.user, &path, part);
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(round) * 5), head).await;
    }
    // The server has room for 128 open files.
    site.files.head(&site.user, &path, part).await.unwrap();
    assert_eq!(site.transport.opened.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_session_breaks_fails_and_leaves_nothing() {
    let site = Site::sftp().unwrap();
    let path = site.write("f", "old");
    let content = super::pieces(&noise(2_000_000)).chain(stream::once(futures::future::pending())).boxed();
    let (files, user) = (site.files.clone(), site.user.clone());
    let upload = tokio::spawn(async move { files.upload(&user, &path, content, UploadOptions::default()).await });
    wait_for(Duration::from_secs(10), || site.names().len() == 2).await;
    site.transport.cut_sessions();
    let error = upload.await.unwrap().unwrap_err();
    assert!(matches!(error, FilesystemError::Transport(TransportError::Broken { .. })), "{error:?}");
    wait_for(Duration::from_secs(10), || site.names() == [b"f"]).await;
    assert_eq!(std::fs::read(site.local("f")).unwrap(), b"old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stays_open_when_a_transfer_is_given_up() {
    let site = Site::sftp().unwrap();
    let path = site.write("given-up", noise(20_000_000));
    let file = site.local("given-up");
    let is_open = || {
        let mut descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        descriptors.any(|entry| std::fs::read_link(entry.unwrap().path()).is_ok_and(|target| target == file))
    };
    let mut download = site.files.download(&site.user, &path, None, None).await.unwrap();
    download.content.next().await.unwrap().unwrap();
    assert!(is_open());
    drop(download);
    wait_for(Duration::from_secs(10), || !is_open()).await;
    // The control session stays, that of the transfer goes.
    wait_for(Duration::from_secs(10), || site.transport.sessions() == 1).await;
}

#[tokio::test]
async fn without_sftp_commands_do_the_work_and_the_server_is_asked_once() {
    for subsystem in [Subsystem::Refused, Subsystem::Hostile(says_hello), Subsystem::Hostile(drop)] {
        let site = Site::new(subsystem, FileAccess::Sftp, Settings::default());
        let (files, path) = (ClusterFiles::open(site.transport.clone(), FileAccess::Auto, Settings::default()), site.write("f", "12345"));
        for _ in 0..3 {
            assert_eq!(files.of(&site.user).await.unwrap().stat(&site.user, &path, false).await.unwrap().nlink, 1);
        }
        let download = files.of(&site.user).await.unwrap().download(&site.user, &path, None, None).await.unwrap();
        assert_eq!(download.content.try_collect::<Vec<_>>().await.unwrap().concat(), b"12345");
        assert_eq!(site.transport.opened.lock().unwrap().len(), 1);
    }
    let site = Site::new(Subsystem::Own, FileAccess::Sftp, Settings::default());
    let (files, path) = (ClusterFiles::open(site.transport.clone(), FileAccess::Auto, Settings::default()), site.write("f", "12345"));
    assert_eq!(files.of(&site.user).await.unwrap().stat(&site.user, &path, false).await.unwrap().ino, 0);
    assert_eq!(site.transport.commands.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn without_sftp_and_commands_a_session_that_is_asked_for_is_refused() {
    let site = Site::new(Subsystem::Refused, FileAccess::Sftp, Settings::default());
    let path = site.path("f");
    let stats = join_all((0..20).map(|_| site.files.stat(&site.user, &path, false))).await;
    for stat in stats {
        assert!(matches!(stat, Err(FilesystemError::Transport(TransportError::Refused(_)))), "{stat:?}");
    }
    assert_eq!(site.transport.opened.lock().unwrap().len(), 1, "all waited for one attempt");
}

#[tokio::test]
async fn a_server_that_breaks_rules_is_an_error_and_not_a_hang() {
    let servers: [(&str, Server); 8] = [
        ("says hello", says_hello),
        ("hangs up", drop),
        ("never greets", |stream| hold(stream)),
        ("never answers", |stream| behave(stream, |_, _| Vec::new())),
        ("announces four gigabytes", |stream| behave(stream, |_, _| vec![0xFF; 16])),
        ("answers others", |stream| behave(stream, |id, _| status(id.wrapping_add(1), Status::Ok))),
        ("answers twice", |stream| behave(stream, |id, _| [status(id, Status::Ok), status(id, Status::Ok)].concat())),
        ("answers with something else", |stream| behave(stream, |id, _| packet(id, &Response::Data { data: Bytes::from_static(b"x") }))),
    ];
    for (name, server) in servers {
        let site = Site::new(Subsystem::Hostile(server), FileAccess::Sftp, impatient());
        let start = Instant::now();
        let path = site.path("f");
        let part = Part { unit: ContentUnit::Lines, count: 1, skip: false };
        assert!(site.files.stat(&site.user, &path, false).await.is_err(), "{name}");
        assert!(site.files.list(&site.user, &path, ListOptions::default()).await.is_err(), "{name}");
        assert!(site.files.tail(&site.user, &path, part).await.is_err(), "{name}");
        assert!(start.elapsed() < BRIEF * 12, "{name} took {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_directory_without_an_end_or_with_impossible_names_is_refused() {
    let endless: fn(DuplexStream) = |stream| directory(stream, b"n", 3_000);
    let climbing: fn(DuplexStream) = |stream| directory(stream, b"../etc", 1);
    let site = Site::new(Subsystem::Hostile(endless), FileAccess::Sftp, Settings::default());
    let error = site.files.list(&site.user, &site.path(""), ListOptions::default()).await.unwrap_err();
    assert!(matches!(error, FilesystemError::TooManyEntries { .. }), "{error:?}");
    let site = Site::new(Subsystem::Hostile(climbing), FileAccess::Sftp, Settings::default());
    let error = site.files.list(&site.user, &site.path(""), ListOptions::default()).await.unwrap_err();
    assert!(matches!(error, FilesystemError::Sftp { .. }), "{error:?}");
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_not_repeated_and_says_so() {
    let site = Site::new(Subsystem::Hostile(|stream| behave_until(stream, |_, _| None)), FileAccess::Sftp, Settings::default());
    let error = site.files.symlink(&site.user, &site.path("a"), &site.path("b")).await.unwrap_err();
    assert!(matches!(error, FilesystemError::Transport(TransportError::Broken { sent: true })), "{error:?}");
    assert_eq!(site.transport.opened.lock().unwrap().len(), 1);
    let error = site.files.stat(&site.user, &site.path("a"), false).await.unwrap_err();
    assert!(matches!(error, FilesystemError::Transport(TransportError::Broken { .. })), "{error:?}");
    assert_eq!(site.transport.opened.lock().unwrap().len(), 3, "a read is tried once more");
}

#[tokio::test]
async fn a_server_that_reads_in_small_pieces_gives_the_whole_file() {
    let site = Site::new(Subsystem::Hostile(dribble), FileAccess::Sftp, Settings::default());
    assert_eq!(site.download(&site.path("f")).await.unwrap(), noise(100_000));
}

fn says_hello(mut stream: DuplexStream) {
    tokio::spawn(async move {
        stream.write_all(b"Welcome to the cluster!\n").await.unwrap();
        hold(stream);
    });
}

fn hold(mut stream: DuplexStream) {
    tokio::spawn(async move { while stream.read_u8().await.is_ok() {} });
}

pub(super) fn packet(id: u32, response: &Response) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    encode_response(id, response, &mut buffer);
    buffer.to_vec()
}

pub(super) fn status(id: u32, status: Status) -> Vec<u8> {
    packet(id, &Response::Status { status, message: Bytes::new() })
}

/// A server that greets well and then answers as it likes.
pub(super) fn behave(stream: DuplexStream, answer: impl Fn(u32, Request) -> Vec<u8> + Send + 'static) {
    behave_until(stream, move |id, request| Some(answer(id, request)));
}

/// The same; it hangs up where there is no answer.
pub(super) fn behave_until(mut stream: DuplexStream, answer: impl Fn(u32, Request) -> Option<Vec<u8>> + Send + 'static) {
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        loop {
            while let Some(found) = split_packet(&mut buffer).unwrap() {
                let answer = match decode_request(found).unwrap() {
                    (_, Request::Init { .. }) => Some(packet(0, &Response::Version { version: VERSION, extensions: Vec::new() })),
                    (id, request) => answer(id, request),
                };
                let Some(answer) = answer else { return };
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
    });
}

fn directory(stream: DuplexStream, name: &'static [u8], count: usize) {
    use goldcrest::filesystem::sftp::protocol::NameEntry;
    behave(stream, move |id, request| match request {
        Request::Opendir { .. } => packet(id, &Response::Handle { handle: Bytes::from_static(b"h") }),
        Request::Readdir { .. } => {
            let entry = NameEntry { name: name.into(), long_name: Bytes::new(), attributes: Attributes::with_mode(0o100_644) };
            packet(id, &Response::Name { entries: vec![entry; count] })
        }
        Request::Close { .. } => status(id, Status::Ok),
        _ => packet(id, &Response::Attrs { attributes: Attributes::with_mode(0o040_755) }),
    });
}

fn dribble(stream: DuplexStream) {
    behave(stream, |id, request| match request {
        Request::Open { .. } => packet(id, &Response::Handle { handle: Bytes::from_static(b"h") }),
        Request::Read { offset, length, .. } => {
            let content = noise(100_000);
            let from = usize::try_from(offset).unwrap().min(content.len());
            let to = (from + (length as usize).min(777)).min(content.len());
            match from == to {
                true => status(id, Status::Eof),
                false => packet(id, &Response::Data { data: content[from..to].to_vec().into() }),
            }
        }
        Request::Close { .. } => status(id, Status::Ok),
        _ => packet(id, &Response::Attrs { attributes: Attributes { size: Some(100_000), ..Attributes::with_mode(0o100_644) } }),
    });
}
