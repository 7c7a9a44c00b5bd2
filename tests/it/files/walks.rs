//! Walks, pages and searches, on every kind of site and against servers that misbehave.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use goldcrest::domain::{DirectoryEntry, FileType, RemotePath};
use goldcrest::filesystem::sftp::protocol::{Attributes, NameEntry, Request, Response, Status};
use goldcrest::filesystem::{FileAccess, FilesystemError, Filter, Glob, ListOptions, PageRequest, Settings, Sort, WalkOptions};
use tokio::io::DuplexStream;

use super::faults::{behave, behave_until, packet, status};
use super::transport::Subsystem;
use super::{Site, hostile_names, on_each_site};
use crate::support::wait_for;

on_each_site!(
    a_walk_finds_what_a_listing_lists,
    the_pages_of_a_directory_are_its_listing_in_every_order,
    a_search_finds_by_name_type_size_time_and_depth,
    a_walk_of_what_is_missing_or_no_directory_is_told_at_once,
);

const EVERYTHING: ListOptions = ListOptions { hidden: true, numeric_ids: false, recursive: true, dereference: false };

fn walk(list: ListOptions) -> WalkOptions {
    WalkOptions { list, ..WalkOptions::default() }
}

async fn found(site: &Site, path: &RemotePath, options: WalkOptions) -> Result<Vec<DirectoryEntry>, FilesystemError> {
    let pieces: Vec<_> = site.files.walk(&site.user, path, options).await?.try_collect().await?;
    let mut entries = pieces.concat();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

async fn a_walk_finds_what_a_listing_lists(site: Site) {
    fs::create_dir_all(site.local("a/b/.c/d")).unwrap();
    fs::create_dir(site.local("empty")).unwrap();
    for name in hostile_names() {
        site.write([b"a/", name.as_slice()].concat(), &name);
        site.write([b"a/b/.c/", name.as_slice()].concat(), "");
    }
    symlink("b", site.local("a/to-b")).unwrap();
    symlink("nowhere", site.local("a/dangling")).unwrap();
    symlink("../..", site.local("a/b/round")).unwrap();
    let root = site.path("");
    for (hidden, numeric_ids, recursive, dereference) in
        [(false, false, false, false), (true, false, true, false), (false, true, true, false), (true, false, true, true)]
    {
        let options = ListOptions { hidden, numeric_ids, recursive, dereference };
        let listed = site.files.list(&site.user, &root, options).await.unwrap();
        assert_eq!(found(&site, &root, walk(options)).await.unwrap(), listed, "{options:?}");
    }
}

async fn the_pages_of_a_directory_are_its_listing_in_every_order(site: Site) {
    for number in 0..700_usize {
        site.write(format!("{:x}", number * 7919 % 700), "x".repeat(number % 5));
    }
    site.write(".hidden", "");
    symlink("1", site.local("link")).unwrap();
    let root = site.path("");
    let options = ListOptions::default();
    let listed = site.files.list(&site.user, &root, options).await.unwrap();
    assert_eq!(listed.len(), 701);
    for sort in [Sort::Name, Sort::Size, Sort::Modified] {
        for descending in [false, true] {
            let mut expected = listed.clone();
            expected.sort_by_key(|entry| (sort.value(entry.size, entry.modified), entry.name.clone()));
            if descending {
                expected.reverse();
            }
            let mut request = PageRequest { size: 300, sort, descending, after: None };
            let mut paged = Vec::new();
            for expected_size in [300, 300, 101] {
                let page = site.files.page(&site.user, &root, options, &request).await.unwrap();
                assert_eq!(page.entries.len(), expected_size);
                paged.extend(page.entries);
                request.after = page.next;
            }
            assert_eq!(request.after, None);
            assert_eq!(paged, expected, "{sort:?} {descending}");
        }
    }
    let (file, request) = (site.path("1"), PageRequest { size: 5, sort: Sort::Name, descending: false, after: None });
    let page = site.files.page(&site.user, &file, options, &request);
    assert_eq!(page.await.unwrap().entries.len(), 1, "a file is its own entry");
}

async fn a_search_finds_by_name_type_size_time_and_depth(site: Site) {
    fs::create_dir_all(site.local("one/two/three")).unwrap();
    site.write("one/a.out", "12345");
    site.write("one/two/b.out", "123");
    site.write("one/two/three/.c.out", "");
    site.write("one/two/latin1-\u{e9}.log", "");
    symlink("a.out", site.local("one/l.out")).unwrap();
    let old = fs::File::options().write(true).open(site.local("one/a.out")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    let root = site.path("");
    let search = async |filter: Filter, max_depth: Option<u32>| {
        let entries = found(&site, &root, WalkOptions { list: EVERYTHING, max_depth, filter }).await.unwrap();
        entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect::<BTreeSet<_>>()
    };
    let named = |pattern: &str| Filter { name: Some(Glob::new(pattern).unwrap()), ..Filter::default() };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(search(named("*.out"), None).await, set(&["one/a.out", "one/l.out", "one/two/b.out", "one/two/three/.c.out"]));
    assert_eq!(search(named("*.out"), Some(2)).await, set(&["one/a.out", "one/l.out"]));
    assert_eq!(search(named("latin1-?.log"), None).await, set(&["one/two/latin1-\u{e9}.log"]));
    let links = Filter { types: vec![FileType::Symlink], ..Filter::default() };
    assert_eq!(search(links, None).await, set(&["one/l.out"]));
    let directories = Filter { types: vec![FileType::Directory], ..Filter::default() };
    assert_eq!(search(directories, Some(2)).await, set(&["one", "one/two"]));
    let sized = Filter { types: vec![FileType::Regular], min_size: Some(3), max_size: Some(4), ..Filter::default() };
    assert_eq!(search(sized, None).await, set(&["one/two/b.out"]));
    let old = Filter { modified_before: Some(1_000_001), ..Filter::default() };
    assert_eq!(search(old, None).await, set(&["one/a.out"]));
    let new = Filter { types: vec![FileType::Regular], modified_since: Some(1_000_001), ..named("*.out") };
    assert_eq!(search(new, None).await, set(&["one/two/b.out", "one/two/three/.c.out"]));
}

async fn a_walk_of_what_is_missing_or_no_directory_is_told_at_once(site: Site) {
    let error = site.files.walk(&site.user, &site.path("gone"), walk(EVERYTHING)).await.err();
    assert!(matches!(error, Some(FilesystemError::NotFound(_))), "{error:?}");
    let file = site.write("file", "12");
    let entries = found(&site, &file, walk(EVERYTHING)).await.unwrap();
    assert_eq!((entries.len(), entries[0].name.as_slice(), entries[0].size), (1, file.as_bytes(), 2));
    let other = WalkOptions { filter: Filter { name: Some(Glob::new("x*").unwrap()), ..Filter::default() }, ..walk(EVERYTHING) };
    assert_eq!(found(&site, &file, other).await.unwrap(), []);
    fs::create_dir(site.local("empty")).unwrap();
    assert_eq!(found(&site, &site.path("empty"), walk(EVERYTHING)).await.unwrap(), []);
}

static READDIRS: AtomicUsize = AtomicUsize::new(0);

/// A directory that never ends.
fn endless(stream: DuplexStream) {
    let number = AtomicUsize::new(0);
    behave(stream, move |id, request| match request {
        Request::Opendir { .. } => packet(id, &Response::Handle { handle: Bytes::from_static(b"h") }),
        Request::Readdir { .. } => {
            READDIRS.fetch_add(1, Ordering::Relaxed);
            let names = (0..100).map(|_| number.fetch_add(1, Ordering::Relaxed).to_string());
            let entries = names.map(|name| NameEntry {
                name: name.into(),
                long_name: Bytes::new(),
                attributes: Attributes { size: Some(1), ..Attributes::with_mode(0o100_644) },
            });
            packet(id, &Response::Name { entries: entries.collect() })
        }
        Request::Close { .. } => status(id, Status::Ok),
        _ => packet(id, &Response::Attrs { attributes: Attributes::with_mode(0o040_755) }),
    });
}

#[tokio::test]
async fn a_walk_asks_for_no_more_than_is_read_of_it() {
    let site = Site::new(Subsystem::Hostile(endless), FileAccess::Sftp, Settings::default());
    let mut entries = site.files.walk(&site.user, &site.path(""), walk(EVERYTHING)).await.unwrap();
    for _ in 0..2_000 {
        assert_eq!(entries.next().await.unwrap().unwrap().len(), 100);
    }
    let taken = READDIRS.load(Ordering::Relaxed);
    assert!((2_000..2_020).contains(&taken), "two hundred thousand entries went by, and {taken} replies were asked for");
}

/// `/…/closed` may not be read, everything else is a directory with two more, four levels deep.
fn partly_closed(stream: DuplexStream) {
    let read = Mutex::new(BTreeSet::new());
    behave(stream, move |id, request| match request {
        Request::Opendir { path } if path.ends_with(b"closed") => status(id, Status::PermissionDenied),
        Request::Opendir { path } => packet(id, &Response::Handle { handle: path }),
        Request::Readdir { handle } => {
            // Not every x: the site lies in a folder whose name is drawn by lot.
            let levels = handle.windows(2).filter(|pair| pair == b"/x").count();
            let names: &[&'static [u8]] = if levels < 3 { &[b"x1", b"closed", b"x2"] } else { &[b"closed"] };
            let entries = names.iter().map(|name| NameEntry {
                name: (*name).into(),
                long_name: Bytes::new(),
                attributes: Attributes::with_mode(0o040_755),
            });
            // Every further answer is the end.
            match read.lock().unwrap().insert(handle) {
                true => packet(id, &Response::Name { entries: entries.collect() }),
                false => status(id, Status::Eof),
            }
        }
        Request::Close { .. } => status(id, Status::Ok),
        _ => packet(id, &Response::Attrs { attributes: Attributes::with_mode(0o040_755) }),
    });
}

#[tokio::test]
async fn directories_that_cannot_be_read_are_walked_around_and_told_of_at_the_end() {
    let site = Site::new(Subsystem::Hostile(partly_closed), FileAccess::Sftp, Settings::default());
    let mut entries = site.files.walk(&site.user, &site.path(""), walk(EVERYTHING)).await.unwrap();
    let mut names = BTreeSet::new();
    let error = loop {
        match entries.next().await.unwrap() {
            Ok(found) => names.extend(found.into_iter().map(|entry| entry.name)),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, FilesystemError::Incomplete { count: 15, first } if first.as_bytes().ends_with(b"closed")), "{error:?}");
    // 1 + 2 + 4 + 8 directories, each with one that is closed, and all but the root listed themselves.
    assert_eq!(names.len(), 15 + 14);
    assert!(entries.next().await.is_none());
}

/// Hangs up in the middle of a directory.
fn cut(stream: DuplexStream) {
    behave_until(stream, |id, request| match request {
        Request::Opendir { .. } => Some(packet(id, &Response::Handle { handle: Bytes::from_static(b"h") })),
        Request::Readdir { .. } if id > 20 => None,
        Request::Readdir { .. } => {
            let entry = NameEntry { name: id.to_string().into(), long_name: Bytes::new(), attributes: Attributes::with_mode(0o100_644) };
            Some(packet(id, &Response::Name { entries: vec![entry] }))
        }
        _ => Some(packet(id, &Response::Attrs { attributes: Attributes::with_mode(0o040_755) })),
    });
}

#[tokio::test]
async fn a_walk_whose_session_breaks_does_not_look_complete() {
    let site = Site::new(Subsystem::Hostile(cut), FileAccess::Sftp, Settings::default());
    let error = found(&site, &site.path(""), walk(EVERYTHING)).await.unwrap_err();
    assert!(matches!(error, FilesystemError::Transport(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_that_is_given_up_leaves_no_directory_open() {
    let site = Site::sftp().unwrap();
    for number in 0..2_000 {
        site.write(number.to_string(), "");
    }
    let directory = site.local("");
    let is_open = || {
        let mut descriptors = fs::read_dir("/proc/self/fd").unwrap();
        descriptors.any(|entry| fs::read_link(entry.unwrap().path()).is_ok_and(|target| target == directory.join("")))
    };
    let mut entries = site.files.walk(&site.user, &site.path(""), walk(EVERYTHING)).await.unwrap();
    entries.next().await.unwrap().unwrap();
    drop(entries);
    wait_for(Duration::from_secs(10), || !is_open()).await;
}
