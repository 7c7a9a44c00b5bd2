//! The `known_hosts` format, as sshd(8) describes it under "SSH_KNOWN_HOSTS FILE FORMAT". Pure text in, keys out.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use russh::keys::PublicKey;

use crate::domain::matches_pattern;

/// The first word of a line that is more than a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// The key signs host certificates.
    Authority,
    /// The key must not be accepted.
    Revoked,
}

impl Marker {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "@cert-authority",
            Self::Revoked => "@revoked",
        }
    }
}

/// A line about the requested host.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) marker: Option<Marker>,
    pub(crate) key: PublicKey,
}

/// The lines that match a host. Lines that cannot be read are passed over, as OpenSSH does.
pub(crate) fn entries(text: &str, host: &str, port: u16) -> Vec<Entry> {
    let host = host.to_ascii_lowercase();
    let name = if port == 22 { host } else { format!("[{host}]:{port}") };
    text.lines().filter_map(|line| entry(line, &name)).collect()
}

fn entry(line: &str, name: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next().filter(|word| !word.starts_with('#'))?;
    let marker = match first {
        "@cert-authority" => Some(Marker::Authority),
        "@revoked" => Some(Marker::Revoked),
        word if word.starts_with('@') => return None,
        _ => None,
    };
    let patterns = if marker.is_some() { words.next()? } else { first };
    if !matches(patterns, name) {
        return None;
    }
    let (algorithm, key) = (words.next()?, words.next()?);
    PublicKey::from_openssh(&format!("{algorithm} {key}")).ok().map(|key| Entry { marker, key })
}

/// Whether the comma-separated patterns name the host; one negated pattern that does overrules all others.
fn matches(patterns: &str, name: &str) -> bool {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        return matches_hash(hashed, name);
    }
    let mut matched = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if wildcard(pattern, name) => return false,
            Some(_) => {}
            None => matched |= wildcard(pattern, name),
        }
    }
    matched
}

fn matches_hash(hashed: &str, name: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (BASE64_STANDARD.decode(salt), BASE64_STANDARD.decode(hash)) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    hmac::verify(&key, name.as_bytes(), &hash).is_ok()
}

/// Matches `*` and `?` without case.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    let takes = |own: &u8, byte: &u8| *own == b'?' || own.eq_ignore_ascii_case(byte);
    matches_pattern(pattern.as_bytes(), text.as_bytes(), |byte| *byte == b'*', takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";

    fn found(names: &str, host: &str, port: u16) -> bool {
        !entries(&format!("{names} {KEY} a comment\n"), host, port).is_empty()
    }

    #[test]
    fn plain_names_ports_and_lists_match() {
        assert!(found("login.example.org", "login.example.org", 22));
        assert!(found("other,LOGIN.example.org", "login.EXAMPLE.org", 22));
        assert!(found("[login.example.org]:2222", "login.example.org", 2222));
        assert!(!found("login.example.org", "login.example.org", 2222), "a name without a port is for port 22");
        assert!(!found("login.example.org", "xlogin.example.org", 22));
    }

    #[test]
    fn wildcards_match_and_a_negation_overrules() {
        assert!(found("*.example.org", "a.example.org", 22));
        assert!(found("login?", "login1", 22));
        assert!(found("[*.example.org]:2222", "a.example.org", 2222));
        assert!(!found("*.example.org,!bad.example.org", "bad.example.org", 22));
        assert!(!found("!bad.example.org", "good.example.org", 22), "a line of negations alone names nobody");
    }

    #[test]
    fn hashed_names_match_what_ssh_keygen_wrote() {
        // As `ssh-keygen -H` of OpenSSH 9.2 wrote it for `login.example.org`.
        let names = "|1|QaQ2zl9KIGMbyGJtfE1CB+C54aw=|1DzZ2N8SGZrWAepwttjqhzXVpLs=";
        assert!(found(names, "login.example.org", 22));
        assert!(!found(names, "login.example.com", 22));
        assert!(!found("|1|broken", "login.example.org", 22));
    }

    #[test]
    fn markers_are_read_and_unknown_ones_are_passed_over() {
        let text = format!("# comment\n\n@cert-authority * {KEY}\n@revoked * {KEY}\n@other * {KEY}\nexample.org broken line\n");
        let markers: Vec<_> = entries(&text, "example.org", 22).into_iter().map(|entry| entry.marker).collect();
        assert_eq!(markers, [Some(Marker::Authority), Some(Marker::Revoked)]);
    }

    #[test]
    fn a_pattern_full_of_stars_is_not_slow() {
        let pattern = "*a".repeat(200);
        assert!(!wildcard(&pattern, &"a".repeat(150)));
    }
}
