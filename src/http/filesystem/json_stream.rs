//! JSON documents that are written while they are sent, so that their memory does not grow with their content.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;

use crate::domain::{DirectoryEntry, bytes_to_text};
use crate::error::ErrorChain;
use crate::filesystem::{EntryStream, FilesystemError};
use crate::http::cut_body::cut_by_errors;
use crate::http::filesystem::model::file::File;
use crate::service::{Ready, ReadyPermit};

/// The size of the pieces in which a string is written, in bytes.
const PIECE: usize = 16 * 1024;

/// The number of entries written at a time.
const CHUNK_ENTRIES: usize = 256;

/// The JSON before and after the entries of a directory.
const BEFORE: Bytes = Bytes::from_static(b"{\"output\":[");
const AFTER: Bytes = Bytes::from_static(b"]}");

/// `document` with `content` in place of its first empty string.
pub(crate) fn text(document: &impl Serialize, content: Vec<u8>, permit: ReadyPermit) -> Response {
    let document = serde_json::to_string(document).expect("texts and numbers serialise");
    let (before, after) = document.split_once("\"\"").expect("the documents given have an empty text");
    let (before, after) = (format!("{before}\""), format!("\"{after}"));
    let pieces = Pieces { content, at: 0, _permit: permit };
    let is_short = pieces.content.len() <= PIECE;
    let whole = std::iter::once(Bytes::from(before)).chain(pieces).chain([Bytes::from(after)]);
    if is_short {
        return at_once(&whole.collect::<Vec<_>>());
    }
    answer(stream::iter(whole).map(Ok::<_, std::convert::Infallible>))
}

/// The entries of a directory, first those in memory, then those still to be read. An error on the way cuts the response
/// short, so that an incomplete listing never looks complete.
pub(crate) fn entries(ready: Ready<Vec<DirectoryEntry>>, rest: Option<EntryStream>) -> Response {
    let (ready, permit) = ready.into_parts();
    if rest.is_none() && ready.len() <= CHUNK_ENTRIES {
        return at_once(&[BEFORE, members(ready, &mut true), AFTER]);
    }
    let mut ready = ready.into_iter().peekable();
    let ready = std::iter::from_fn(move || {
        let _ = &permit;
        ready.peek()?;
        Some(Ok(ready.by_ref().take(CHUNK_ENTRIES).collect::<Vec<_>>()))
    });
    let rest = rest.unwrap_or_else(|| stream::empty().boxed());
    let mut is_first = true;
    let written = stream::iter(ready).chain(rest).map(move |found| match found {
        Ok(found) => Ok(members(found, &mut is_first)),
        Err(error) => {
            tracing::warn!(error = %ErrorChain(&error), "a listing was cut short");
            Err(error)
        }
    });
    answer(stream::iter([Ok::<_, FilesystemError>(BEFORE)]).chain(written).chain(stream::iter([Ok(AFTER)])))
}

/// A short document, whose length is known.
fn at_once(pieces: &[Bytes]) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], pieces.concat()).into_response()
}

fn answer<E>(body: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Response
where
    E: Into<axum::BoxError> + Send + 'static,
{
    ([(header::CONTENT_TYPE, "application/json")], cut_by_errors(body)).into_response()
}

fn members(found: Vec<DirectoryEntry>, is_first: &mut bool) -> Bytes {
    let mut members = Vec::with_capacity(found.len() * 192);
    for entry in found {
        if !std::mem::take(is_first) {
            members.push(b',');
        }
        serde_json::to_writer(&mut members, &File::from(entry)).expect("strings and numbers serialise, and a vector takes them");
    }
    members.into()
}

/// The content of a JSON string, piece by piece.
struct Pieces {
    content: Vec<u8>,
    at: usize,
    _permit: ReadyPermit,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let rest = self.content.get(self.at..).filter(|rest| !rest.is_empty())?;
        let piece = &rest[..split(rest)];
        self.at += piece.len();
        let mut quoted = serde_json::to_vec(&bytes_to_text(piece)).expect("a text serialises");
        quoted.pop();
        Some(Bytes::from(quoted).slice(1..))
    }
}

/// The end of a piece, which is never within a character.
fn split(rest: &[u8]) -> usize {
    let is_inside = |at: usize| rest.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    // A character has at most three bytes after its first.
    (PIECE - 3..=PIECE).rev().find(|at| !is_inside(*at)).unwrap_or(PIECE).min(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_piece_ends_between_two_characters() {
        let text = "ü".repeat(PIECE);
        for shift in 0..4 {
            let rest = [&b"abcd"[..shift], text.as_bytes()].concat();
            assert!(std::str::from_utf8(&rest[..split(&rest)]).is_ok(), "{shift}");
        }
        assert_eq!(split(&[0x80; 2 * PIECE]), PIECE, "these are no characters");
        assert_eq!(split(b"short"), 5);
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_text_are_what_the_whole_is(characters in proptest::collection::vec(any::<char>(), 1..40), tail: Vec<u8>) {
            let text: String = characters.iter().collect();
            let content = [text.repeat(2 * PIECE / text.len() + 1).as_bytes(), &tail].concat();
            let mut written = String::new();
            let mut rest = &content[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(split(rest));
                written.push_str(&bytes_to_text(piece));
                rest = after;
            }
            prop_assert_eq!(written, bytes_to_text(&content));
        }
    }
}
