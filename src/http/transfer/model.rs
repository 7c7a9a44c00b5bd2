//! Request and response documents of transfer jobs.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::cluster::Cluster;
use crate::domain::CompressOptions;
use crate::http::extract::parameters::lenient;
use crate::http::filesystem::model::request::{CompressionType, compress_options};
use crate::service::transfers;

/// A move to make. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir", "targetPath": "/home/user/other", "account": "project"}))]
pub(in crate::http) struct MoveRequest {
    /// The absolute path to move, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The new absolute path, inside a configured file system. If it is a directory, the entry is placed inside it.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// The account that the job is charged to, if the system requires one.
    pub(in crate::http) account: Option<String>,
}

/// A copy to make. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir", "targetPath": "/home/user/copy", "account": "project"}))]
pub(in crate::http) struct CopyRequest {
    /// The absolute path to copy, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the copy, inside a configured file system. If it is a directory, the copy is placed inside it.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// The account that the job is charged to, if the system requires one.
    pub(in crate::http) account: Option<String>,
    /// Copy the files that links point to.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) dereference: bool,
}

/// The parameters of a removal.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeleteParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/dir")]
    pub(in crate::http) path: String,
    /// The account that the job is charged to, if the system requires one.
    pub(in crate::http) account: Option<String>,
}

/// An archive to create. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir", "targetPath": "/home/user/dir.tar.gz", "account": "project"}))]
pub(in crate::http) struct CompressRequest {
    /// The absolute path to pack, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the archive, inside a configured file system.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// The account that the job is charged to, if the system requires one.
    pub(in crate::http) account: Option<String>,
    /// Only the files whose path matches this regular expression, as `find -regex` reads it.
    #[serde(alias = "match_pattern")]
    match_pattern: Option<String>,
    /// Pack the files that links point to.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    dereference: bool,
    /// The compression.
    #[serde(default)]
    #[schema(default = "gzip")]
    compression: CompressionType,
}

impl CompressRequest {
    /// Takes out how to pack.
    pub(in crate::http) fn options(&mut self) -> CompressOptions {
        compress_options(self.compression, self.dereference, self.match_pattern.take())
    }
}

/// An archive to unpack. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir.tar.gz", "targetPath": "/home/user/dir", "account": "project"}))]
pub(in crate::http) struct ExtractRequest {
    /// The absolute path of the archive, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the directory to unpack into, inside a configured file system.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// The account that the job is charged to, if the system requires one.
    pub(in crate::http) account: Option<String>,
    /// The compression.
    #[serde(default)]
    #[schema(default = "gzip")]
    pub(in crate::http) compression: CompressionType,
}

/// Defines the answers that are a transfer job.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(in crate::http) struct $name {
            transfer_job: TransferJob,
        }

        impl $name {
            /// The answer for a job on `cluster`.
            pub(in crate::http) fn new(cluster: &Cluster, job: transfers::TransferJob) -> Self {
                Self { transfer_job: TransferJob::new(cluster, job) }
            }
        }
    )*};
}

answers! {
    /// The job that moves.
    MoveResponse;
    /// The job that copies.
    CopyResponse;
    /// The job that removes.
    DeleteResponse;
    /// The job that packs.
    CompressResponse;
    /// The job that unpacks.
    ExtractResponse;
}

/// A job that works on files.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TransferJob {
    /// The scheduler's id for it.
    #[schema(example = "1234")]
    job_id: String,
    /// The system that it runs on.
    #[schema(example = "daint")]
    system: String,
    /// Where it runs.
    #[schema(example = "/scratch/user")]
    working_directory: String,
    logs: TransferJobLogs,
}

/// The files that a job writes to. They appear when it starts; with PBS, when it ends.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TransferJobLogs {
    /// Its standard output, which contains `Files were successfully` after success.
    output_log: String,
    /// Its standard error, with the reason of a failure.
    error_log: String,
}

impl TransferJob {
    /// A job on `cluster`.
    pub(crate) fn new(cluster: &Cluster, job: transfers::TransferJob) -> Self {
        Self {
            job_id: job.id.into(),
            system: cluster.name().to_string(),
            working_directory: job.working_directory.to_text(),
            logs: TransferJobLogs { output_log: job.output_log.to_text(), error_log: job.error_log.to_text() },
        }
    }
}
