//! Uploads and downloads of files by a transfer service of the system: which service serves a request.
//!
//! To add a service: an arm in [`upload`], [`download`] and [`is_built`].

use super::object_transfer::{self, ObjectDownload, ObjectUpload};
use super::streaming::{self, StreamTransfer};
use super::transfers::{FileTransferRequest, NO_SERVICE};
use super::{Access, InvalidRequest, ServiceError};
use crate::cluster::Cluster;
use crate::transfer::{DataTransfer, Method};

/// The reason for systems with no other service than one that is not built.
const NO_CODE: &str = "The transfer method wormhole is not supported by this version: use the file operations upload and download, which take files of any size";

/// An upload that has begun, and what the client does next.
#[derive(Debug)]
pub enum FileUpload {
    /// Through an object store.
    Object(ObjectUpload),
    /// By the protocol of firecrest-streamer.
    Stream(StreamTransfer),
}

/// A download that has begun, and what the client does next.
#[derive(Debug)]
pub enum FileDownload {
    /// Through an object store.
    Object(ObjectDownload),
    /// By the protocol of firecrest-streamer.
    Stream(StreamTransfer),
}

/// The reason why `cluster` has no transfers by a transfer service, if it has none.
pub fn unsupported(cluster: &Cluster) -> Option<&'static str> {
    match cluster.config().data_operation.transfers() {
        [] => Some(NO_SERVICE),
        services if services.iter().any(is_built) => None,
        _ => Some(NO_CODE),
    }
}

fn is_built(service: &DataTransfer) -> bool {
    !matches!(service, DataTransfer::Wormhole(_))
}

/// Begins an upload.
///
/// # Errors
/// If the system has no such transfers, or the service refuses.
pub async fn upload(access: &Access, request: FileTransferRequest<'_>) -> Result<FileUpload, ServiceError> {
    match service(access, request.method)? {
        DataTransfer::S3(_) => object_transfer::upload(access, request).await.map(FileUpload::Object),
        DataTransfer::Streamer(streamer) => streaming::upload(access, streamer, request).await.map(FileUpload::Stream),
        DataTransfer::Wormhole(_) => Err(ServiceError::Unsupported(NO_CODE)),
    }
}

/// Begins a download.
///
/// # Errors
/// If the system has no such transfers, or the service refuses.
pub async fn download(access: &Access, request: FileTransferRequest<'_>) -> Result<FileDownload, ServiceError> {
    match service(access, request.method)? {
        DataTransfer::S3(_) => object_transfer::download(access, request).await.map(FileDownload::Object),
        DataTransfer::Streamer(streamer) => streaming::download(access, streamer, request).await.map(FileDownload::Stream),
        DataTransfer::Wormhole(_) => Err(ServiceError::Unsupported(NO_CODE)),
    }
}

/// The service of the requested method, or else the first one.
fn service(access: &Access, method: Option<Method>) -> Result<&DataTransfer, ServiceError> {
    let services = access.cluster().config().data_operation.transfers();
    let first = services.iter().find(|service| is_built(service)).or(services.first()).ok_or(ServiceError::Unsupported(NO_SERVICE))?;
    let Some(method) = method else { return Ok(first) };
    services.iter().find(|service| service.method() == method).ok_or_else(|| {
        let has: Vec<&str> = services.iter().map(|service| service.method().as_str()).collect();
        let offer = services.iter().find(|service| is_built(service)).map_or_else(String::new, |service| {
            format!(
                ": give `transferMethod: {}`, or send and fetch the file directly, with PUT to ops/upload and GET of ops/download",
                service.method().as_str()
            )
        });
        let message = format!("Requested transfer method is not available. This system has {}{offer}", has.join(", "));
        InvalidRequest::new("method", message).into()
    })
}
