//! Request and response documents of uploads and downloads by a transfer service.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cluster::Cluster;
use crate::domain::Secret;
use crate::http::extract::parameters::lenient;
use crate::http::status::data_transfer_model::{S3Method, StreamerMethod};
use crate::http::transfer::model::TransferJob;
use crate::service::file_transfer::{FileDownload, FileUpload};
use crate::service::streaming::StreamTransfer;
use crate::service::transfers::FileTransferRequest;
use crate::transfer;

/// A file to upload. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir/file", "account": "project", "transferDirectives": {"transferMethod": "s3", "fileSize": 7_340_032}}))]
pub(in crate::http) struct PostFileUploadRequest {
    /// The absolute path of the new file, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    path: String,
    /// The account that the job is charged to, if the system requires one.
    account: Option<String>,
    /// The transfer method; the system's own if absent.
    #[serde(alias = "transfer_directives")]
    #[schema(value_type = Option<TransferDirectives>)]
    transfer_directives: Option<TransferDirectives>,
    /// From clients for FirecREST before 2.4: the file's name, if `sourcePath` is its directory.
    #[serde(alias = "file_name")]
    file_name: Option<String>,
    /// From clients for FirecREST before 2.4: `fileSize` of `transferDirectives`.
    #[serde(alias = "file_size")]
    #[schema(value_type = Option<u64>)]
    file_size: Option<Count>,
}

/// A file to download. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir/file", "account": "project", "transferDirectives": {"transferMethod": "s3"}}))]
pub(in crate::http) struct PostFileDownloadRequest {
    /// The absolute path of a file, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    path: String,
    /// The account that the job is charged to, if the system requires one.
    account: Option<String>,
    /// The transfer method; the system's own if absent.
    #[serde(alias = "transfer_directives")]
    transfer_directives: Option<TransferDirectives>,
}

/// How a file is transferred to or from a system.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TransferDirectives {
    /// The method; the system has those that are the `serviceType` of its `data_transfers`.
    #[serde(alias = "transfer_method")]
    transfer_method: TransferMethod,
    /// For uploads: the file's size in bytes. Required with `s3`. A file of another size is not put in its place.
    #[serde(alias = "file_size")]
    #[schema(value_type = Option<u64>)]
    file_size: Option<Count>,
    /// For `wormhole`, which is not supported by this version.
    #[serde(alias = "wormhole_code")]
    #[serde(rename = "wormholeCode")]
    _wormhole_code: Option<String>,
}

/// A number of bytes, which may be written as text.
#[derive(Clone, Copy, Deserialize)]
struct Count(#[serde(deserialize_with = "lenient::count")] Option<u64>);

/// A transfer method for large files.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TransferMethod {
    /// By way of an object store.
    S3,
    /// By Magic Wormhole.
    Wormhole,
    /// By firecrest-streamer.
    Streamer,
}

impl From<TransferMethod> for transfer::Method {
    fn from(method: TransferMethod) -> Self {
        match method {
            TransferMethod::S3 => Self::S3,
            TransferMethod::Wormhole => Self::Wormhole,
            TransferMethod::Streamer => Self::Streamer,
        }
    }
}

impl PostFileUploadRequest {
    /// The path that the file is to have.
    pub(in crate::http) fn target(&self) -> String {
        match &self.file_name {
            Some(name) => format!("{}/{name}", self.path),
            None => self.path.clone(),
        }
    }

    /// The request to the service, with the path of [`Self::target`].
    pub(in crate::http) fn asked<'a>(&'a self, path: &'a str, host: Option<&'a str>) -> FileTransferRequest<'a> {
        let directives = self.transfer_directives.as_ref();
        let size = directives.and_then(|directives| directives.file_size).or(self.file_size).and_then(|size| size.0);
        FileTransferRequest { path, method: method(directives), account: self.account.as_deref(), size, host }
    }
}

impl PostFileDownloadRequest {
    /// The request to the service.
    pub(in crate::http) fn asked<'a>(&'a self, host: Option<&'a str>) -> FileTransferRequest<'a> {
        let method = method(self.transfer_directives.as_ref());
        FileTransferRequest { path: &self.path, method, account: self.account.as_deref(), size: None, host }
    }
}

fn method(directives: Option<&TransferDirectives>) -> Option<transfer::Method> {
    directives.map(|directives| directives.transfer_method.into())
}

/// The job that puts the file in place, or stands for the transfer, and what the client does next.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct UploadFileResponse {
    transfer_job: TransferJob,
    transfer_directives: TransferResponse,
}

/// The job that brings the file, or stands for the transfer, and what the client does next.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct DownloadFileResponse {
    transfer_job: TransferJob,
    transfer_directives: TransferResponse,
}

/// What the client does next, by the method.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(discriminator(property_name = "transferMethod", mapping(
    ("s3" = "#/components/schemas/S3TransferResponse"),
    ("streamer" = "#/components/schemas/StreamerTransferResponse"),
)))]
enum TransferResponse {
    S3(S3TransferResponse),
    Streamer(StreamerTransferResponse),
}

/// Where the client connects with firecrest-streamer when the job runs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StreamerTransferResponse {
    /// Base64 of a JSON document with `ips`, `ports` and the `secret` of one connection.
    coordinates: String,
    transfer_method: StreamerMethod,
}

impl TransferResponse {
    fn streamer(coordinates: &Secret) -> Self {
        Self::Streamer(StreamerTransferResponse { coordinates: shown(coordinates), transfer_method: StreamerMethod::Streamer })
    }
}

/// The requests that the client sends to the object store. The URLs are valid for `ttl` seconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct S3TransferResponse {
    /// For a download: `GET` this URL when the job has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    download_url: Option<String>,
    /// For an upload: `PUT` each part to its URL, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts_upload_urls: Option<Vec<String>>,
    /// For an upload: `POST` the list of the parts to this URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_upload_url: Option<String>,
    /// For an upload: the size of each part except the last, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_part_size: Option<u64>,
    transfer_method: S3Method,
}

impl UploadFileResponse {
    /// The answer for an upload to `cluster`.
    pub(in crate::http) fn new(cluster: &Cluster, upload: FileUpload) -> Self {
        let (job, transfer_directives) = match upload {
            FileUpload::Object(upload) => {
                let directives = S3TransferResponse {
                    download_url: None,
                    parts_upload_urls: Some(upload.parts.iter().map(shown).collect()),
                    complete_upload_url: Some(shown(&upload.complete)),
                    max_part_size: Some(upload.part_size),
                    transfer_method: S3Method::S3,
                };
                (upload.job, TransferResponse::S3(directives))
            }
            FileUpload::Stream(StreamTransfer { job, coordinates }) => (job, TransferResponse::streamer(&coordinates)),
        };
        Self { transfer_job: TransferJob::new(cluster, job), transfer_directives }
    }
}

impl DownloadFileResponse {
    /// The answer for a download from `cluster`.
    pub(in crate::http) fn new(cluster: &Cluster, download: FileDownload) -> Self {
        let (job, transfer_directives) = match download {
            FileDownload::Object(download) => {
                let directives = S3TransferResponse {
                    download_url: Some(shown(&download.url)),
                    parts_upload_urls: None,
                    complete_upload_url: None,
                    max_part_size: None,
                    transfer_method: S3Method::S3,
                };
                (download.job, TransferResponse::S3(directives))
            }
            FileDownload::Stream(StreamTransfer { job, coordinates }) => (job, TransferResponse::streamer(&coordinates)),
        };
        Self { transfer_job: TransferJob::new(cluster, job), transfer_directives }
    }
}

/// The URL for the user who may use it.
fn shown(url: &Secret) -> String {
    url.expose().to_owned()
}
