//! A small SFTP server on the local file system, for the demo cluster and for tests.
//!
//! It acts with the rights of the process and has no confinement: it serves everything that the process may access. Requests of
//! a session are worked off in order, some at a time, on a blocking thread. It must not know users or SSH.

mod files;
mod names;

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::filesystem::sftp::protocol::{
    COPY_DATA, FSYNC, HARDLINK, LIMITS, POSIX_RENAME, Request, Response, STATVFS, USERS_GROUPS_BY_ID, VERSION, decode_request,
    encode_response, split_packet,
};
use files::Files;

/// Requests that are worked off on one visit to a blocking thread.
const BATCH: usize = 32;

/// The number of bytes that they may read together before the answers are sent.
const BATCH_BYTES: u64 = 1024 * 1024;

/// The offered extensions of version 3, each in this version.
const EXTENSIONS: [(&[u8], &[u8]); 7] =
    [(POSIX_RENAME, b"1"), (FSYNC, b"1"), (HARDLINK, b"1"), (LIMITS, b"1"), (USERS_GROUPS_BY_ID, b"1"), (COPY_DATA, b"1"), (STATVFS, b"2")];

/// Serves one session until the client ends it. Whatever it opened is closed then, and when the future is dropped.
///
/// # Errors
/// If the stream breaks, or the client does not speak SFTP version 3.
pub async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    let mut files = Files::new();
    let mut greeted = false;
    loop {
        let (mut batch, mut reading) = (Vec::new(), 0);
        while batch.len() < BATCH && reading < BATCH_BYTES {
            let Some(packet) = split_packet(&mut input).map_err(invalid)? else { break };
            let (id, request) = decode_request(packet).map_err(invalid)?;
            match (&request, greeted) {
                (Request::Init { .. }, false) => {
                    greeted = true;
                    let extensions = EXTENSIONS.iter().map(|(name, version)| ((*name).into(), (*version).into())).collect();
                    encode_response(0, &Response::Version { version: VERSION, extensions }, &mut output);
                    continue;
                }
                (Request::Init { .. }, true) | (_, false) => return Err(invalid("the greeting is out of place")),
                (Request::Read { length, .. }, true) => reading += u64::from(*length),
                (Request::CopyData { length, .. }, true) => reading += *length,
                _ => {}
            }
            batch.push((id, request));
        }
        if !batch.is_empty() {
            let work = move || {
                let answers: Vec<(u32, Response)> = batch.into_iter().map(|(id, request)| (id, files.answer(request))).collect();
                (files, answers)
            };
            let (returned, answers) = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
            files = returned;
            answers.iter().for_each(|(id, response)| encode_response(*id, response, &mut output));
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
            stream.flush().await?;
            output.clear();
            continue;
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
