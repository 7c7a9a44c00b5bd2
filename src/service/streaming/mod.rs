//! Uploads and downloads by the protocol of firecrest-streamer: Goldcrest itself is the server that clients connect to.
//!
//! A request submits the job that stands for the transfer, and answers with the secret of one connection ([`upload`], [`download`]).
//! The client that has the secret is accepted while that job runs ([`claim`]), and its bytes go the way of every other upload and download,
//! as the user of the transfer. This module must not know WebSockets.

mod stream;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::audit::Change;
use super::contents::{TransferForm, find_target};
use super::counts::Action;
use super::transfers::{FileTransferRequest, JobContext, TransferJob};
use super::{Access, AccessError, Gate, ServiceError};
use crate::authz::Relation;
use crate::cluster::GateError;
use crate::domain::{Alternative, RemotePath, Secret, excerpt};
use crate::error::Kind;
use crate::filesystem::regular;
use crate::transfer::Streamer;
use crate::transfer::streamer::{self, Direction, Endpoint, Report};

pub use stream::{StopReason, Stream};

use super::streams::{MAX_CONNECTED_PER_USER, MAX_WAITING_PER_USER, Transfer, WaitingTransfer};
use stream::JobState;

/// Maximum number of reports that are written at a time when the process ends.
const MAX_CONCURRENT_REPORTS: usize = 16;

/// The longest name of a host that clients are sent to.
const MAX_HOST: usize = 255;

/// What to do if the target of an upload exists.
const REPLACE_HINT: &str = "remove it first, choose another name, or send the file with `PUT .../ops/upload`, which replaces it";

/// A transfer that waits for its client.
#[derive(Debug)]
pub struct StreamTransfer {
    /// The job that stands for it.
    pub job: TransferJob,
    /// Where the client connects, and the secret for that.
    pub coordinates: Secret,
}

/// Waits for a client that sends the new file at the path.
///
/// # Errors
/// If something has that name, there is no directory for it, the file is too large, or the job cannot be submitted.
pub async fn upload(access: &Access, streamer: &Streamer, request: FileTransferRequest<'_>) -> Result<StreamTransfer, ServiceError> {
    let target = access.path(request.path).await?;
    let size = request.size.unwrap_or(0);
    TransferForm::Stream.check(access, size, Alternative::OtherMethod)?;
    if size > streamer.inbound_transfer_limit {
        return Err(ServiceError::TooLarge(streamer.inbound_transfer_limit, Alternative::WriteStream));
    }
    if find_target(access, &target).await?.is_some() {
        return Err(ServiceError::Forbidden(format!("{target} exists: a transfer by streamer overwrites nothing; {REPLACE_HINT}")));
    }
    begin(access, streamer, request, Direction::Upload, target).await
}

/// Waits for a client that takes the file at the path.
///
/// # Errors
/// If there is no such regular file, or the job cannot be submitted.
pub async fn download(access: &Access, streamer: &Streamer, request: FileTransferRequest<'_>) -> Result<StreamTransfer, ServiceError> {
    let source = access.path(request.path).await?;
    let found = access.files().await?.stat(access.principal(), &source, true).await?;
    regular(&source, found.mode)?;
    TransferForm::Stream.check(access, found.size, Alternative::OtherMethod)?;
    begin(access, streamer, request, Direction::Download, source).await
}

async fn begin(
    access: &Access,
    streamer: &Streamer,
    request: FileTransferRequest<'_>,
    direction: Direction,
    path: RemotePath,
) -> Result<StreamTransfer, ServiceError> {
    let job_context = JobContext::of(access, request.account)?;
    let (streams, endpoint) = (&access.state().streams, Endpoint::of(streamer));
    let port = streams.port(&endpoint).ok_or_else(|| not_listening(&endpoint))?;
    make_room(access).await?;
    let secret = new_secret()?;

    let action = if direction == Direction::Upload { Action::TransfersUpload } else { Action::TransfersDownload };
    let change = Change::begin(access, action, path.to_text());
    let id = Uuid::new_v4();
    let report = streamer::report_path(&job_context.directory, id);
    let job = streamer::job(direction, streamer.wait_timeout, &job_context.directives, &job_context.directory, id);
    let job = job_context.submit(access, &job, change).await?;
    let transfer = Transfer {
        system: access.cluster().name().clone(),
        direction,
        path,
        job: job.id.clone(),
        report,
        limit: streamer.inbound_transfer_limit,
        size: request.size,
    };
    streams.add(secret.expose(), access.requester(), transfer, Duration::from_secs(streamer.wait_timeout));
    let coordinates = streamer::coordinates(&addresses(streamer, request.host), port, &secret);
    Ok(StreamTransfer { job, coordinates })
}

/// The addresses that a client connects to: those of the configuration, or else where the client found this service.
fn addresses(streamer: &Streamer, host: Option<&str>) -> Vec<String> {
    let own = || host.map(|host| excerpt(host, MAX_HOST)).or_else(|| streamer.host.clone());
    streamer.public_ips.clone().unwrap_or_else(|| own().into_iter().collect())
}

fn not_listening(endpoint: &Endpoint) -> ServiceError {
    let Endpoint { host, ports: [first, last] } = endpoint;
    GateError::Unavailable(format!(
        "the transfer method streamer is not available now: none of the ports {first} to {last} of {host} could be listened on"
    ))
    .into()
}

/// Checks that the caller may have one more transfer that waits; those whose jobs have ended do not count.
async fn make_room(access: &Access) -> Result<(), ServiceError> {
    let streams = &access.state().streams;
    let waiting = streams.of_user(&access.principal().username);
    if waiting.len() >= MAX_WAITING_PER_USER {
        for transfer in waiting.iter().filter(|transfer| transfer.system == *access.cluster().name()) {
            if matches!(stream::job_state(access, &transfer.job).await?, JobState::Ended | JobState::Unknown) {
                streams.remove(transfer);
                return Ok(());
            }
        }
        let message = format!(
            "{MAX_WAITING_PER_USER} transfers of yours wait for their clients: connect to them, or cancel their jobs, before another one"
        );
        return Err(ServiceError::TooMany(message.into()));
    }
    if streams.is_full() {
        return Err(ServiceError::TooMany("too many transfers wait for their clients: try again later".into()));
    }
    Ok(())
}

fn new_secret() -> Result<Secret, ServiceError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| GateError::Unavailable("the system has no random bytes for a secret".to_owned()))?;
    Ok(Secret::from(URL_SAFE_NO_PAD.encode(bytes)))
}

/// Why a client is rejected.
#[derive(Debug, thiserror::Error)]
pub enum StreamRefusal {
    /// The secret is that of no transfer, or was used.
    #[error("the secret is wrong, or was used")]
    WrongSecret,
    /// Too many wrong secrets came from the client's address.
    #[error("too many wrong secrets came from this address: try again in a minute")]
    TooManyAttempts,
    /// The job of the transfer does not run yet.
    #[error("the job of this transfer does not run yet: connect when it does")]
    NotRunning,
    /// The job of the transfer has ended.
    #[error("the job of this transfer has ended")]
    Ended,
    /// The user has as many clients connected as one may.
    #[error("{} clients of this user are connected, the limit: connect when one has ended", MAX_CONNECTED_PER_USER)]
    TooManyClients,
    /// The user of the transfer may not use the system any more, or that is not known.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The scheduler does not say whether the job runs.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl StreamRefusal {
    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        use crate::error::Classify;
        match self {
            Self::WrongSecret => Kind::Forbidden,
            Self::TooManyAttempts | Self::TooManyClients => Kind::TooManyRequests,
            Self::NotRunning => Kind::Conflict,
            Self::Ended => Kind::NotFound,
            Self::Access(source) => source.kind(),
            Self::Service(source) => source.kind(),
        }
    }
}

/// Accepts the client at `address` that has the secret of a transfer, while the job of the transfer runs and its user may still use
/// the system. The secret does not work again.
///
/// # Errors
/// Why not. Unless the job has ended, the secret still works.
pub async fn claim(gate: &Gate, secret: &str, address: IpAddr) -> Result<Stream, StreamRefusal> {
    let streams = gate.state().streams;
    if streams.is_barred(address) {
        return Err(StreamRefusal::TooManyAttempts);
    }
    let Some(waiting) = streams.claim(secret) else {
        streams.count_attempt(address);
        tracing::info!(%address, "a client of streamer was refused: its secret is that of no transfer");
        return Err(StreamRefusal::WrongSecret);
    };
    let outcome = async {
        let connected = streams.connected.take(&waiting.username(), 1).ok_or(StreamRefusal::TooManyClients)?;
        let relation = if waiting.direction == Direction::Upload { Relation::Write } else { Relation::Submit };
        let mut requester = waiting.requester();
        requester.address = Some(address);
        let access = gate.readmit(requester, relation, &waiting.system).await?;
        match stream::job_state(&access, &waiting.job).await? {
            JobState::Running => Ok(Stream::new(access, connected, &waiting)),
            JobState::Waiting | JobState::Unknown => Err(StreamRefusal::NotRunning),
            JobState::Ended => Err(StreamRefusal::Ended),
        }
    };
    let outcome = outcome.await;
    if matches!(&outcome, Ok(_) | Err(StreamRefusal::Ended)) {
        streams.remove(&waiting);
    }
    outcome
}

/// Ends every transfer when the process ends: waits for the reports under way, and tells the jobs of those that wait that no client can
/// connect any more; for so long at most.
pub async fn settle(gate: &Gate, limit: Duration) {
    let streams = gate.state().streams;
    let endings = streams.endings.clone();
    let places = Arc::new(Semaphore::new(MAX_CONCURRENT_REPORTS));
    for waiting in streams.all() {
        streams.remove(&waiting);
        endings.spawn(give_up(gate.clone(), waiting, Arc::clone(&places)));
    }
    endings.close();
    if tokio::time::timeout(limit, endings.wait()).await.is_err() {
        tracing::warn!("the jobs of some transfers were not told that Goldcrest stops: they end when their time is over");
    }
}

/// Reports to the job of a waiting transfer that no client can connect any more.
async fn give_up(gate: Gate, waiting: Arc<WaitingTransfer>, places: Arc<Semaphore>) {
    let Ok(_place) = places.acquire().await else { return };
    if let Ok(access) = gate.readmit(waiting.requester(), Relation::Submit, &waiting.system).await {
        let reason = "Goldcrest was stopped before the client connected: ask for the transfer again".to_owned();
        stream::report(&access, &waiting.report, &Report::Failed(reason)).await;
    }
}
