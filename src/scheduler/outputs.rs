//! The output of jobs, of a scheduler that keeps it itself instead of in files.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::SchedulerError;
use crate::domain::{JobId, Principal};

/// Reads the output of jobs, which is one stream from its start.
#[async_trait]
pub trait JobOutputs: Send + Sync {
    /// What a job has written until now. It is empty while the job has not begun.
    async fn read(&self, principal: &Principal, id: &JobId) -> Result<OutputStream, SchedulerError>;

    /// What a job writes from this offset on, until it has ended.
    async fn follow(&self, principal: &Principal, id: &JobId, offset: u64) -> Result<OutputStream, SchedulerError>;
}

/// An output, in parts. An error is its last item.
pub type OutputStream = BoxStream<'static, Result<OutputPart, SchedulerError>>;

/// A part of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputPart {
    /// What comes next.
    Data(Bytes),
    /// The output began anew: what comes next is its start.
    Restarted,
}
