//! Transfers by the protocol of firecrest-streamer: what a client needs to connect, the job that stands for a transfer, and the report
//! by which that job learns of the transfer's end.
//!
//! Everything here is pure. Goldcrest itself is the server (`http/streaming`), so that the job moves nothing: it waits until a file in
//! its working directory, the report, says how the transfer ended, and ends in the same way. This module must not know who may do this,
//! nor which scheduler runs the job.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::script::Script;
use super::{Directives, Streamer, describe};
use crate::domain::{JobDescription, RemotePath, Secret};

/// How long a job waits for the next sign of a transfer that has begun, in seconds. Shared file systems may show it a minute late.
const SILENCE: u64 = 300;

/// The direction of a transfer, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the cluster.
    Upload,
    /// From the cluster to the client.
    Download,
}

impl Direction {
    /// The name of its job, as in FirecREST.
    fn job_name(self) -> &'static str {
        match self {
            Self::Upload => "IngressFileTransfer",
            Self::Download => "OutgressFileTransfer",
        }
    }
}

/// An address to listen on, with the range of ports of which one is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address, or a name of this machine.
    pub host: String,
    /// The first and the last port.
    pub ports: [u16; 2],
}

impl Endpoint {
    /// The endpoint of a service whose configuration is complete.
    pub fn of(streamer: &Streamer) -> Self {
        Self { host: streamer.host.clone().unwrap_or_default(), ports: streamer.port_range }
    }
}

/// The coordinates that a client connects with: every address, the one port, and the secret.
pub fn coordinates(addresses: &[String], port: u16, secret: &Secret) -> Secret {
    let coordinates = json!({"ports": [port, port], "ips": addresses, "secret": secret.expose()});
    Secret::from(URL_SAFE.encode(coordinates.to_string()))
}

/// The place of the report in the job's directory. `id` is not used for another job.
pub fn report_path(directory: &RemotePath, id: Uuid) -> RemotePath {
    directory.join(format!(".f7t_file_handling_job_{id}.report").as_bytes())
}

/// The job that stands for a transfer: it waits `wait_timeout` seconds for the client, and then for the end that the report names.
pub fn job(direction: Direction, wait_timeout: u64, directives: &Directives, directory: &RemotePath, id: Uuid) -> JobDescription {
    let script = Script::new(directives)
        .path("report", &report_path(directory, id))
        .value("wait_timeout", wait_timeout.to_string().as_bytes())
        .value("silence", SILENCE.to_string().as_bytes())
        .program(include_str!("wait.sh"));
    describe(direction.job_name(), script, directory, id)
}

/// The content of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The client is connected.
    Begun,
    /// The file is in its place.
    Done,
    /// It is not, for this reason.
    Failed(String),
}

impl Report {
    /// The content for the job: a word, and on the lines after it the reason.
    pub fn content(&self) -> Bytes {
        match self {
            Self::Begun => Bytes::from_static(b"begun\n"),
            Self::Done => Bytes::from_static(b"done\n"),
            Self::Failed(reason) => format!("failed\n{}\n", reason.replace(char::is_control, " ")).into(),
        }
    }
}

#[cfg(test)]
mod tests;
