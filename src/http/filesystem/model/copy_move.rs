//! Request and response documents of copy and move.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain;
use crate::http::extract::parameters::lenient;
use crate::http::filesystem::model::file::File;

/// A copy to make. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir", "targetPath": "/home/user/copy"}))]
pub(in crate::http) struct PostCopyRequest {
    /// The absolute path of a file, a link or a directory, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the copy, inside a configured file system.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// Copy the files that links point to instead of the links.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) dereference: bool,
    /// Replace a file or link of that name. A directory is never replaced.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) overwrite: bool,
}

/// A move to make. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/file.tmp", "targetPath": "/home/user/file"}))]
pub(in crate::http) struct PutMoveRequest {
    /// The absolute path of a file, a link or a directory, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The new absolute path, inside a configured file system.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// Replace a file or link of that name. A directory that is not empty is never replaced.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) overwrite: bool,
}

/// The new entry.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PostCopyResponse {
    output: File,
}

/// The moved entry.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PutMoveResponse {
    output: File,
}

impl From<domain::DirectoryEntry> for PostCopyResponse {
    fn from(entry: domain::DirectoryEntry) -> Self {
        Self { output: entry.into() }
    }
}

impl From<domain::DirectoryEntry> for PutMoveResponse {
    fn from(entry: domain::DirectoryEntry) -> Self {
        Self { output: entry.into() }
    }
}
