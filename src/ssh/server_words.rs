//! The plain text that a server sends: banners of the login, and its reason for closing the connection.
//!
//! sshd and PAM say there why an account may not log in. The text is bounded and made printable here.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The maximum number of characters that are kept.
const MAX_WORDS: usize = 500;

/// The messages of programs about an account that may not log in, in lower case: `nologin` of util-linux, shadow and the BSDs, `pam_unix`, `pam_faillock`,
/// and sshd.
const CLOSED_ACCOUNT: [&str; 8] = [
    "account is currently not available",
    "account is not available",
    "account has expired",
    "account is locked",
    "account has been locked",
    "account is disabled",
    "account has been disabled",
    // sshd, where PAM finds the password expired.
    "password change required",
];

/// Whether a text says that the account may not log in at all, whatever its key.
pub(crate) fn closes_account(text: &str) -> bool {
    let text = text.to_lowercase();
    CLOSED_ACCOUNT.iter().any(|words| text.contains(words))
}

/// The words of one server on one connection.
#[derive(Debug, Default)]
pub(crate) struct ServerWords {
    said: Mutex<String>,
    is_unreadable: AtomicBool,
}

impl ServerWords {
    /// Adds a text from the server.
    pub(crate) fn add(&self, text: &str) {
        let mut words = self.said.lock();
        let room = MAX_WORDS.saturating_sub(words.chars().count());
        let plain = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
        let said = plain.collect::<Vec<_>>().join(" ");
        if !words.is_empty() && !said.is_empty() {
            words.push(' ');
        }
        words.extend(said.chars().take(room));
    }

    /// Notes that the server sent text that is not UTF-8, for which the library ends the connection.
    pub(crate) fn note_unreadable(&self) {
        self.is_unreadable.store(true, Ordering::Release);
    }

    /// Whether the server sent text that is not UTF-8.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_unreadable.load(Ordering::Acquire)
    }

    /// `: the server says "..."`, or nothing if it said nothing.
    pub(crate) fn quoted(&self) -> String {
        let words = self.said.lock();
        if words.is_empty() { String::new() } else { format!("; the server says \"{words}\"") }
    }

    /// Whether they say that the account may not log in.
    pub(crate) fn closes_account(&self) -> bool {
        closes_account(&self.said.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_account_is_told_from_other_words() {
        for words in [
            "This account is currently not available.",
            "Your account has expired; please contact your system administrator.",
            "The account is locked due to 3 failed logins.",
            "WARNING: Your password has expired.\nPassword change required but no TTY available.",
        ] {
            assert!(closes_account(words), "{words}");
        }
        for words in ["", "System is going down.", "Authorized users only. Accounts are monitored.", "Your password has expired."] {
            assert!(!closes_account(words), "{words}");
        }
    }

    #[test]
    fn words_are_bounded_and_one_line() {
        let words = ServerWords::default();
        assert_eq!(words.quoted(), "");
        words.add("Your account has expired;\r\n please\u{1b}[31m call\n");
        assert_eq!(words.quoted(), "; the server says \"Your account has expired; please [31m call\"");
        words.add(&"x".repeat(5000));
        assert!(words.quoted().chars().count() < MAX_WORDS + 40);
    }
}
