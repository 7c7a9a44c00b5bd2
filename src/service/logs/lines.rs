//! Finds the start of the last lines of a file.

use crate::domain::RemotePath;
use crate::service::{Access, ServiceError};

/// The number of bytes read at once.
const BLOCK: u64 = 64 * 1024;

/// The maximum distance from the end, in bytes.
pub(super) const MAX_BACK: u64 = 16 * 1024 * 1024;

/// The offset of the last `lines` lines of a file of this size; at most [`MAX_BACK`] before its end. Nothing of the file is kept in memory.
///
/// # Errors
/// If the cluster does not give the content.
pub(super) async fn start_of_last(access: &Access, path: &RemotePath, size: u64, lines: u64) -> Result<u64, ServiceError> {
    if lines == 0 {
        return Ok(size);
    }
    let block = BLOCK.min(access.cluster().config().data_operation.max_shown()).max(1);
    let first = size.saturating_sub(MAX_BACK);
    let (mut end, mut left) = (size, lines);
    while end > first {
        let start = end.saturating_sub(block).max(first);
        let content = access.files().await?.view(access.principal(), path, start, end - start).await?;
        if let Some(offset) = nth_break(&content, &mut left, end == size) {
            return Ok(start + offset);
        }
        end = start;
    }
    Ok(first)
}

/// The offset of the last `lines` lines of a content that is at hand.
pub(super) fn start_in(content: &[u8], lines: u64) -> usize {
    if lines == 0 {
        return content.len();
    }
    let mut left = lines;
    nth_break(content, &mut left, true).and_then(|offset| usize::try_from(offset).ok()).unwrap_or(0)
}

/// The offset after the line break before the last `left` lines of a block; otherwise counts `left` down. The break at the end of the file ends its
/// last line.
fn nth_break(content: &[u8], left: &mut u64, is_last: bool) -> Option<u64> {
    let searched = if is_last { content.strip_suffix(b"\n").unwrap_or(content) } else { content };
    for (at, _) in searched.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
        *left -= 1;
        if *left == 0 {
            return Some(at as u64 + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same for a content in blocks of this length.
    fn start(content: &[u8], lines: u64, block: usize) -> u64 {
        let (mut end, mut left) = (content.len(), lines);
        while end > 0 {
            let start = end.saturating_sub(block);
            if let Some(offset) = nth_break(&content[start..end], &mut left, end == content.len()) {
                return start as u64 + offset;
            }
            end = start;
        }
        0
    }

    #[test]
    fn the_last_lines_are_those_that_tail_prints() {
        for block in 1..9 {
            for (content, lines, offset) in [
                (&b"a\nbb\nccc\n"[..], 1, 5),
                (b"a\nbb\nccc\n", 2, 2),
                (b"a\nbb\nccc\n", 3, 0),
                (b"a\nbb\nccc\n", 9, 0),
                (b"a\nbb\nccc", 1, 5),
                (b"a\n\n", 1, 2),
                (b"\n", 1, 0),
                (b"no break", 2, 0),
                (b"", 3, 0),
            ] {
                assert_eq!(start(content, lines, block), offset, "{lines} of {content:?} by {block}");
            }
        }
    }
}
