//! File operations that run as batch jobs: what to submit for each, and the settings of a site's transfer service.
//!
//! Everything here but [`s3`] is pure: [`streamer`] has the jobs of transfers by the protocol of firecrest-streamer, whose server is in `http`. [`job`] puts a [`JobDescription`] together; the caller has checked the paths against the path
//! policy and submits the job. This module must not know which scheduler runs the job, HTTP or tokens. To add an operation: a
//! variant of [`Operation`], its lines in `shell/`, and an arm in each of its methods.

mod config;
mod directives;
pub mod s3;
mod script;
pub mod streamer;

use uuid::Uuid;

use crate::domain::{CompressOptions, Compression, JobDescription, JobScript, RemotePath};

pub use config::{BucketLifecycle, DataTransfer, Method, Multipart, S3, Streamer, Wormhole, one_or_more, one_or_more_schema};
pub use directives::{AccountError, Directives};

use script::Script;

/// A file operation that runs as a job.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Moves `source` to `target`, or into it where it is a directory.
    Move {
        /// The source.
        source: &'a RemotePath,
        /// The target.
        target: &'a RemotePath,
    },
    /// Copies `source` with all that is in it to `target`, or into it where it is a directory. Modes, owners, times and extended
    /// attributes are kept where the caller may set them.
    Copy {
        /// The source.
        source: &'a RemotePath,
        /// The target.
        target: &'a RemotePath,
        /// Whether what links point to is copied, and not the links.
        dereference: bool,
    },
    /// Removes a file or a directory with all that is in it. Links are not followed.
    Remove {
        /// The path to remove.
        path: &'a RemotePath,
    },
    /// Packs `source` into the archive `target`, which appears whole or not at all.
    Compress {
        /// The source.
        source: &'a RemotePath,
        /// The archive.
        target: &'a RemotePath,
        /// How.
        options: &'a CompressOptions,
    },
    /// Unpacks the archive `source` into the directory `target`.
    Extract {
        /// The archive.
        source: &'a RemotePath,
        /// The directory, which exists.
        target: &'a RemotePath,
        /// The compression.
        compression: Compression,
    },
}

impl Operation<'_> {
    /// The job's name, as clients of the contract see it in job lists.
    fn job_name(&self) -> &'static str {
        match self {
            Self::Move { .. } => "MoveFiles",
            Self::Copy { .. } => "CopyFiles",
            Self::Remove { .. } => "DeleteFiles",
            Self::Compress { .. } => "CompressFiles",
            Self::Extract { .. } => "ExtractFiles",
        }
    }

    /// The batch script.
    fn script(&self, directives: &Directives) -> String {
        let script = Script::new(directives);
        match self {
            Self::Move { source, target } => script.path("source", source).path("target", target).program(include_str!("shell/move.sh")),
            Self::Copy { source, target, dereference } => script
                .path("source", source)
                .path("target", target)
                .word("follow", if *dereference { "-L" } else { "" })
                .program(include_str!("shell/copy.sh")),
            Self::Remove { path } => script.path("path", path).program(include_str!("shell/remove.sh")),
            Self::Compress { source, target, options } => compress(script, source, target, options),
            Self::Extract { source, target, compression } => script
                .path("source", source)
                .path("target", target)
                .word("compression", compression.tar_option())
                .program(include_str!("shell/extract.sh")),
        }
    }
}

fn compress(script: Script, source: &RemotePath, target: &RemotePath, options: &CompressOptions) -> String {
    let (directory, name) = source.in_directory();
    let script = script
        .value("directory", directory.as_bytes())
        .value("name", name)
        .path("target", target)
        .word("compression", options.compression.tar_option())
        .word("links", if options.dereference { "-L" } else { "-P" });
    match &options.match_pattern {
        None => script.program(include_str!("shell/compress.sh")),
        Some(pattern) => script.value("pattern", pattern.as_bytes()).program(include_str!("shell/compress_matching.sh")),
    }
}

/// The job that does `operation` and leaves its logs in `directory`. `id` is not used for another job.
///
/// The names of the logs are relative to the directory, so that nothing in its path is taken for a pattern of the scheduler.
pub fn job(operation: &Operation<'_>, directives: &Directives, directory: &RemotePath, id: Uuid) -> JobDescription {
    describe(operation.job_name(), operation.script(directives), directory, id)
}

/// A name that no other job has.
fn mark(id: Uuid) -> String {
    format!("goldcrest-{}", id.simple())
}

/// The job of this name with this script.
fn describe(name: &str, script: String, directory: &RemotePath, id: Uuid) -> JobDescription {
    JobDescription {
        name: Some(name.to_owned()),
        standard_output: Some(format!(".f7t_file_handling_job_{id}.log")),
        standard_error: Some(format!(".f7t_file_handling_job_error_{id}.log")),
        ..JobDescription::new(directory.clone(), JobScript::Inline(script))
    }
}

#[cfg(test)]
mod tests;
