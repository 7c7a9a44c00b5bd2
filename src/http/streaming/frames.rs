//! The messages of firecrest-streamer: one that announces the file, its content, and one that ends it with its SHA-256.
//!
//! firecrest-streamer 0.0.21 sends the last message as binary, with a space after each colon, but expects text without spaces. So its own
//! server treats it as content and checks nothing. Here, content ends after the announced number of bytes, and the sent message has the
//! form that the client expects.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::failure::TransferFailure;
use crate::domain::hex;

/// The size of the messages with content that are sent, in bytes.
pub(super) const CHUNK: usize = 1024 * 1024;

/// The longest message that is no content, in bytes.
const MAX_CONTROL: usize = 4096;

/// A message that is no content.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Control {
    Init { num_chunks: u64, file_size: u64 },
    Eof { sha256_hash: String },
}

impl Control {
    fn read(message: &[u8]) -> Option<Self> {
        if message.len() > MAX_CONTROL { None } else { serde_json::from_slice(message).ok() }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("it consists of texts and numbers")
    }
}

/// The message that announces a file of this size.
pub(super) fn init(file_size: u64) -> String {
    Control::Init { num_chunks: file_size.div_ceil(CHUNK as u64), file_size }.text()
}

/// The size that the first message announces.
///
/// # Errors
/// If it is another message.
pub(super) fn announced_size(message: &[u8]) -> Result<u64, TransferFailure> {
    match Control::read(message) {
        Some(Control::Init { file_size, .. }) => Ok(file_size),
        _ => Err(TransferFailure::Protocol("its first message does not announce a file")),
    }
}

/// The content of a file on its way, of which so many bytes are still to come.
pub(super) struct Content {
    left: u64,
    digest: Context,
}

/// What a message was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Content.
    Content,
    /// The end: everything has come as it was sent.
    End,
}

impl Content {
    /// The content of a file of this size.
    pub(super) fn new(size: u64) -> Self {
        Self { left: size, digest: Context::new(&SHA256) }
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// If it is longer than what is left, or the end is not that of this content.
    pub(super) fn take(&mut self, message: &[u8]) -> Result<Part, TransferFailure> {
        if self.left == 0 {
            let Some(Control::Eof { sha256_hash }) = Control::read(message) else {
                return Err(TransferFailure::Protocol("it sent more than the announced size"));
            };
            return if sha256_hash.eq_ignore_ascii_case(&self.sum()) { Ok(Part::End) } else { Err(TransferFailure::Digest) };
        }
        self.left = self.left.checked_sub(message.len() as u64).ok_or(TransferFailure::Protocol("it sent more than the announced size"))?;
        self.digest.update(message);
        Ok(Part::Content)
    }

    /// The message that ends the content.
    ///
    /// # Errors
    /// If some of it is missing.
    pub(super) fn eof(&self) -> Result<String, TransferFailure> {
        if self.left > 0 {
            return Err(TransferFailure::Protocol("the file ended early"));
        }
        Ok(Control::Eof { sha256_hash: self.sum() }.text())
    }

    fn sum(&self) -> String {
        hex(self.digest.clone().finish().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn what_is_sent_is_what_the_client_looks_for() {
        assert_eq!(init(2 * CHUNK as u64 + 1), r#"{"type":"init","num_chunks":3,"file_size":2097153}"#);
        assert_eq!(init(0), r#"{"type":"init","num_chunks":0,"file_size":0}"#);
        assert_eq!(Content::new(0).eof().unwrap(), format!(r#"{{"type":"eof","sha256_hash":"{EMPTY}"}}"#));
        assert!(Content::new(1).eof().is_err());
    }

    #[test]
    fn the_content_ends_after_the_announced_bytes_and_its_sum_is_compared() {
        // As Python writes it, in binary messages.
        assert_eq!(announced_size(br#"{"type": "init", "num_chunks": 1, "file_size": 3}"#).unwrap(), 3);
        let eof = |sum: &str| format!(r#"{{"type": "eof", "sha256_hash": "{sum}"}}"#);
        let mut content = Content::new(3);
        assert_eq!(content.take(b"a").unwrap(), Part::Content);
        assert_eq!(content.take(b"bc").unwrap(), Part::Content);
        assert!(matches!(content.take(eof(EMPTY).as_bytes()), Err(TransferFailure::Digest)));
        assert_eq!(content.take(eof(&ABC.to_uppercase()).as_bytes()).unwrap(), Part::End);
        assert_eq!(Content::new(0).take(eof(EMPTY).as_bytes()).unwrap(), Part::End);
    }

    #[test]
    fn a_message_that_does_not_belong_there_is_refused() {
        for message in ["", "{}", "abc", r#"{"type":"eof","sha256_hash":""}"#, r#"{"type":"init","file_size":-1,"num_chunks":0}"#] {
            assert!(announced_size(message.as_bytes()).is_err(), "{message}");
        }
        assert!(
            announced_size(format!(r#"{{"type":"init","num_chunks":1,"file_size":1,"x":"{}"}}"#, "x".repeat(MAX_CONTROL)).as_bytes())
                .is_err()
        );
        assert!(matches!(Content::new(2).take(b"abc"), Err(TransferFailure::Protocol(_))), "longer than announced");
        assert!(matches!(Content::new(0).take(b"abc"), Err(TransferFailure::Protocol(_))), "no end");
        // A file that has become shorter: its end is taken for content, and nothing comes after it.
        let mut short = Content::new(200);
        assert_eq!(short.take(br#"{"type": "eof", "sha256_hash": "x"}"#).unwrap(), Part::Content);
    }
}
