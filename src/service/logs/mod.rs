//! The output of jobs, read and followed while the jobs run.
//!
//! The scheduler knows where a file is and whether the job still runs; the content is read from the cluster. A scheduler that keeps the output
//! itself gives it (`kept.rs`). Everything is done as the caller, who sees what the cluster lets the caller see.

mod ending;
mod kept;
mod lines;
mod source;

use std::sync::Arc;

use crate::cluster::GateError;
use crate::domain::{Alternative, ByteRange, JobId, JobMetadata, LogStream, RemotePath};
use crate::filesystem::{ContentStream, FilesystemError, regular};
use crate::scheduler::SchedulerError;

use super::contents;
use super::limits::FollowPermit;
use super::shared_follow::{FollowKey, OpenSource, Permit};
use super::updates::{UpdateStream, until_expiry};
use super::{Access, InvalidRequest, ServiceError};

use ending::{JobEnd, JobWatch};
use lines::start_of_last;

/// The message if the scheduler knows the job, but not where its output is.
const NO_FILE: &str = "the scheduler does not say, or does not say any more, where the job's output is, or its name has a pattern that only the nodes know, or that nobody knows before the job starts, such as `%N`: if you know the file, read it with `ops/download` or `ops/follow`";
/// The reason why a job has no output to read.
const NO_OUTPUT: &str = "the job has ended, and its output file does not exist: it wrote none, or the file was moved or removed";

/// The maximum number of lines from the end.
const MAX_TAIL: u64 = 1_000_000;

/// The start of the output to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// This many bytes after the start.
    Offset(u64),
    /// This many lines before the end.
    Lines(u64),
}

/// The existing part of an output.
pub struct Log {
    /// Its start, in bytes from the start of the output.
    pub offset: u64,
    /// Its end. The next request continues there.
    pub end: u64,
    /// The content; none if there is none yet.
    pub content: Option<ContentStream>,
}

/// An output that is followed.
pub struct FollowedLog {
    /// Its start, in bytes from the start of the file.
    pub offset: u64,
    /// The updates.
    pub updates: UpdateStream,
}

/// The output of a job until now. It may be empty while the job has not ended: the job has not begun, or its output is elsewhere until then. An
/// offset beyond the end counts as the start, because the file was truncated.
///
/// # Errors
/// If there is no such job, its output is unknown or unreachable, or it has ended without output.
pub async fn read(access: &Access, id: &str, stream: LogStream, start: LogStart) -> Result<Log, ServiceError> {
    let id = check(id, start)?;
    if let Some(outputs) = access.cluster().scheduler()?.outputs() {
        return kept::read(outputs, access.principal(), &id, stream, start).await;
    }
    let output = Output::locate(access, id, stream).await?;
    let Some(size) = output.size(access).await? else { return Ok(Log { offset: 0, end: 0, content: None }) };
    let offset = match output.offset(access, start, size).await? {
        offset if offset > size => 0,
        offset => offset,
    };
    if offset == size {
        return Ok(Log { offset, end: offset, content: None });
    }
    let download = contents::open(access, &output.path, Some(ByteRange::From(offset, None)), None, Alternative::TransferJob).await?;
    Ok(Log { offset: download.range.start, end: download.range.end, content: Some(download.content) })
}

/// Follows the output of a job until it has ended and everything was sent, or the caller's token has expired.
///
/// # Errors
/// As [`read`]; or when the caller follows too many files already.
pub async fn follow(access: &Access, id: &str, stream: LogStream, start: LogStart) -> Result<FollowedLog, ServiceError> {
    let id = check(id, start)?;
    let (offset, job, open) = if let Some(outputs) = access.cluster().scheduler()?.outputs() {
        let offset = kept::start(outputs, access.principal(), &id, stream, start).await?;
        let (own, job) = (access.clone(), id.clone());
        let open: OpenSource = Box::new(move |offset| kept::open(own.clone(), job.clone(), offset));
        (offset, id, open)
    } else {
        let output = Output::locate(access, id, stream).await?;
        let offset = match output.size(access).await? {
            Some(size) => output.offset(access, start, size).await?,
            None => 0,
        };
        let (own, path, job) = (access.clone(), output.path, output.job.clone());
        let open: OpenSource = Box::new(move |offset| source::open(own.clone(), job.clone(), path.clone(), offset));
        (offset, output.job, open)
    };
    let principal = access.principal();
    let key = FollowKey {
        system: access.cluster().name().clone(),
        user: principal.username.clone(),
        subject: principal.subject.clone(),
        job,
        stream,
    };
    let permit = || FollowPermit::of_file(access).map(|permit| Arc::new(permit) as Permit);
    let follower = access.state().follows.join(key, offset, principal.expires_at, permit, open).await?;
    Ok(FollowedLog { offset, updates: until_expiry(principal, follower.updates()) })
}

/// Checks what a request names.
fn check(id: &str, start: LogStart) -> Result<JobId, InvalidRequest> {
    if matches!(start, LogStart::Lines(lines) if lines > MAX_TAIL) {
        return Err(InvalidRequest::new("tail", format!("it should be at most {MAX_TAIL}")));
    }
    JobId::new(id).map_err(|error| InvalidRequest::new("job_id", error.to_string()))
}

/// The output file of a job.
struct Output {
    job: JobId,
    path: RemotePath,
}

impl Output {
    async fn locate(access: &Access, job: JobId, stream: LogStream) -> Result<Self, ServiceError> {
        let scheduler = access.cluster().scheduler()?;
        let known = scheduler.metadata(access.principal(), &job).await?;
        let file = one_of(&job, &known)?.file(stream).ok_or(ServiceError::NotFound(NO_FILE))?;
        let path = if file.starts_with('/') { file.to_owned() } else { below_its_directory(access, &job, file).await? };
        Ok(Self { path: access.path(&path).await.map_err(out_of_reach)?, job })
    }

    /// The size of the file; none while the file may still appear.
    async fn size(&self, access: &Access) -> Result<Option<u64>, ServiceError> {
        match access.files().await?.stat(access.principal(), &self.path, true).await {
            Ok(found) => {
                regular(&self.path, found.mode)?;
                Ok(Some(found.size))
            }
            Err(FilesystemError::NotFound(_)) => match JobWatch::new(access, &self.job).end().await {
                JobEnd::Ended(_) => Err(ServiceError::NotFound(NO_OUTPUT)),
                JobEnd::Pending | JobEnd::Unknown => Ok(None),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn offset(&self, access: &Access, start: LogStart, size: u64) -> Result<u64, ServiceError> {
        match start {
            LogStart::Offset(offset) => Ok(offset),
            LogStart::Lines(lines) => start_of_last(access, &self.path, size, lines).await,
        }
    }
}

/// The error for an output that lies in none of the file systems: a job may write there, and its files are not read from there.
fn out_of_reach(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Gate(GateError::Outside { path, file_systems, .. }) => {
            let message = format!(
                "its output is in {path}, and files are read only in the file systems of this system ({file_systems}): \
                 choose `workingDirectory` and `standardOutput` there, or let a job copy the file there"
            );
            InvalidRequest::new("job_id", message).into()
        }
        error => error,
    }
}

/// The one job that an id means. That of a heterogeneous job is its first component, which runs the script.
fn one_of<'a>(id: &JobId, known: &'a [JobMetadata]) -> Result<&'a JobMetadata, ServiceError> {
    let named = |name: &str| known.iter().find(|job| job.id.as_str() == name);
    let found = match known {
        [] => return Err(SchedulerError::JobNotFound.into()),
        [job] => Some(job),
        _ => named(id.as_str()).or_else(|| named(&format!("{id}+0"))),
    };
    found.filter(|job| !job.is_array).ok_or_else(|| {
        let task = known.iter().find(|job| !job.is_array).map_or_else(String::new, |task| format!(", such as {}", task.id));
        let message = format!("it stands for several jobs, each with an output of its own: name one of them{task}");
        InvalidRequest::new("job_id", message).into()
    })
}

/// A file that was named relative to the directory of its job.
async fn below_its_directory(access: &Access, job: &JobId, file: &str) -> Result<String, ServiceError> {
    let jobs = access.cluster().scheduler()?.job(access.principal(), job).await?;
    let directory = jobs.first().map(|job| job.working_directory.as_str()).filter(|directory| directory.starts_with('/'));
    directory.map(|directory| format!("{directory}/{file}")).ok_or(ServiceError::NotFound(NO_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str, known: &[&str]) -> Result<String, String> {
        let job = |id: &&str| JobMetadata {
            id: JobId::new(id).unwrap(),
            script: None,
            standard_input: None,
            standard_output: None,
            standard_error: None,
            is_array: false,
        };
        let known: Vec<_> = known.iter().map(job).collect();
        one_of(&JobId::new(id).unwrap(), &known).map(|job| job.id.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_id_means_one_output_or_is_refused_with_one_that_does() {
        assert_eq!(one("7", &["7"]), Ok("7".to_owned()));
        assert_eq!(one("7_1", &["7_1"]), Ok("7_1".to_owned()));
        assert_eq!(one("7", &["7+0", "7+1"]), Ok("7+0".to_owned()));
        assert_eq!(one("7+1", &["7+0", "7+1"]), Ok("7+1".to_owned()));
        let error = one("7", &["7_1", "7_2"]).unwrap_err();
        assert!(error.contains("stands for several jobs") && error.ends_with("such as 7_1"), "{error}");
        assert_eq!(one("7", &[]), Err("Job not found".to_owned()));
    }
}
