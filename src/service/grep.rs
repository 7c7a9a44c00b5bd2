//! The lines of a content that match a pattern.

use regex::bytes::{Regex, RegexBuilder};

use super::{InvalidRequest, Place};

/// The longest pattern, in bytes.
const LONGEST_PATTERN: usize = 256;
/// How large a compiled pattern may get, in bytes. The time to search is bounded by its product with the size of the content.
const LARGEST_PROGRAM: usize = 64 * 1024;
/// How many bytes are searched before other requests get their turn.
const STRETCH: usize = 64 * 1024;

/// A pattern that lines are to match: a regular expression that is matched in linear time.
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Reads the pattern of the parameter `grep`.
    ///
    /// # Errors
    /// When it is no regular expression, or a too large one.
    pub(super) fn new(pattern: &str) -> Result<Self, InvalidRequest> {
        let wrong = |message: String| InvalidRequest::new(Place::Parameter, "grep", message);
        if pattern.len() > LONGEST_PATTERN {
            return Err(wrong(format!("it is longer than {LONGEST_PATTERN} bytes")));
        }
        let regex = RegexBuilder::new(pattern).size_limit(LARGEST_PROGRAM).dfa_size_limit(LARGEST_PROGRAM).build();
        regex.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => wrong("the regular expression repeats too much".to_owned()),
            error => wrong(error.to_string()),
        })
    }

    /// The lines that match, each with its line break.
    pub(super) async fn lines_of(&self, content: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        let mut searched = 0;
        for line in content.split_inclusive(|&byte| byte == b'\n') {
            if self.0.is_match(line.strip_suffix(b"\n").unwrap_or(line)) {
                found.extend_from_slice(line);
            }
            searched += line.len();
            if searched >= STRETCH {
                searched = 0;
                tokio::task::yield_now().await;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_that_match_are_kept_as_they_are() {
        let content = b"one ERROR\ntwo\n\xFFthree error 3\nERROR at the end";
        let lines = |pattern: &str| Pattern::new(pattern).unwrap();
        assert_eq!(lines("ERROR").lines_of(content).await, b"one ERROR\nERROR at the end");
        assert_eq!(lines("(?i)error [0-9]$").lines_of(content).await, b"\xFFthree error 3\n");
        assert_eq!(lines("^two$").lines_of(content).await, b"two\n");
        assert_eq!(lines("nowhere").lines_of(content).await, b"");
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        let reason = |pattern: &str| Pattern::new(pattern).err().unwrap().to_string();
        assert!(reason("(").contains("grep"), "{}", reason("("));
        assert!(reason("(a{100}){100}{100}").contains("repeats too much"));
        assert!(reason(&"x".repeat(257)).contains("longer than 256"));
    }
}
