//! Why a transfer by streamer failed, for its client and for its job.

use axum::extract::ws::{CloseFrame, close_code};
use serde_json::json;

use crate::error::Classify;
use crate::filesystem::FilesystemError;
use crate::service::ServiceError;
use crate::service::streaming::StopReason;

/// The close code of firecrest-streamer for a file that exists, or does not.
const FILE: u16 = 3003;

/// The longest reason of a close frame, in bytes (RFC 6455, 5.5).
const MAX_REASON: usize = 123;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferFailure {
    /// The client closed the connection early, with these words.
    #[error("the client gave up: {0}")]
    GaveUp(String),
    /// The connection was lost.
    #[error("the connection of the client was lost")]
    Lost,
    /// The service stops.
    #[error("Goldcrest was stopped during the transfer: ask for it again")]
    Stopped,
    /// The client neither sent nor took anything for too long.
    #[error("the client was silent for too long")]
    Silent,
    /// The client did not follow the protocol.
    #[error("the client broke the protocol: {0}")]
    Protocol(&'static str),
    /// The file is larger than the limit in bytes.
    #[error("the file is larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// The file is not of the size that the request for the transfer announced.
    #[error("the file has {size} bytes, and `fileSize` of the request for the transfer was {announced}")]
    OtherSize {
        /// The size of the file in bytes.
        size: u64,
        /// The announced size in bytes.
        announced: u64,
    },
    /// The content is not that of the announced checksum.
    #[error("the content does not have the SHA-256 that the client announced")]
    Digest,
    /// The transfer does not go on.
    #[error(transparent)]
    Ended(#[from] StopReason),
    /// The file was not written, or not read.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl From<FilesystemError> for TransferFailure {
    fn from(error: FilesystemError) -> Self {
        Self::Service(error.into())
    }
}

impl TransferFailure {
    /// The reason for the job's log, which its user reads.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Service(source) => source.public_message().into_owned(),
            failure => failure.to_string(),
        }
    }

    /// The close code, and the name of the error in the words of Python, which clients print.
    fn code(&self) -> (u16, &'static str) {
        match self {
            Self::Service(ServiceError::Precondition(_)) => (FILE, "FileExistsError"),
            Self::Service(ServiceError::Filesystem(FilesystemError::Exists(_))) => (FILE, "FileExistsError"),
            Self::Service(ServiceError::Filesystem(FilesystemError::NotFound(_))) => (FILE, "FileNotFoundError"),
            Self::Service(ServiceError::TooLarge(..)) | Self::TooLarge(_) => (close_code::SIZE, "TooLarge"),
            Self::Protocol(_) => (close_code::PROTOCOL, "ProtocolError"),
            Self::Ended(_) => (close_code::ERROR, "JobEnded"),
            Self::OtherSize { .. } => (close_code::POLICY, "SizeMismatch"),
            Self::Digest => (close_code::ERROR, "HashMismatch"),
            _ => (close_code::ERROR, "OSError"),
        }
    }
}

/// The close frame at the end of a transfer.
pub(super) fn close_frame(outcome: &Result<(), TransferFailure>) -> CloseFrame {
    let Err(failure) = outcome else { return CloseFrame { code: close_code::NORMAL, reason: "".into() } };
    let (code, error) = failure.code();
    let mut reason = json!({"type": "error", "error": error}).to_string();
    if let TransferFailure::TooLarge(limit) = failure {
        reason = format!("Inbound transfer limit exceeded, max allowed transfer size: {limit} bytes.");
    }
    debug_assert!(reason.len() <= MAX_REASON, "{reason}");
    CloseFrame { code, reason: reason.into() }
}
