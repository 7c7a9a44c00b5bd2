//! The lines of a content that match a pattern.
//!
//! A search takes processor time for a pattern that a client chose. So it runs outside the threads that serve requests,
//! on a bounded number of threads; one at a time for each caller; in pieces of bounded cost, between which it ends when its
//! time is over or when its receiver is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder};
use tokio::sync::Semaphore;

use super::limits::UserLimit;
use super::{InvalidRequest, ServiceError};
use crate::domain::Username;

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 256;
/// The maximum size of a compiled pattern, in bytes. The time to search a line is bounded by its product with the line's length.
const MAX_PROGRAM: usize = 64 * 1024;
/// The longest line that any pattern is searched for in, in bytes: half a second for the worst pattern.
const MAX_LINE: usize = 64 * 1024;
/// The maximum size of a compiled pattern for longer lines, in bytes.
const MAX_PROGRAM_LONG_LINE: usize = 4 * 1024;
/// The time limit for the searches of one request.
const MAX_TIME: Duration = Duration::from_secs(5);
/// The maximum number of searches of one user, under way or waiting.
const MAX_PER_USER: u64 = 8;

/// A pattern that lines are to match: a regular expression that is matched in linear time.
pub(super) struct Pattern {
    regex: Regex,
    /// Whether it is small enough for lines of any length.
    is_small: bool,
}

/// The searches under way.
#[derive(Clone)]
pub(super) struct Searches {
    running: Arc<Semaphore>,
    users: UserLimit,
}

impl Default for Searches {
    /// Half of the processors, so that the others continue to serve requests.
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self { running: Arc::new(Semaphore::new((processors / 2).max(1))), users: UserLimit::new(MAX_PER_USER, u64::MAX) }
    }
}

impl Searches {
    /// The lines that match, each with its line break.
    ///
    /// # Errors
    /// If the caller has reached the limit of searches, a line is too long for the pattern, or the search takes too long.
    pub(super) async fn lines(&self, user: &Username, content: Vec<u8>, pattern: Pattern) -> Result<Vec<u8>, ServiceError> {
        let permit = self.users.take(user, 1).ok_or_else(too_many)?;
        let turn = permit.turn();
        // Neither is ever closed.
        let _own = turn.acquire().await.ok();
        let running = Arc::clone(&self.running).acquire_owned().await.ok();
        let abandoned = Abandoned::default();
        let is_abandoned = Arc::clone(&abandoned.0);
        let search = move || {
            // The permit is held by the thread, for as long as it works.
            let _running = running;
            pattern.lines_of(&content, Instant::now() + MAX_TIME, &is_abandoned)
        };
        match tokio::task::spawn_blocking(search).await {
            Ok(found) => found,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Signals a thread that its receiver is gone.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pattern {
    /// Reads the pattern of the parameter `grep`.
    ///
    /// # Errors
    /// If it is no regular expression, or a too large one.
    pub(super) fn new(pattern: &str) -> Result<Self, InvalidRequest> {
        if pattern.len() > MAX_PATTERN {
            return Err(wrong(format!("it is longer than {MAX_PATTERN} bytes")));
        }
        let build = |size| RegexBuilder::new(pattern).size_limit(size).dfa_size_limit(MAX_PROGRAM).build();
        let regex = build(MAX_PROGRAM).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => wrong("the regular expression repeats too much".to_owned()),
            error => wrong(error.to_string()),
        })?;
        Ok(Self { regex, is_small: build(MAX_PROGRAM_LONG_LINE).is_ok() })
    }

    fn lines_of(&self, content: &[u8], deadline: Instant, abandoned: &AtomicBool) -> Result<Vec<u8>, ServiceError> {
        let mut found = Vec::new();
        // Checked before each piece, including the first.
        let mut searched = MAX_LINE;
        for line in content.split_inclusive(|&byte| byte == b'\n') {
            if searched >= MAX_LINE {
                searched = 0;
                if abandoned.load(Ordering::Relaxed) {
                    return Ok(found);
                }
                if Instant::now() > deadline {
                    let limit = MAX_TIME.as_secs();
                    let message =
                        format!("the search with `grep` took more than {limit} s: take a simpler expression, or less of the file");
                    return Err(ServiceError::TooMuch(message.into()));
                }
            }
            if line.len() > MAX_LINE && !self.is_small {
                let message = format!(
                    "the regular expression of `grep` is too large for lines of more than {MAX_LINE} bytes, as there are: take a simpler one"
                );
                return Err(ServiceError::TooMuch(message.into()));
            }
            if self.regex.is_match(line.strip_suffix(b"\n").unwrap_or(line)) {
                found.extend_from_slice(line);
            }
            searched += line.len();
        }
        Ok(found)
    }
}

fn too_many() -> ServiceError {
    let message =
        format!("you have {MAX_PER_USER} searches with `grep` under way; wait for one of them, or fetch the file and search it yourself");
    ServiceError::TooMany(message.into())
}

fn wrong(message: String) -> InvalidRequest {
    InvalidRequest::new("grep", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(pattern: &str, content: &[u8]) -> Vec<u8> {
        let user = Username::new("ada").unwrap();
        Searches::default().lines(&user, content.to_vec(), Pattern::new(pattern).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn lines_that_match_are_kept_as_they_are() {
        let content = b"one ERROR\ntwo\n\xFFthree error 3\nERROR at the end";
        assert_eq!(lines("ERROR", content).await, b"one ERROR\nERROR at the end");
        assert_eq!(lines("(?i)error [0-9]$", content).await, b"\xFFthree error 3\n");
        assert_eq!(lines("^two$", content).await, b"two\n");
        assert_eq!(lines("nowhere", content).await, b"");
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        let reason = |pattern: &str| Pattern::new(pattern).err().unwrap().to_string();
        assert!(reason("(").contains("grep"), "{}", reason("("));
        assert!(reason("(a{100}){100}{100}").contains("repeats too much"));
        assert!(reason(&"x".repeat(257)).contains("longer than 256"));
    }

    /// Patterns of the kind that cost the most for each byte.
    const COSTLY: &str = "(?s-u:.)*(?s-u:.){900}c";

    #[test]
    fn a_costly_pattern_is_refused_for_long_lines_and_ends_at_its_time_in_short_ones() {
        let (pattern, running) = (Pattern::new(COSTLY).unwrap(), AtomicBool::new(false));
        let later = Instant::now() + Duration::from_secs(60);
        let error = pattern.lines_of(&[b'b'; 1 << 20], later, &running).unwrap_err();
        assert!(error.to_string().contains("too large for lines"), "{error}");
        let content = [[b'b'; MAX_LINE - 2].as_slice(), b"c\n"].concat().repeat(1000);
        let error = pattern.lines_of(&content, Instant::now(), &running).unwrap_err();
        assert!(error.to_string().contains("took more than"), "{error}");
        assert_eq!(pattern.lines_of(&content, later, &AtomicBool::new(true)).unwrap(), b"", "it went on without anybody who waits for it");
    }

    #[test]
    fn patterns_as_people_write_them_are_for_lines_of_any_length() {
        for pattern in ["ERROR", "(?i)error|warning", "^iteration +[0-9]+: .*converged$", "[a-z_]+=[0-9.]+"] {
            assert!(Pattern::new(pattern).unwrap().is_small, "{pattern}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn other_requests_go_on_during_a_search_and_one_user_has_a_bound() {
        let (searches, ada) = (Searches::default(), Username::new("ada").unwrap());
        let content = [[b'b'; MAX_LINE - 1].as_slice(), b"\n"].concat().repeat(4);
        let search = || {
            let (searches, ada, content) = (searches.clone(), ada.clone(), content.clone());
            tokio::spawn(async move { searches.lines(&ada, content, Pattern::new(COSTLY).unwrap()).await })
        };
        let under_way: Vec<_> = (0..MAX_PER_USER).map(|_| search()).collect();
        tokio::task::yield_now().await;
        let refused = search().await.unwrap().unwrap_err();
        assert!(matches!(&refused, ServiceError::TooMany(words) if words.contains("8 searches")), "{refused}");
        // With one thread, this would not be seen before all searches had ended.
        assert!(under_way.iter().any(|search| !search.is_finished()));
        under_way.iter().for_each(tokio::task::JoinHandle::abort);
        for search in under_way {
            _ = search.await;
        }
        assert!((0..MAX_PER_USER).map(|_| searches.users.take(&ada, 1)).collect::<Vec<_>>().iter().all(Option::is_some));
    }
}
