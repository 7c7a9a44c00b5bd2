//! The first bytes of an archive that arrives: whether they are those of the format that was said. What is something else is refused before
//! anything is made on the cluster, by its name, since tar's own message tells only that it did not understand.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};

use crate::domain::RemotePath;
use crate::filesystem::{ArchiveFormat, ContentStream, FilesystemError};

/// The size of a block of a tar archive, which begins with the header of its first member.
const BLOCK: usize = 512;

/// Where the header has its checksum, in octal.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Passes the content of an archive on.
///
/// # Errors
/// If it is not in this format, or does not come.
pub async fn in_format(content: ContentStream, path: &RemotePath, format: ArchiveFormat) -> Result<ContentStream, FilesystemError> {
    // A short one ends here, and is not asked for more behind its end.
    let mut content = content.fuse();
    let (mut head, mut first) = (BytesMut::new(), Vec::new());
    while head.len() < BLOCK
        && let Some(piece) = content.try_next().await?
    {
        head.extend_from_slice(&piece[..piece.len().min(BLOCK)]);
        first.push(Ok::<Bytes, FilesystemError>(piece));
    }
    match refusal(&head, format) {
        Some(reason) => Err(FilesystemError::Invalid(format!("{path}: {reason}"))),
        None => Ok(stream::iter(first).chain(content).boxed()),
    }
}

/// What is wrong with content that begins so, if it can be seen.
fn refusal(head: &[u8], format: ArchiveFormat) -> Option<&'static str> {
    let (found, reason) = match head {
        [0x1f, 0x8b, ..] => (Some(ArchiveFormat::Gzip), "this is gzip: add `format=tar.gz`"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (Some(ArchiveFormat::Zstd), "this is zstd: add `format=tar.zst`"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => {
            (None, "this is bzip2, which is not taken here: store it and unpack it with `ops/extract`")
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => (None, "this is xz, which is not taken here: store it and unpack it with `ops/extract`"),
        [b'P', b'K', 3 | 5 | 7, 4 | 6 | 8, ..] => (None, "this is zip, and archives are those of tar"),
        _ if is_tar(head) => (Some(ArchiveFormat::Tar), "this is an archive without compression: leave `format` out"),
        // Too little to tell.
        _ if head.len() < BLOCK => return None,
        _ => (None, "this is not an archive of tar"),
    };
    (found != Some(format)).then_some(reason)
}

/// Whether a block is the header of a member, or the end of an archive of nothing.
fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..BLOCK) else { return false };
    let written = block[CHECKSUM].iter().skip_while(|byte| **byte == b' ').take_while(|byte| (b'0'..=b'7').contains(byte));
    let written = written.fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let byte_at = |at: usize| if CHECKSUM.contains(&at) { b' ' } else { block[at] };
    let sum: u32 = (0..BLOCK).map(|at| u32::from(byte_at(at))).sum();
    // Old implementations added the bytes as signed numbers.
    let signed: i32 = (0..BLOCK).map(|at| i32::from(byte_at(at).cast_signed())).sum();
    written == sum || i64::from(written) == i64::from(signed) || block.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[0] = b'f';
        block[CHECKSUM].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    async fn passed(content: &[u8], format: ArchiveFormat) -> Result<Vec<u8>, String> {
        let pieces: Vec<_> = content.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let path = RemotePath::from_text("/d").unwrap();
        let content = in_format(stream::iter(pieces).boxed(), &path, format).await.map_err(|error| error.to_string())?;
        Ok(content.try_collect::<Vec<Bytes>>().await.unwrap().concat())
    }

    #[tokio::test]
    async fn an_archive_that_is_shorter_than_a_block_ends_once() {
        let short = [&[0x1f, 0x8b][..], &[0; 98]].concat();
        // It must not be polled behind its end.
        let content = stream::unfold(Some(Bytes::from(short.clone())), |piece| async move { piece.map(|piece| (Ok(piece), None)) }).boxed();
        let path = RemotePath::from_text("/d").unwrap();
        let passed: Vec<Bytes> = in_format(content, &path, ArchiveFormat::Gzip).await.unwrap().try_collect().await.unwrap();
        assert_eq!(passed.concat(), short);
    }

    #[tokio::test]
    async fn an_archive_of_the_format_that_was_said_passes_as_it_is() {
        let gzip = [&[0x1f, 0x8b, 8][..], &[7; 2000]].concat();
        let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[7; 20]].concat();
        let tar = [header(), vec![1; 3000]].concat();
        for (content, format) in [
            (tar, ArchiveFormat::Tar),
            (vec![0; 10_240], ArchiveFormat::Tar),
            (gzip, ArchiveFormat::Gzip),
            (zstd, ArchiveFormat::Zstd),
            // tar tells that these end too early.
            (b"short".to_vec(), ArchiveFormat::Tar),
            (vec![], ArchiveFormat::Gzip),
        ] {
            assert_eq!(passed(&content, format).await, Ok(content), "{format:?}");
        }
    }

    #[tokio::test]
    async fn content_of_another_format_is_refused_with_its_name() {
        let with = |magic: &[u8]| [magic, &[7; 600]].concat();
        for (content, format, words) in [
            (with(&[0x1f, 0x8b, 8]), ArchiveFormat::Tar, "/d: this is gzip: add `format=tar.gz`"),
            (with(&[0x1f, 0x8b, 8]), ArchiveFormat::Zstd, "/d: this is gzip: add `format=tar.gz`"),
            (with(&[0x28, 0xb5, 0x2f, 0xfd]), ArchiveFormat::Tar, "/d: this is zstd: add `format=tar.zst`"),
            (with(b"BZh91AY&SY"), ArchiveFormat::Tar, "this is bzip2"),
            (with(b"\xfd7zXZ\0"), ArchiveFormat::Gzip, "this is xz"),
            (with(b"PK\x03\x04"), ArchiveFormat::Tar, "this is zip"),
            (b"PK\x03\x04".to_vec(), ArchiveFormat::Tar, "this is zip"),
            ([header(), vec![0; 1024]].concat(), ArchiveFormat::Gzip, "leave `format` out"),
            (vec![b'x'; 600], ArchiveFormat::Tar, "this is not an archive of tar"),
            (vec![b'x'; 600], ArchiveFormat::Gzip, "this is not an archive of tar"),
        ] {
            let error = passed(&content, format).await.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
