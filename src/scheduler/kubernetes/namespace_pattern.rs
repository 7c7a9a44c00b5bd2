//! The name of a user's namespace.

use super::names::{is_name, readable};
use crate::domain::{Username, hex, sha256};

/// The maximum number of characters around `{user}` in a pattern.
pub(super) const MAX_FIXED: usize = 20;
/// The maximum length of the readable part of a user's name, and the length of the digest that keeps names apart which leave the same.
const MAX_READABLE: usize = 30;
const DIGEST: usize = 10;

/// A pattern for the names of namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespacePattern {
    before: String,
    after: String,
}

impl NamespacePattern {
    /// Reads a pattern with `{user}` in it; none where it is no pattern.
    pub(super) fn new(text: &str) -> Option<Self> {
        let (before, after) = text.split_once("{user}")?;
        let is_pattern = before.len() + after.len() <= MAX_FIXED && is_name(&format!("{before}u{after}"));
        is_pattern.then(|| Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// The namespace of a user. A user name that is not valid in Kubernetes loses its invalid characters and gets `--` and a digest of the whole
    /// name. No valid name contains `--` here.
    pub(super) fn of(&self, user: &Username) -> String {
        let whole = user.as_str();
        let mut name = readable(whole, MAX_READABLE);
        if name != whole {
            let digest = hex(&sha256(whole.as_bytes()));
            name = format!("{name}--{}", &digest[..DIGEST]);
        }
        let namespace = format!("{}{name}{}", self.before, self.after);
        namespace.trim_start_matches('-').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_with_different_names_have_different_namespaces() {
        let pattern = NamespacePattern::new("goldcrest-{user}").unwrap();
        let of = |user: &str| pattern.of(&Username::new(user).unwrap());
        assert_eq!(of("test"), "goldcrest-test");
        assert_eq!(of("test-test"), "goldcrest-test-test");
        assert!(of("TEST").starts_with("goldcrest-test--"));
        let users =
            ["test", "TEST", "Test", "t.est", "t_est", "t-est", "te--st", "te-st", "-", "a@example.org", "a+example.org", &"x".repeat(200)];
        let names: std::collections::BTreeSet<String> =
            users.iter().filter_map(|user| Username::new(user).ok()).map(|user| pattern.of(&user)).collect();
        assert_eq!(names.len(), users.len() - 1, "{names:?}");
        assert!(names.iter().all(|name| is_name(name)), "{names:?}");
    }

    #[test]
    fn a_name_of_punctuation_alone_still_has_a_namespace() {
        let pattern = NamespacePattern::new("{user}").unwrap();
        for user in ["...", "_", "@@@"] {
            let name = pattern.of(&Username::new(user).unwrap());
            assert!(is_name(&name), "{name}");
        }
    }
}
