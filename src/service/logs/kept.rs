//! The output of jobs that the scheduler keeps itself.
//!
//! It is one stream, given from its start. What a request does not ask for passes by here.

use std::sync::Arc;

use futures::future::ready;
use futures::stream::{self, StreamExt};

use super::lines::{MAX_BACK, start_in};
use super::{Log, LogStart};
use crate::domain::{JobId, LogStream, Principal};
use crate::filesystem::Followed;
use crate::scheduler::{JobOutputs, OutputPart, OutputStream, SchedulerError};
use crate::service::shared_follow::{Event, Source};
use crate::service::updates::expiry;
use crate::service::{Access, ServiceError};

/// Why there is nothing on the other stream.
const ONE_STREAM: &str = "this system keeps the output and the errors of a job as one stream: read it as `stream=stdout`";

/// The most that one answer holds in bytes. The next request continues behind it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The output until now.
///
/// # Errors
/// If there is no such job, or the scheduler does not answer.
pub(super) async fn read(
    outputs: &dyn JobOutputs,
    principal: &Principal,
    id: &JobId,
    stream: LogStream,
    start: LogStart,
) -> Result<Log, ServiceError> {
    check(stream)?;
    let output = outputs.read(principal, id).await?;
    let (offset, content) = match start {
        LogStart::Lines(lines) => last_lines(output, lines).await?,
        LogStart::Offset(0) => (0, from(output, 0).await?.1),
        LogStart::Offset(offset) => match from(output, offset).await? {
            (length, _) if length < offset => (0, from(outputs.read(principal, id).await?, 0).await?.1),
            (_, content) => (offset, content),
        },
    };
    let end = offset + content.len() as u64;
    let content = (!content.is_empty()).then(|| stream::once(ready(Ok(content.into()))).boxed());
    Ok(Log { offset, end, content })
}

/// Where an output is followed from.
///
/// # Errors
/// As [`read`].
pub(super) async fn start(
    outputs: &dyn JobOutputs,
    principal: &Principal,
    id: &JobId,
    stream: LogStream,
    start: LogStart,
) -> Result<u64, ServiceError> {
    check(stream)?;
    match start {
        LogStart::Offset(offset) => Ok(offset),
        LogStart::Lines(lines) => Ok(last_lines(outputs.read(principal, id).await?, lines).await?.0),
    }
}

/// A source for the output from an offset on.
pub(super) fn open(access: Access, job: JobId, offset: u64) -> Source {
    let end = expiry(access.principal());
    let events = stream::once(async move {
        match begin(&access, &job, offset).await {
            Ok(parts) => stream::once(ready(Event::Opened)).chain(events(parts, offset)).boxed(),
            Err(error) => stream::once(ready(Event::Failed(Arc::new(error)))).boxed(),
        }
    });
    events.flatten().boxed().take_until(end).chain(stream::once(ready(Event::Expired))).boxed()
}

async fn begin(access: &Access, job: &JobId, offset: u64) -> Result<OutputStream, ServiceError> {
    let outputs = access.cluster().scheduler()?.outputs().ok_or(SchedulerError::JobNotFound)?;
    Ok(outputs.follow(access.principal(), job, offset).await?)
}

/// What becomes of an output that is followed.
fn events(parts: OutputStream, mut end: u64) -> Source {
    let events = parts.map(move |part| match part {
        Ok(OutputPart::Data(data)) => {
            end += data.len() as u64;
            Event::Change(Followed::Data { data, end })
        }
        Ok(OutputPart::Restarted) => {
            end = 0;
            Event::Change(Followed::Truncated)
        }
        Err(error) => Event::Failed(Arc::new(error.into())),
    });
    let mut is_over = false;
    let up_to_a_failure = move |event: &Event| ready(!std::mem::replace(&mut is_over, matches!(event, Event::Failed(_))));
    events.chain(stream::once(ready(Event::Ended))).take_while(up_to_a_failure).boxed()
}

fn check(stream: LogStream) -> Result<(), ServiceError> {
    if stream == LogStream::Stderr { Err(ServiceError::NotFound(ONE_STREAM)) } else { Ok(()) }
}

/// The length of an output as far as it was read, and what stands behind an offset.
async fn from(mut output: OutputStream, offset: u64) -> Result<(u64, Vec<u8>), SchedulerError> {
    let (mut length, mut content) = (0, Vec::new());
    while let Some(part) = output.next().await {
        if let OutputPart::Data(data) = part? {
            let known = usize::try_from(offset.saturating_sub(length)).unwrap_or(usize::MAX).min(data.len());
            length += data.len() as u64;
            content.extend_from_slice(&data[known..]);
        }
        if content.len() >= MAX_ANSWER {
            content.truncate(MAX_ANSWER);
            break;
        }
    }
    Ok((length, content))
}

/// The last lines, and their offset. Where they are longer than 16 MiB, those bytes.
async fn last_lines(mut output: OutputStream, lines: u64) -> Result<(u64, Vec<u8>), SchedulerError> {
    let max = usize::try_from(MAX_BACK).unwrap_or(usize::MAX);
    let (mut length, mut content) = (0, Vec::new());
    while let Some(part) = output.next().await {
        if let OutputPart::Data(data) = part? {
            length += data.len() as u64;
            content.extend_from_slice(&data);
        }
        if content.len() > 2 * max {
            content.drain(..content.len() - max);
        }
    }
    content.drain(..content.len().saturating_sub(max));
    let content = content.split_off(start_in(&content, lines));
    Ok((length - content.len() as u64, content))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn output(pieces: &[&'static [u8]]) -> OutputStream {
        let parts: Vec<Result<OutputPart, SchedulerError>> =
            pieces.iter().map(|piece| Ok(OutputPart::Data(Bytes::from_static(piece)))).collect();
        stream::iter(parts).boxed()
    }

    #[tokio::test]
    async fn an_output_is_cut_at_any_offset() {
        for (offset, expected) in [(0, "onetwothree"), (2, "etwothree"), (3, "twothree"), (7, "hree"), (11, ""), (99, "")] {
            let (length, content) = from(output(&[b"one", b"", b"two", b"three"]), offset).await.unwrap();
            assert_eq!((length, content.as_slice()), (11, expected.as_bytes()), "{offset}");
        }
    }

    #[tokio::test]
    async fn the_last_lines_are_found_with_their_offset() {
        for (lines, expected) in [(1, (6, "three\n")), (2, (4, "2\nthree\n")), (9, (0, "one\n2\nthree\n")), (0, (12, ""))] {
            let (offset, content) = last_lines(output(&[b"one\n2", b"\nthr", b"ee\n"]), lines).await.unwrap();
            assert_eq!((offset, content.as_slice()), (expected.0, expected.1.as_bytes()), "{lines}");
        }
    }

    #[tokio::test]
    async fn a_failure_ends_what_is_followed_and_is_no_end_of_the_job() {
        let parts = stream::iter([Ok(OutputPart::Data(Bytes::from_static(b"ab"))), Err(SchedulerError::Down("gone".to_owned()))]).boxed();
        let found: Vec<Event> = events(parts, 5).collect().await;
        assert!(matches!(&found[..], [Event::Change(Followed::Data { end: 7, .. }), Event::Failed(_)]), "{found:?}");
        let found: Vec<Event> = events(stream::iter([Ok(OutputPart::Restarted)]).boxed(), 5).collect().await;
        assert!(matches!(&found[..], [Event::Change(Followed::Truncated), Event::Ended]), "{found:?}");
    }
}
