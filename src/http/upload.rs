//! The file of an upload form, as a stream.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures::future::{Either, select};
use futures::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::activity::at_slowest;
use super::problem::Problem;
use super::{Api, Config};
use crate::error::Kind;
use crate::filesystem::FilesystemError;
use crate::service::{Access, InvalidRequest, Place, files};

/// How many pieces may wait between the client and the cluster. A piece is what one read of the connection gave.
const PIECES: usize = 4;
/// After a failure, how much of the rest is still taken in and for how long: a client that is cut off while it sends sees a
/// broken connection instead of the answer.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The form of an upload request, not yet read.
pub(super) struct FilePart(Multipart);

impl FromRequest<Api> for FilePart {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let form = Multipart::from_request(request, api).await;
        form.map(Self).map_err(|_| missing("send the file as part `file` of a `multipart/form-data` form").into())
    }
}

impl FilePart {
    /// Reads the form up to the part `file`, for which the client has the time that a request may take, and writes it to
    /// `directory` under its own name. The content ends with an error when the client breaks off, or has let us wait for longer
    /// than that time and what [`SLOWEST`](super::activity::SLOWEST) allows for what it sent.
    pub(super) async fn store(mut self, config: &Config, access: &Access, directory: &str) -> Result<(), Problem> {
        let pause = Duration::from_secs(config.request_timeout);
        let deadline = Instant::now() + pause;
        loop {
            let next = timeout_at(deadline, self.0.next_field()).await;
            match next.map_err(|_| Problem::new(Kind::DeadlineExceeded, "the client stopped sending"))? {
                Ok(Some(field)) if field.name() == Some("file") => return store(field, pause, access, directory).await,
                Ok(Some(_)) => {}
                Ok(None) => return Err(missing("the form has no part `file`").into()),
                Err(_) => return Err(missing("the form could not be read").into()),
            }
        }
    }
}

async fn store(mut field: Field<'_>, pause: Duration, access: &Access, directory: &str) -> Result<(), Problem> {
    let name = field.file_name().map(ToOwned::to_owned).ok_or_else(|| missing("the part `file` has no file name"))?;
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let content = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
    let outcome = {
        let write = pin!(files::upload(access, directory, &name, content));
        let feed = pin!(feed(&mut field, sender, pause));
        match select(write, feed).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), write)) => write.await,
        }
    };
    if outcome.is_err() {
        drain(&mut field).await;
    }
    Ok(outcome?)
}

/// Sends the part on, piece by piece, until it ends or nobody wants more.
async fn feed(field: &mut Field<'_>, sender: mpsc::Sender<Result<Bytes, FilesystemError>>, pause: Duration) {
    // Only the time counts in which the client is waited for: how fast the cluster takes the pieces is not its business.
    let (mut received, mut waited) = (0, Duration::ZERO);
    loop {
        let asked = Instant::now();
        let allowed = (pause + at_slowest(received)).saturating_sub(waited).min(pause);
        let piece = timeout(allowed, field.chunk()).await;
        waited += asked.elapsed();
        let piece = match piece {
            Ok(Ok(Some(bytes))) => {
                received += bytes.len() as u64;
                Ok(bytes)
            }
            Ok(Ok(None)) => return,
            Ok(Err(error)) => Err(FilesystemError::Interrupted(io::Error::other(error))),
            Err(_) => Err(FilesystemError::Interrupted(io::ErrorKind::TimedOut.into())),
        };
        let last = piece.is_err();
        if sender.send(piece).await.is_err() || last {
            return;
        }
    }
}

async fn drain(field: &mut Field<'_>) {
    let deadline = Instant::now() + DRAIN_TIME;
    let mut left = DRAIN_BYTES;
    while let Ok(Ok(Some(bytes))) = timeout_at(deadline, field.chunk()).await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            break;
        }
    }
}

fn missing(message: &'static str) -> InvalidRequest {
    InvalidRequest::new(Place::Document, "file", message)
}
