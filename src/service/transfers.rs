//! File operations that outlast a request: each is submitted as a job, and the caller learns which one.
//!
//! Every path of a request passes `Access::path` or one of its variants before anything is submitted, as does the
//! directory that the job runs in.

use uuid::Uuid;

use crate::cluster::{Cluster, NO_COMPUTE, NO_FILES};
use crate::domain::{CompressOptions, Compression, JobDescription, JobId, RemotePath, Username, text_to_bytes};
use crate::transfer::{self, Directives, Method, Operation};

use super::audit::Change;
use super::changes::{check_pattern, refuse_file_system, refuse_source_as_archive, refuse_target_in_source};
use super::counts::Action;
use super::{Access, InvalidRequest, ServiceError};

/// Why there are no transfer jobs on a system.
const NO_DIRECTORY: &str =
    "Transfer jobs are not set up on this system: it has no file system that is default_work_dir, and no datatransfer_jobs_directory";

/// A transfer job.
#[derive(Clone, Debug)]
pub struct TransferJob {
    /// The scheduler's id for it.
    pub id: JobId,
    /// Its working directory.
    pub working_directory: RemotePath,
    /// The file that takes its standard output.
    pub output_log: RemotePath,
    /// The file that takes its standard error: why it failed, if it does.
    pub error_log: RemotePath,
}

/// Why a system without a transfer service has no transfers by one.
pub(super) const NO_SERVICE: &str =
    "No transfer service is set up on this system: use the file operations upload and download, which take files of any size";

/// A request for an upload or a download by a transfer service.
#[derive(Clone, Copy, Debug)]
pub struct FileTransferRequest<'a> {
    /// The file on the system.
    pub path: &'a str,
    /// The method that the client requests; the system's default if absent.
    pub method: Option<Method>,
    /// The account that the job is charged to.
    pub account: Option<&'a str>,
    /// The size of the file to upload in bytes, if the client says it.
    pub size: Option<u64>,
    /// The host under which the client reached this service, if it says so.
    pub host: Option<&'a str>,
}

/// Why a scheduler that keeps the output of jobs itself runs no transfer jobs.
const NO_LOGS: &str = "Transfer jobs write their logs to files, and this system's scheduler keeps the output of jobs itself: use the operations under ops, uploads and downloads";

/// The reason why `cluster` runs no transfer jobs, if it runs none.
pub fn unsupported(cluster: &Cluster) -> Option<&'static str> {
    let capabilities = cluster.without_health_check();
    if capabilities.files.is_none() {
        return Some(NO_FILES);
    }
    match capabilities.compute {
        None => return Some(NO_COMPUTE),
        Some(scheduler) if scheduler.outputs().is_some() => return Some(NO_LOGS),
        Some(_) => {}
    }
    (!cluster.config().has_transfer_directory()).then_some(NO_DIRECTORY)
}

/// Submits a job that moves `source` to `target`.
///
/// # Errors
/// As [`submit`], when the source is a configured file system itself, and when it would be moved to where it is.
pub async fn rename(access: &Access, source: &str, target: &str, account: Option<&str>) -> Result<TransferJob, ServiceError> {
    let source = &access.entry_path(source, "source").await?;
    let target = &access.new_name(target, source, false).await?;
    refuse_file_system(access, source, "source")?;
    refuse_same_place(source, target)?;
    submit(access, Action::TransfersMv, format!("{source} to {target}"), &Operation::Move { source, target }, account).await
}

/// Submits a job that copies `source` to `target`; with `dereference` what links point to.
///
/// # Errors
/// As [`submit`], and when the source would be copied to where it is.
pub async fn copy(
    access: &Access,
    source: &str,
    target: &str,
    dereference: bool,
    account: Option<&str>,
) -> Result<TransferJob, ServiceError> {
    let source = &access.path(source).await?;
    let target = &access.new_name(target, source, dereference).await?;
    refuse_same_place(source, target)?;
    submit(access, Action::TransfersCp, format!("{source} to {target}"), &Operation::Copy { source, target, dereference }, account).await
}

/// Submits a job that removes a file or a directory with all that is in it.
///
/// # Errors
/// As [`submit`], and when the path is a configured file system itself.
pub async fn remove(access: &Access, path: &str, account: Option<&str>) -> Result<TransferJob, ServiceError> {
    let path = &access.entry_path(path, "path").await?;
    refuse_file_system(access, path, "path")?;
    submit(access, Action::TransfersRm, path.to_text(), &Operation::Remove { path }, account).await
}

/// Submits a job that packs `source` into the archive `target`.
///
/// # Errors
/// As [`submit`], and when the pattern breaks a rule.
pub async fn compress(
    access: &Access,
    source: &str,
    target: &str,
    options: &CompressOptions,
    account: Option<&str>,
) -> Result<TransferJob, ServiceError> {
    check_pattern(options)?;
    let source = &access.path(source).await?;
    let target = &access.path(target).await?;
    refuse_source_as_archive(source, target)?;
    access.files().await?.check_archive_target(access.principal(), source, target, options).await?;
    submit(access, Action::TransfersCompress, format!("{source} to {target}"), &Operation::Compress { source, target, options }, account)
        .await
}

/// Submits a job that unpacks the archive `source` into the directory `target`.
///
/// # Errors
/// As [`submit`].
pub async fn extract(
    access: &Access,
    source: &str,
    target: &str,
    compression: Compression,
    account: Option<&str>,
) -> Result<TransferJob, ServiceError> {
    let source = &access.path(source).await?;
    let target = &access.path(target).await?;
    submit(access, Action::TransfersExtract, format!("{source} to {target}"), &Operation::Extract { source, target, compression }, account)
        .await
}

/// Refuses a target that is the source, lies in it, or is the directory that it is in: a directory takes what is moved or copied under its own name.
fn refuse_same_place(source: &RemotePath, target: &RemotePath) -> Result<(), InvalidRequest> {
    refuse_target_in_source(source, target)?;
    if source.parent().as_ref() == Some(target) {
        return Err(InvalidRequest::new("target", "the source is in this directory already: give another directory, or a new name"));
    }
    Ok(())
}

/// Submits the job for an operation whose paths were checked.
///
/// # Errors
/// If a required account is missing or the account is invalid, a path breaks the policy, the system runs no transfer jobs,
/// or the scheduler does not take the job.
async fn submit(
    access: &Access,
    action: Action,
    object: String,
    operation: &Operation<'_>,
    account: Option<&str>,
) -> Result<TransferJob, ServiceError> {
    let job_context = JobContext::of(access, account)?;
    let job = transfer::job(operation, &job_context.directives, &job_context.directory, Uuid::new_v4());
    job_context.submit(access, &job, Change::begin(access, action, object)).await
}

/// The prerequisites of a transfer job, checked before anything is done for it.
pub(super) struct JobContext {
    /// The site's directives.
    pub(super) directives: Directives,
    /// The working directory of the job.
    pub(super) directory: RemotePath,
}

impl JobContext {
    /// The context for a job of the caller's.
    ///
    /// # Errors
    /// If a required account is missing or the account is invalid, the system runs no transfer jobs, or its scheduler is unhealthy.
    pub(super) fn of(access: &Access, account: Option<&str>) -> Result<Self, ServiceError> {
        let cluster = access.cluster();
        let directory = directory(cluster, &access.principal().username)?;
        if cluster.without_health_check().compute.is_some_and(|scheduler| scheduler.outputs().is_some()) {
            return Err(ServiceError::Unsupported(NO_LOGS));
        }
        let directives = Directives::new(&cluster.config().data_operation.datatransfer_jobs_directives, account)
            .map_err(|error| InvalidRequest::new("account", error.to_string()))?;
        cluster.scheduler()?;
        Ok(Self { directives, directory })
    }

    /// Submits the job, and ends the change with it.
    ///
    /// # Errors
    /// If the scheduler does not take the job.
    pub(super) async fn submit(self, access: &Access, job: &JobDescription, change: Change) -> Result<TransferJob, ServiceError> {
        let submitted = async { Ok::<_, ServiceError>(access.cluster().scheduler()?.submit(access.principal(), job).await?) };
        let id = change.end(submitted.await)?.value;
        let log = |name: &Option<String>| self.directory.join(&text_to_bytes(name.as_deref().unwrap_or_default()));
        let (output_log, error_log) = (log(&job.standard_output), log(&job.standard_error));
        Ok(TransferJob { id, output_log, error_log, working_directory: self.directory })
    }
}

/// The working directory of the transfer jobs of `user`. The name comes from a token, so the path policy applies.
fn directory(cluster: &Cluster, user: &Username) -> Result<RemotePath, ServiceError> {
    let text = cluster.config().transfer_directory(user).ok_or(ServiceError::Unsupported(NO_DIRECTORY))?;
    Ok(cluster.path(&text)?)
}
