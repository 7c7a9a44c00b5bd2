//! The plain text that a server sends: banners of the login, and its reason for closing the connection.
//!
//! sshd and PAM say there why an account may not log in. The text is bounded and made printable here.

use parking_lot::Mutex;

/// The most characters that are kept.
const MAX_WORDS: usize = 500;

/// The words of one server on one connection.
#[derive(Debug, Default)]
pub(crate) struct ServerWords(Mutex<String>);

impl ServerWords {
    /// Adds what the server has said.
    pub(crate) fn add(&self, text: &str) {
        let mut words = self.0.lock();
        let room = MAX_WORDS.saturating_sub(words.chars().count());
        let plain = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
        let said = plain.collect::<Vec<_>>().join(" ");
        if !words.is_empty() && !said.is_empty() {
            words.push(' ');
        }
        words.extend(said.chars().take(room));
    }

    /// `: the server says "..."`, or nothing where it said nothing.
    pub(crate) fn quoted(&self) -> String {
        let words = self.0.lock();
        if words.is_empty() { String::new() } else { format!("; the server says \"{words}\"") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
