//! What is opened is what was looked at, although another user swaps it for a link in between.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use goldcrest::filesystem::sftp::protocol::Request;
use goldcrest::filesystem::{
    ArchiveFormat, CopyOptions, Expected, FileAccess, FileSystem, FilesystemError, PageRequest, PartOptions, PlaceOptions, Sort,
};

use super::rights::{self, is_possible};
use super::swap::{Steps, Swapping};
use super::transport::{Local, Subsystem};
use super::{Site, noise, patient, pieces};
use crate::support::principal;

/// A site by SFTP, with or without commands and copying on the server, or by commands; and what is done in between.
fn site(reach: &str) -> (Site, Steps) {
    let (subsystem, access) = match reach {
        "commands" => (Subsystem::Refused, FileAccess::Exec),
        "sftp without extensions and commands" => (Subsystem::Plain, FileAccess::Sftp),
        _ => (Subsystem::Own, FileAccess::Sftp),
    };
    let mut local = Local::new(subsystem);
    local.runs_commands = !reach.ends_with(" without commands") && !reach.ends_with(" and commands");
    let transport = Swapping::new(local);
    let exec = goldcrest::filesystem::CommandFiles::new(transport.clone(), patient());
    let files: Arc<dyn FileSystem> = match access {
        FileAccess::Exec => Arc::new(exec),
        _ => Arc::new(goldcrest::filesystem::Sftp::new(transport.clone(), exec, patient())),
    };
    let steps = transport.steps.clone();
    let directory = tempfile::tempdir().unwrap();
    let site = Site { directory, transport: Arc::new(Local::new(Subsystem::Own)), files, user: principal("ada"), access, _pod: None };
    fs::create_dir_all(site.local("pub/d")).unwrap();
    fs::create_dir(site.local("private")).unwrap();
    for (name, length, mode) in
        [("private/f", 1_000, 0o600), ("private/large", 400_000, 0o600), ("pub/d/f", 1_000, 0o644), ("pub/d/large", 400_000, 0o644)]
    {
        site.write(name, if name.starts_with("private") { vec![b'S'; length] } else { noise(length) });
        fs::set_permissions(site.local(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    (site, steps)
}

const REACHES: [&str; 3] = ["sftp", "sftp without commands", "commands"];

/// Puts a link in the place of something.
fn lay_link(place: PathBuf, end: PathBuf) -> impl FnOnce() + Send + 'static {
    move || {
        fs::rename(&place, place.with_extension("old")).unwrap();
        symlink(end, place).unwrap();
    }
}

fn take_link_away(place: PathBuf) -> impl FnOnce() + Send + 'static {
    move || {
        fs::remove_file(&place).unwrap();
        fs::rename(place.with_extension("old"), place).unwrap();
    }
}

fn is_open(request: &Request) -> bool {
    matches!(request, Request::Open { .. })
}

fn is_fstat(request: &Request) -> bool {
    matches!(request, Request::Fstat { .. })
}

fn is_opendir(request: &Request) -> bool {
    matches!(request, Request::Opendir { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_opened_without_links_is_given_with_its_own_mode() {
    for reach in REACHES {
        for name in ["f", "large"] {
            let (site, _) = site(reach);
            let (path, place) = (site.path(format!("pub/d/{name}")), site.local(format!("pub/d/{name}")));
            let download = site.files.download_real(&site.user, &path, None, None).await.unwrap();
            assert_eq!((download.mode, download.version.size), (0o100_644, fs::metadata(&place).unwrap().len()), "{reach}, {name}");
            let content = download.content.try_collect::<Vec<_>>().await.unwrap().concat();
            assert!(content == fs::read(&place).unwrap(), "{reach}, {name}");
            let digested = site.files.checksum_real(&site.user, &path).await.unwrap();
            assert_eq!(digested.checksum, site.files.checksum(&site.user, &path).await.unwrap(), "{reach}, {name}");
            assert_eq!((digested.mode, digested.size), (0o100_644, content.len() as u64), "{reach}, {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_behind_a_link_that_is_laid_before_it_is_opened_is_not_read() {
    for reach in REACHES {
        for name in ["f", "large"] {
            for on_the_way in [false, true] {
                let path = format!("pub/d/{name}");
                let context = format!("{reach}, {path}, {on_the_way}");
                for digests in [false, true] {
                    let (site, steps) = site(reach);
                    let (place, end) = match on_the_way {
                        true => (site.local("pub/d"), site.local("private")),
                        false => (site.local(&path), site.local(format!("private/{name}"))),
                    };
                    steps.add(is_open, if digests { "sha256sum" } else { "dd " }, name, lay_link(place, end));
                    let path = site.path(&path);
                    let error = match digests {
                        true => site.files.checksum_real(&site.user, &path).await.map(drop).unwrap_err(),
                        false => site.files.download_real(&site.user, &path, None, None).await.map(drop).unwrap_err(),
                    };
                    assert!(steps.are_done(), "{context}: nothing was swapped");
                    assert!(matches!(&error, FilesystemError::Changed(at) if *at == path), "{context}: {error:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_taken_away_again_when_the_file_is_open_is_noticed() {
    for name in ["f", "large"] {
        for on_the_way in [false, true] {
            let (site, steps) = site("sftp without commands");
            let path = format!("pub/d/{name}");
            let (place, end) = match on_the_way {
                true => (site.local("pub/d"), site.local("private")),
                false => (site.local(&path), site.local(format!("private/{name}"))),
            };
            // As often as it is tried.
            for _ in 0..3 {
                let (laid, away) = (lay_link(place.clone(), end.clone()), take_link_away(place.clone()));
                steps.add(is_open, "nothing", name, laid);
                steps.add(is_fstat, "nothing", name, away);
            }
            let error = site.files.download_real(&site.user, &site.path(&path), None, None).await.map(drop).unwrap_err();
            assert!(steps.are_done() && matches!(error, FilesystemError::Changed(_)), "{path}, {on_the_way}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_replaced_while_it_is_opened_is_read_as_it_is_then() {
    let (site, steps) = site("sftp");
    site.write("new", "newer content");
    let (new, old) = (site.local("new"), site.local("pub/d/f"));
    steps.add(is_fstat, "nothing", "", move || fs::rename(new, old).unwrap());
    let download = site.files.download_real(&site.user, &site.path("pub/d/f"), None, None).await.unwrap();
    assert_eq!(download.content.try_collect::<Vec<_>>().await.unwrap().concat(), b"newer content");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_not_read_through_a_link_nor_where_it_gives_less() {
    let request = PageRequest { size: 10, sort: Sort::Name, descending: false, after: None };
    for reach in ["sftp", "commands"] {
        let (site, steps) = site(reach);
        let path = site.path("pub/d");
        fs::set_permissions(site.local("pub/d"), fs::Permissions::from_mode(0o750)).unwrap();
        let page = site.files.page_real(&site.user, &path, 0o750, &request).await.unwrap();
        let entries: Vec<_> = page.entries.iter().map(|entry| (&*entry.name, entry.permissions, entry.size)).collect();
        assert_eq!(entries, [(&b"f"[..], 0o644, 1_000), (b"large", 0o644, 400_000)], "{reach}");
        let less = site.files.page_real(&site.user, &path, 0o755, &request).await;
        assert!(matches!(less, Err(FilesystemError::Changed(_))), "{reach}: {less:?}");
        let file = site.files.page_real(&site.user, &site.path("pub/d/f"), 0o640, &request).await;
        assert!(matches!(file, Err(FilesystemError::Changed(_))), "{reach}: {file:?}");
        let gone = site.files.page_real(&site.user, &site.path("pub/none"), 0o700, &request).await;
        assert!(matches!(gone, Err(FilesystemError::NotFound(_) | FilesystemError::Changed(_))), "{reach}: {gone:?}");
        for place in ["pub/d", "pub"] {
            steps.add(is_opendir, "find", "/pub/d", lay_link(site.local(place), site.local("private")));
            fs::create_dir_all(site.local("private/d")).unwrap();
            let linked = site.files.page_real(&site.user, &path, 0o700, &request).await;
            assert!(steps.are_done() && matches!(linked, Err(FilesystemError::Changed(_))), "{reach}, {place}: {linked:?}");
            take_link_away(site.local(place))();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_not_packed_through_a_link() {
    let (site, steps) = site("commands");
    let pack = async || {
        let content = site.files.pack_real(&site.user, &site.path("pub/d"), ArchiveFormat::Tar).await?;
        Ok::<_, FilesystemError>(content.try_collect::<Vec<_>>().await?.concat())
    };
    assert!(pack().await.unwrap().windows(8).any(|bytes| bytes == b"d/large\0"));
    fs::create_dir(site.local("private/d")).unwrap();
    fs::rename(site.local("private/f"), site.local("private/d/f")).unwrap();
    for (place, end) in [("pub/d", "private/d"), ("pub", "private")] {
        steps.add(is_open, "tar --create", "/pub", lay_link(site.local(place), site.local(end)));
        let packed = pack().await;
        assert!(steps.are_done() && packed.is_err(), "{place}");
        take_link_away(site.local(place))();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_copied_within_a_system_is_not_what_a_link_leads_to_that_is_laid_just_then() {
    for reach in ["sftp", "sftp without extensions and commands"] {
        for name in ["f", "large"] {
            for dereference in [false, true] {
                let (site, steps) = site(reach);
                let place = site.local(format!("pub/d/{name}"));
                steps.add(is_open, "nothing", format!("/pub/d/{name}"), lay_link(place, site.local(format!("private/{name}"))));
                let options = CopyOptions { dereference, overwrite: false };
                let copied = site.files.copy(&site.user, &site.path(format!("pub/d/{name}")), &site.path("copy"), options).await;
                let context = format!("{reach}, {name}, {dereference}");
                assert!(steps.are_done(), "{context}");
                if !dereference {
                    copied.unwrap();
                    assert!(site.local("copy").is_symlink(), "{context}: what is there by then is a link");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_users_file_in_the_place_of_a_part_is_neither_written_to_nor_put_in_a_place() {
    if !is_possible() {
        return;
    }
    for reach in ["sftp", "sftp without setstat", "sftp without commands", "sftp without setstat and commands", "commands"] {
        let site = rights::site(reach);
        fs::set_permissions(site.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (part, target) = (site.path(".part"), site.path("target"));
        site.files.begin_part(&site.user, &part, &target, true).await.unwrap();
        let extend = async |offset| {
            let options = PartOptions { offset, length: 10, all_or_nothing: true };
            site.files.extend_part(&site.user, &part, pieces(b"56789"), options).await
        };
        assert_eq!(extend(0).await.unwrap(), 5, "{reach}");
        let own = fs::metadata(site.local(".part")).unwrap();
        fs::rename(site.local(".part"), site.local(".stolen")).unwrap();
        site.write(".part", "XXXXX");
        fs::set_permissions(site.local(".part"), fs::Permissions::from_mode(0o666)).unwrap();
        chown(site.local(".part"), Some(1), Some(own.gid())).unwrap();
        let extended = extend(5).await;
        assert!(matches!(extended, Err(FilesystemError::Changed(_))), "{reach}: {extended:?}");
        for (expected, mode) in [(Expected::Anything, None), (Expected::Nothing, Some(0o644))] {
            let placed = site.files.place_part(&site.user, &part, &target, PlaceOptions { mode, ..PlaceOptions::new(5, expected) }).await;
            assert!(matches!(placed, Err(FilesystemError::Changed(_))), "{reach}: {placed:?}");
        }
        assert_eq!(fs::read(site.local(".part")).unwrap(), b"XXXXX", "{reach}");
        fs::rename(site.local(".stolen"), site.local(".part")).unwrap();
        assert_eq!(extend(5).await.unwrap(), 10, "{reach}");
        site.files.place_part(&site.user, &part, &target, PlaceOptions::new(10, Expected::Nothing)).await.unwrap();
        assert_eq!(site.names(), [b"target"], "{reach}");
    }
}
