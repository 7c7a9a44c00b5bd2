//! Hidden files in the directory of a target until they replace it, and their removal if they never do.
//!
//! A request that fails, or whose client goes away, removes its own; a drain waits for that ([`Temporaries::settle`]). What a process that
//! was killed leaves behind is found by the next write of the same user in the same directory ([`Temporaries::is_due`]). It must not know how
//! files are reached.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use moka::future::Cache;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::FilesystemError;
use crate::domain::{RemotePath, Username};
use crate::error::{Classify, Kind};

/// The interval between searches of a directory for abandoned files, and between searches of one user's directories.
const DIRECTORY_INTERVAL: Duration = Duration::from_secs(12 * 3600);
const USER_INTERVAL: Duration = Duration::from_secs(60);

/// The maximum number of directories, and users, whose last search is remembered.
const MAX_REMEMBERED: u64 = 10_000;

/// The pauses before further attempts to remove a temporary file of a cluster that cannot be reached: about as long as a restart of its SSH server.
const REMOVAL_PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// What the names of all hidden files have before what is random in them.
const MARK: &str = ".goldcrest-";

/// The same of parts of uploads.
const PART_MARK: &str = ".goldcrest-upload-";

/// A name in the directory of `path` for a file that will replace it: hidden and unguessable.
pub fn temporary_beside(path: &RemotePath) -> RemotePath {
    path.hidden_beside(&format!("{}{}", &MARK[1..], uuid::Uuid::new_v4().simple()))
}

/// A name in the directory `path` for a directory that will be merged with it.
pub fn temporary_in(path: &RemotePath) -> RemotePath {
    path.join(format!("{MARK}{}", uuid::Uuid::new_v4().simple()).as_bytes())
}

/// Whether a text names a temporary file.
pub fn is_named_in(text: &str) -> bool {
    text.contains(MARK)
}

/// Whether a text names a temporary file that is beside `path`.
pub fn is_beside(text: &str, path: &RemotePath) -> bool {
    text.contains(&path.hidden_beside(&MARK[1..]).to_text())
}

/// Whether a text names a temporary directory in the directory that it will be merged with.
pub fn is_within(text: &str) -> bool {
    text.contains(&format!("/{MARK}"))
}

/// The path that the caller knows, where `path` is `hidden`, or in it, or is its name while one request has it.
pub fn shown_path(path: RemotePath, hidden: &RemotePath, shown: &RemotePath) -> RemotePath {
    let is_private = || path.parent() == hidden.parent() && path.file_name().starts_with(&[hidden.file_name(), b"-"].concat());
    match path.rebase(hidden, shown) {
        Some(rebased) => rebased,
        None if is_private() => shown.clone(),
        None => path,
    }
}

/// The text, where it names such a path, with the one that the caller knows. A tool may have quoted the name: then at least the mark goes.
pub fn shown_text(text: String, hidden: &RemotePath, shown: &RemotePath) -> String {
    let hidden = hidden.to_text();
    let Some((begin, mark)) = hidden.rfind(MARK).map(|at| hidden.split_at(at)) else { return text };
    let (mut changed, mut rest) = (String::new(), text.as_str());
    while let Some((before, after)) = rest.split_once(mark) {
        match before.strip_suffix(begin) {
            Some(before) => changed.extend([before, &shown.to_text()]),
            None => changed.push_str(before),
        }
        rest = after;
        if let Some(private) = after.strip_prefix('-') {
            rest = private.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
        }
    }
    changed + rest
}

/// A name beside `path` for the file that is there, while another one takes its place. It is never searched for: its content is the user's.
pub fn set_aside(path: &RemotePath) -> RemotePath {
    path.hidden_beside(&format!("goldcrest-old-{}", uuid::Uuid::new_v4().simple()))
}

/// The file that grows beside `target` until it is whole, under a name that the next request, or attempt, finds again. The nonce has 32
/// hexadecimal digits, so that the search for abandoned files knows it.
pub fn part_beside(target: &RemotePath, nonce: &str) -> RemotePath {
    let name = target.file_name();
    // The longest name of POSIX systems is 255 bytes; what is added takes 51, and 17 more while a request has it.
    let name = [b".", &name[..name.len().min(180)], PART_MARK.as_bytes(), nonce.as_bytes()].concat();
    target.parent().unwrap_or_else(|| target.clone()).join(&name)
}

/// The name of a part while one request has it.
pub fn held_part(part: &RemotePath) -> RemotePath {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let name = [part.file_name(), b"-", &nonce.as_bytes()[..16]].concat();
    part.parent().unwrap_or_else(|| part.clone()).join(&name)
}

/// The pattern of the names of all parts whose nonces begin with these hexadecimal digits.
pub fn parts_with_nonces(begin: &str) -> String {
    format!(".*{PART_MARK}{begin}*")
}

/// The temporary files of a cluster. Clones share them.
#[derive(Clone)]
pub struct Temporaries(Arc<Tracking>);

struct Tracking {
    /// Has a token for each temporary file, and the tasks that remove them.
    tracker: TaskTracker,
    searched: Cache<(Username, RemotePath), ()>,
    searching: Cache<Username, ()>,
}

/// Removes a temporary file.
type Removal = Box<dyn Fn() -> BoxFuture<'static, Result<(), FilesystemError>> + Send + Sync>;

/// A temporary file, from before it is made. Dropped before it was placed, it is removed.
pub struct Temporary {
    temporaries: Temporaries,
    removal: Option<Removal>,
    _token: TaskTrackerToken,
}

impl Temporaries {
    /// None yet.
    pub fn new() -> Self {
        let searched = Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(DIRECTORY_INTERVAL).build();
        let searching = Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(USER_INTERVAL).build();
        Self(Arc::new(Tracking { tracker: TaskTracker::new(), searched, searching }))
    }

    /// A file that is about to be made, and is removed by `removal`.
    pub fn add<F>(&self, removal: impl Fn() -> F + Send + Sync + 'static) -> Temporary
    where
        F: Future<Output = Result<(), FilesystemError>> + Send + 'static,
    {
        let removal: Removal = Box::new(move || removal().boxed());
        Temporary { temporaries: self.clone(), removal: Some(removal), _token: self.0.tracker.token() }
    }

    /// Whether to search this directory now for the user's abandoned files.
    pub async fn is_due(&self, user: &Username, directory: &RemotePath) -> bool {
        let key = (user.clone(), directory.clone());
        !self.0.searched.contains_key(&key)
            && self.0.searching.entry_by_ref(user).or_insert(()).await.is_fresh()
            && self.0.searched.entry(key).or_insert(()).await.is_fresh()
    }

    /// Runs `work` in the background.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tracker.spawn(work);
    }

    /// Waits until no temporary file is left.
    pub async fn settle(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl Temporary {
    /// It is in its place, under another name.
    pub fn placed(mut self) {
        self.removal = None;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(removal) = self.removal.take().filter(|_| tokio::runtime::Handle::try_current().is_ok()) else { return };
        self.temporaries.spawn(async move {
            let mut pauses = REMOVAL_PAUSES.into_iter();
            loop {
                match removal().await {
                    // The file had not been created yet.
                    Ok(()) | Err(FilesystemError::NotFound(_)) => return,
                    Err(error) => match pauses.next().filter(|_| error.kind() == Kind::DependencyFailed) {
                        Some(pause) => sleep(pause).await,
                        None => return tracing::warn!(%error, "could not remove the temporary file of a write that failed"),
                    },
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::TransportError;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_what_is_being_written_or_removed_and_for_nothing_that_is_in_its_place() {
        let temporaries = Temporaries::new();
        let (removed, mut was_removed) = tokio::sync::mpsc::unbounded_channel();
        let cut = temporaries.add(move || {
            let removed = removed.clone();
            async move {
                sleep(Duration::from_secs(2)).await;
                removed.send(()).unwrap();
                Ok(())
            }
        });
        temporaries.add(std::future::pending).placed();
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            drop(cut);
        });
        temporaries.settle().await;
        was_removed.recv().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_of_a_cluster_that_is_away_for_a_moment_is_removed_when_it_is_back() {
        let temporaries = Temporaries::new();
        let (tried, mut attempts) = tokio::sync::mpsc::unbounded_channel();
        let back = tokio::time::Instant::now() + Duration::from_secs(5);
        drop(temporaries.add(move || {
            let tried = tried.clone();
            async move {
                let is_back = tokio::time::Instant::now() > back;
                tried.send(is_back).unwrap();
                let away = || TransportError::Connect("connection refused".to_owned()).into();
                if is_back { Ok(()) } else { Err(away()) }
            }
        }));
        temporaries.0.tracker.close();
        temporaries.0.tracker.wait().await;
        assert_eq!([attempts.recv().await, attempts.recv().await, attempts.recv().await], [Some(false), Some(false), Some(true)]);
    }

    #[test]
    fn a_hidden_name_is_shown_as_that_of_the_target() {
        let path = |text: &str| RemotePath::from_text(text).unwrap();
        for (hidden, shown, text, expected) in [
            ("/d/.f.goldcrest-0a", "/d/f", "mv: '/d/.f.goldcrest-0a': no, /d/.f.goldcrest-0a/x", "mv: '/d/f': no, /d/f/x"),
            ("/d/.goldcrest-0a", "/d", "tar: /d/.goldcrest-0a/x: no", "tar: /d/x: no"),
            ("/d/.f.goldcrest-upload-0a", "/d/f", "/d/.f.goldcrest-upload-0a-0123: no", "/d/f: no"),
            ("/d/.i's.goldcrest-0a", "/d/i's", r"'/d/.i'\''s.goldcrest-0a': no", r"'/d/.i'\''s': no"),
            ("/d/.f.goldcrest-0a", "/d/f", "/d/.f.goldcrest-0b: the user's own", "/d/.f.goldcrest-0b: the user's own"),
        ] {
            assert_eq!(shown_text(text.to_owned(), &path(hidden), &path(shown)), expected);
        }
        let part = path("/d/.f.goldcrest-upload-0a");
        for (name, expected) in [("", "/d/f"), ("-0123", "/d/f"), ("/x", "/d/f/x"), ("b", "/d/.f.goldcrest-upload-0ab")] {
            let found = shown_path(path(&format!("{}{name}", part.to_text())), &part, &path("/d/f"));
            assert_eq!(found, path(expected), "{name}");
        }
    }

    #[tokio::test]
    async fn a_directory_is_searched_once_for_each_user_and_a_user_has_one_at_a_time() {
        let temporaries = Temporaries::new();
        let (ada, bob) = (Username::new("ada").unwrap(), Username::new("bob").unwrap());
        let (home, other) = (RemotePath::from_text("/home").unwrap(), RemotePath::from_text("/other").unwrap());
        assert!(temporaries.is_due(&ada, &home).await);
        assert!(!temporaries.is_due(&ada, &home).await && !temporaries.is_due(&ada, &other).await);
        assert!(temporaries.is_due(&bob, &home).await);
        temporaries.0.searching.invalidate(&ada).await;
        assert!(!temporaries.is_due(&ada, &home).await && temporaries.is_due(&ada, &other).await);
    }
}
